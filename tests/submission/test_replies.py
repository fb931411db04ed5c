"""Replies are true: 5yz for what never passes, 4yz for what may, 250 after the commit."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from app.domain.errors import Unavailable
from app.domain.tenants.routing import RecipientRule
from app.store.db.errors import CommitUnknown
from tests.support.api_client import Api, Caller
from tests.support.submission import SubmissionServer, serving_submission, too_large

HEADER = b"From: billing@example.com\r\n"


@asynccontextmanager
async def serving(api: Api, **changes: Any) -> AsyncIterator[SubmissionServer]:
    """A server whose services differ."""
    other = Api(api.app, replace(api.services, **changes), api.http, api.monotonic, api.budget)
    async with serving_submission(other) as submission_server:
        yield submission_server


class FailingCommitter:
    """Fails as the real one does while its database is away."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def accept(self, _: object) -> None:
        raise self.error

    async def accept_all(self, _: object) -> list[Any]:
        raise self.error


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (Unavailable("database-unavailable", "The database is away."), "451 4.3.0 The database"),
        (CommitUnknown(), "451 4.3.0 The connection to the database broke during the commit"),
        (RuntimeError("a bug"), "451 4.3.0 Internal error; the message was not stored"),
    ],
)
async def test_no_250_without_a_commit(
    submission: SubmissionServer, sender: Caller, error: Exception, reply: str
) -> None:
    """The client keeps the message, and tries again."""
    async with (
        serving(submission.api, committer=FailingCommitter(error)) as submission_server,
        submission_server.login(sender) as client,
    ):
        assert (await client.submit(HEADER + b"\r\n1\r\n")).startswith(reply)
        assert await client("NOOP") == "250 2.0.0 OK"


@pytest.mark.one_database
async def test_what_staging_refuses_is_refused_at_rcpt(
    submission: SubmissionServer, sender: Caller
) -> None:
    """The other recipients get the message."""
    routing = submission.api.services.routing.with_rule(RecipientRule(None, ("example.org",)))
    async with (
        serving(submission.api, routing=routing) as submission_server,
        submission_server.login(sender) as client,
    ):
        await client("MAIL FROM:<billing@example.com>")
        reply = await client("RCPT TO:<ann@example.net>")
        assert reply.startswith("550 5.7.1 The recipient ann@example.net is not allowed")
        assert await client("RCPT TO:<ann@example.org>") == "250 2.1.5 Recipient OK"
        message = await submission_server.stored(sender, await client.data(HEADER + b"\r\n"))
    assert [recipient["address"] for recipient in message["recipients"]] == ["ann@example.org"]


async def test_a_suppressed_recipient_is_accepted(
    submission: SubmissionServer, sender: Caller
) -> None:
    """A refusal would make the client bounce the message for the others too."""
    await sender.made("/suppressions", {"address": "ann@example.org"})
    async with submission.login(sender) as client:
        reply = await client.submit(HEADER + b"\r\n", to=("ann@example.org", "bob@example.org"))
    message = await submission.stored(sender, reply)
    assert [recipient["status"] for recipient in message["recipients"]] == ["suppressed", "queued"]


@pytest.mark.one_database
async def test_too_many_recipients_are_for_another_message(
    submission: SubmissionServer, sender: Caller
) -> None:
    """RFC 5321 section 4.5.3.1.10: 452, and the first ones get the message."""
    async with (
        serving_submission(submission.api, max_recipients=2) as submission_server,
        submission_server.login(sender) as client,
    ):
        await client.envelope(to=("a@example.org", "b@example.org"))
        reply = await client("RCPT TO:<c@example.org>")
        assert reply == ("452 4.5.3 Too many recipients: send the others a message of their own")
        assert (await client.data(HEADER + b"\r\n"))[:3] == "250"


async def test_quotas_are_temporary(submission: SubmissionServer, sender: Caller) -> None:
    """Each quota passes, or can be raised; the client keeps the message."""
    quota = {"recipients_per_message": 1, "messages_per_day": 1, "message_bytes": 2000}
    path = f"/tenants/{sender.tenant_id}"
    assert (await submission.api.admin("PATCH", path, {"quota": quota})).status_code == 200
    submission.api.monotonic.seconds += 60
    async with submission.login(sender) as client:
        assert (await client("MAIL FROM:<billing@example.com> SIZE=2001"))[:9] == "552 5.3.4"
        await client.envelope()
        assert (await client("RCPT TO:<bob@example.org>"))[:9] == "452 4.5.3"
        assert (await client.data(HEADER + b"\r\n"))[:3] == "250"
        reply = await client.submit(HEADER + b"\r\nanother\r\n")
        assert reply.startswith("451 4.7.1 The tenant has sent its 1 messages of this period")


