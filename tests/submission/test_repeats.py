"""A client submits again what it got no 250 for; Heloise stores it once (invariant 4)."""

import pytest

from tests.support.api_client import EVERY_SCOPE, PROFILE, Caller
from tests.support.submission import SubmissionServer, key_of, serving_submission

HEADER = b"From: billing@example.com\r\nMessage-ID: <7@example.com>\r\n"


async def test_a_repeated_message_is_stored_once(
    submission: SubmissionServer, sender: Caller
) -> None:
    """By Message-ID and envelope; the reply names the first."""
    async with submission.login(sender) as client:
        first = await client.submit(HEADER + b"\r\nHi\r\n")
    async with submission.login(sender) as client:
        assert await client.submit(HEADER + b"\r\nHi\r\n") == first
    assert len((await sender.read("/messages"))["items"]) == 1


async def test_other_recipients_are_another_message(
    submission: SubmissionServer, sender: Caller
) -> None:
    """Many clients send one Message-ID in several transactions."""
    async with submission.login(sender) as client:
        first = await client.submit(HEADER + b"\r\nHi\r\n")
        assert await client.submit(HEADER + b"\r\nHi\r\n", to=("bob@example.org",)) != first


async def test_a_key_of_other_profiles_repeats_nothing(
    submission: SubmissionServer, sender: Caller
) -> None:
    """It cannot reach the first message, so its own is another."""
    await sender.made("/profiles", PROFILE | {"name": "other"})
    bound = await submission.api.key(sender.tenant_id, EVERY_SCOPE, profiles=["other"])
    async with submission.login(sender) as client:
        first = await client.submit(HEADER + b"\r\nHi\r\n")
    async with submission.connect() as client:
        assert (await client.log_in("other", key_of(bound)))[:3] == "235"
        reply = await client.submit(HEADER + b"\r\nHi\r\n")
    assert reply[:3] == "250"
    assert reply != first


async def test_a_key_says_what_is_repeated(submission: SubmissionServer, sender: Caller) -> None:
    """The same key with another message is refused; with the same one it is a repetition."""
    key = b"Idempotency-Key: order-42\r\n"
    async with submission.login(sender) as client:
        first = await client.submit(key + HEADER + b"\r\nHi\r\n")
        assert await client.submit(key + HEADER + b"\r\nHi\r\n") == first
        reply = await client.submit(key + HEADER + b"\r\nHo\r\n")
    assert reply.startswith("550 5.6.0 The Idempotency-Key 'order-42' was used for a different")


@pytest.mark.one_database
async def test_a_setting_lets_messages_repeat(submission: SubmissionServer, sender: Caller) -> None:
    """Without deduplication each submission is a message."""
    async with (
        serving_submission(submission.api, is_deduplicated=False) as submission_server,
        submission_server.login(sender) as client,
    ):
        first = await client.submit(HEADER + b"\r\nHi\r\n")
        assert await client.submit(HEADER + b"\r\nHi\r\n") != first


async def test_dsn_parameters_are_kept(submission: SubmissionServer, sender: Caller) -> None:
    """RET, ENVID, NOTIFY and ORCPT go to servers that offer DSN (RFC 3461)."""
    async with submission.login(sender) as client:
        await client("MAIL FROM:<billing@example.com> RET=HDRS ENVID=order+2B42")
        await client(
            "RCPT TO:<ann@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old+2Bann@example.org"
        )
        await client("RCPT TO:<bob@example.org> NOTIFY=NEVER")
        await client("RCPT TO:<eve@example.org>")
        reply = await client.data(HEADER + b"\r\n")
    assert reply.startswith("250 ")