@pytest.mark.one_database
async def test_too_large_is_known_at_mail(submission: SubmissionServer, sender: Caller) -> None:
    """By SIZE (RFC 1870), or after the content where the client did not say."""
    limit = submission.api.services.max_message_bytes
    async with submission.login(sender) as client:
        assert f"250-SIZE {limit}" in await client("EHLO localhost")
        reply = await client(f"MAIL FROM:<billing@example.com> SIZE={limit + 1}")
        assert reply == too_large(limit + 1, limit)
        content = HEADER + b"\r\n" + 110 * (b"b" * 998 + b"\r\n")
        assert await client.submit(content) == too_large(len(content), limit)
        assert await client("NOOP") == "250 2.0.0 OK"


@pytest.mark.one_database
async def test_a_stream_without_end_is_cut(submission: SubmissionServer, sender: Caller) -> None:
    """What is beyond twice the limit is not read to its end."""
    limit = submission.api.services.max_message_bytes
    async with submission.login(sender) as client:
        await client.envelope()
        await client("DATA")
        client.send(3 * limit * b"x")
        reply = await client.reply()
        assert reply.startswith("552 5.3.4 The message has ")
        assert await client.reply() == ""


@pytest.mark.one_database
async def test_the_reply_names_the_message(submission: SubmissionServer, sender: Caller) -> None:
    """250 comes with the id by which the message is read."""
    async with submission.login(sender) as client:
        reply = await client.submit(HEADER + b"Subject: One\r\n\r\n1\r\n")
    assert re.fullmatch(r"250 2\.0\.0 Queued as msg_[0-9a-f]{32}", reply)
    message = await submission.stored(sender, reply)
    assert (message["subject"], message["status"]) == ("One", "queued")


@pytest.mark.one_database
async def test_commands_may_come_together(submission: SubmissionServer, sender: Caller) -> None:
    """PIPELINING (RFC 2920): replies come in order, one for each command."""
    async with submission.login(sender) as client:
        client.send(
            b"MAIL FROM:<billing@example.com>\r\nRCPT TO:<ann@example.org>\r\n"
            b"RCPT TO:<not an address>\r\nDATA\r\n"
        )
        replies = [(await client.reply())[:3] for _ in range(4)]
        assert replies == ["250", "250", "501", "354"]
        client.send(HEADER + b"\r\n1\r\n.\r\nNOOP\r\nQUIT\r\n")
        replies = [(await client.reply())[:3] for _ in range(4)]
        assert replies == ["250", "250", "221", ""]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("RCPT TO:<ann@example.org>", "503 5.5.1 Send MAIL first"),
        ("DATA", "503 5.5.1 Send MAIL first"),
        ("DATA now", "501 5.5.4 This command has no argument"),
        ("VRFY ann", "252 2.5.2 Send a message to try the address"),
        ("EXPN list", "502 5.5.1 This command is not implemented"),
        ("HELP", "214 2.0.0 This server accepts messages for submission (RFC 6409)"),
        ("XFORWARD", "500 5.5.2 This command is not known"),
        ("", "500 5.5.2 This command is not known"),
        ("MAIL billing@example.com", "501 5.5.4 Write MAIL FROM:<address>"),
        ("MAIL FROM:billing@example.com", "501 5.5.4 Write MAIL FROM:<address>"),
        (
            "MAIL FROM:<billing@example.com> BODY=BINARYMIME",
            "501 5.5.4 BODY is 7BIT or 8BITMIME",
        ),
        (
            "MAIL FROM:<billing@example.com> HOLDFOR=10",
            "555 5.5.4 The parameter HOLDFOR is not supported",
        ),
        ("MAIL FROM:<billing@example.com> SIZE=1 SIZE=2", "501 5.5.4 SIZE stands twice"),
        ("MAIL FROM:<billing@example.com> SIZE=x", "501 5.5.4 SIZE is a number of bytes"),
    ],
)
async def test_commands_that_are_refused(
    submission: SubmissionServer, sender: Caller, command: str, reply: str
) -> None:
    """Each with what to write instead, and the session goes on."""
    async with submission.login(sender) as client:
        assert await client(command) == reply
        assert await client("NOOP") == "250 2.0.0 OK"


async def test_clients_are_served_at_the_same_time(
    submission: SubmissionServer, sender: Caller
) -> None:
    """A client that is slow holds up nobody."""
    async with submission.login(sender) as slow, submission.login(sender) as quick:
        await slow.envelope()
        await slow("DATA")
        slow.send(HEADER)
        await quick.submit(HEADER + b"\r\n")
        slow.send(b"\r\nslow\r\n.\r\n")
        assert (await slow.reply())[:3] == "250"
