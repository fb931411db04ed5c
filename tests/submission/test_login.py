"""A login is an API key; every rule of keys holds as it does over HTTP."""

import ssl
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.api_client import ADMIN_KEY, PROFILE, Caller
from tests.support.submission import SubmissionServer, key_of, serving_submission

HEADER = b"From: billing@example.com\r\n"
LOGGED_IN = "235 2.7.0 Authenticated"


def encode(text: str) -> str:
    """The text in base64."""
    return b64encode(text.encode()).decode()


@pytest.mark.one_database
async def test_login_asks_for_name_and_password(
    submission: SubmissionServer, sender: Caller
) -> None:
    """LOGIN has two questions, or one where the name came with the command."""
    async with submission.connect() as client:
        assert await client("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert await client(encode("transactional")) == "334 UGFzc3dvcmQ6"
        assert await client(encode(key_of(sender))) == LOGGED_IN
    async with submission.connect() as client:
        assert await client(f"AUTH login {encode('transactional')}") == "334 UGFzc3dvcmQ6"
        assert await client(encode(key_of(sender))) == LOGGED_IN


@pytest.mark.one_database
async def test_plain_may_answer_a_challenge(submission: SubmissionServer, sender: Caller) -> None:
    """The response may come on a line of its own (RFC 4954 section 4)."""
    async with submission.connect() as client:
        assert await client("AUTH PLAIN") == "334 "
        response = encode(f"transactional\0transactional\0{key_of(sender)}")
        assert await client(response) == LOGGED_IN


@pytest.mark.one_database
async def test_a_user_name_is_a_profile(submission: SubmissionServer, sender: Caller) -> None:
    """By name, by id, or `heloise` for the default profile."""
    other = await sender.made("/profiles", PROFILE | {"name": "other", "is_default": True})
    for username, profile in (
        ("transactional", "transactional"),
        (other["id"], "other"),
        ("heloise", "other"),
    ):
        async with submission.login(sender, username) as client:
            content = HEADER + f"Subject: {username}\r\n\r\n".encode()
            message = await submission.stored(sender, await client.submit(content))
        assert message["profile"] == profile


@pytest.mark.one_database
async def test_a_bound_key_sends_through_its_profiles(
    submission: SubmissionServer, sender: Caller
) -> None:
    """Another profile is unknown to it; with one profile, `heloise` means that one."""
    other = await sender.made("/profiles", PROFILE | {"name": "other"})
    bound = await submission.api.key(sender.tenant_id, ["messages:send"], profiles=[other["id"]])
    async with submission.connect() as client:
        reply = await client.log_in("transactional", key_of(bound))
        assert reply.startswith("535 5.7.8 There is no profile 'transactional' here")
    async with submission.login(bound, "heloise") as client:
        await client.envelope()


@pytest.mark.one_database
async def test_senders_of_the_key_are_the_limit(
    submission: SubmissionServer, sender: Caller
) -> None:
    """A key's `allowed_from` holds for the envelope and for From."""
    bound = await submission.api.key(
        sender.tenant_id, ["messages:send"], allowed_from=["billing@example.com"]
    )
    async with submission.login(bound) as client:
        reply = await client("MAIL FROM:<ann@example.com>")
        assert reply.startswith("553 5.7.1 This key does not allow the sender ann@example.com.")
        reply = await client.submit(b"From: ann@example.com\r\n\r\n")
        assert reply.startswith("550 5.7.1 This key does not allow the sender ann@example.com.")


@pytest.mark.one_database
async def test_keys_that_do_not_open(submission: SubmissionServer, sender: Caller) -> None:
    """Unknown, revoked, expired, without the scope, from elsewhere, and an admin's."""
    past = datetime.now(UTC) + timedelta(seconds=1)
    reader = await submission.api.key(sender.tenant_id, ["messages:read"])
    away = await submission.api.key(sender.tenant_id, ["messages:send"], networks=["192.0.2.0/24"])
    revoked = await submission.api.key(sender.tenant_id, ["messages:send"])
    await sender("DELETE", f"/keys/{revoked.key_id}")
    del past
    for password, why in (
        ("hel_unknown", "This key is unknown, revoked or expired."),
        (key_of(revoked), "This key is unknown, revoked or expired."),
        (key_of(reader), "This key lacks the scope messages:send"),
        (
            key_of(away),
            (
                "This key works only from 192.0.2.0/24, and the request came from 127.0.0.1."
                " Behind a proxy, add the proxy to HELOISE_SUBMISSION_TRUSTED_PROXIES."
            ),
        ),
        (ADMIN_KEY, "An admin key belongs to no tenant"),
    ):
        async with submission.connect() as client:
            reply = await client.log_in("transactional", password)
            assert reply.startswith(f"535 5.7.8 {why}"), reply
            assert (await client("MAIL FROM:<billing@example.com>"))[:9] == "530 5.7.0"
    refusals = await submission.api.admin.read("/audit-log?action=smtp_login")
    assert [line["refused_as"] for line in refusals["items"]] == [
        "unauthenticated",
        "network-not-allowed",
        "scope-missing",
        "unauthenticated",
        "unauthenticated",
    ]


async def test_a_revoked_key_sends_no_more(submission: SubmissionServer, sender: Caller) -> None:
    """The session that logged in before ends with the next message."""
    mortal = await submission.api.key(sender.tenant_id, ["messages:send"])
    async with submission.login(mortal) as client:
        await client.submit(HEADER + b"\r\n1\r\n")
        await sender("DELETE", f"/keys/{mortal.key_id}")
        reply = await client("MAIL FROM:<billing@example.com>")
        assert reply.startswith("535 5.7.8 This key is unknown, revoked or expired.")
        assert await client.reply() == ""


async def test_refusals_are_in_the_audit_log(submission: SubmissionServer, sender: Caller) -> None:
    """As over HTTP; of many refused recipients the first."""
    await submission.api.admin(
        "PATCH", f"/tenants/{sender.tenant_id}", {"allowed_recipient_domains": ["example.org"]}
    )
    mortal = await submission.api.key(sender.tenant_id, ["messages:send"])
    async with submission.login(mortal) as client:
        assert (await client("MAIL FROM:<eve@example.net>"))[:3] == "553"
        await client("MAIL FROM:<billing@example.com>")
        for number in range(3):
            assert (await client(f"RCPT TO:<a{number}@example.net>"))[:3] == "550"
        await client("RSET")
        assert (await client.submit(b"From: eve@example.net\r\n\r\nHi\r\n"))[:3] == "550"
        await sender("DELETE", f"/keys/{mortal.key_id}")
        assert (await client("MAIL FROM:<billing@example.com>"))[:3] == "535"
    refusals = await submission.api.admin.read("/audit-log?action=smtp_submit")
    assert [line["refused_as"] for line in refusals["items"]] == [
        "unauthenticated",
        "sender-not-allowed",
        "recipient-not-allowed",
        "sender-not-allowed",
    ]


@pytest.mark.one_database
async def test_guesses_are_limited_by_address(submission: SubmissionServer, sender: Caller) -> None:
    """HTTP and SMTP share the limit; a valid key is never refused for it."""
    for _ in range(7):
        async with submission.connect() as client:
            for _ in range(3):
                reply = await client.log_in("transactional", "hel_guess")
            assert reply[:3] in {"535", "421"}
    assert reply.startswith("421 4.7.0 This key is not valid, and this address sent more than 20")
    async with submission.login(sender):
        pass


@pytest.mark.one_database
async def test_three_wrong_logins_end_a_session(submission: SubmissionServer) -> None:
    """Another guess costs another connection."""
    async with submission.connect() as client:
        for _ in range(3):
            await client.log_in("transactional", "hel_guess")
        assert await client.reply() == "421 4.7.0 Too many errors"
        assert await client.reply() == ""


@pytest.mark.one_database
async def test_no_login_without_tls(
    submission: SubmissionServer, sender: Caller, server_tls: ssl.SSLContext
) -> None:
    """AUTH is neither offered nor taken, and nothing is sent."""
    async with (
        serving_submission(
            submission.api, server_tls, allows_plaintext_login=False
        ) as submission_server,
        submission_server.connect() as client,
    ):
        extensions = (await client("EHLO localhost")).split("\n")
        assert "250-AUTH PLAIN LOGIN" not in extensions
        assert extensions[-1] == "250 STARTTLS"
        reply = await client.log_in("transactional", key_of(sender))
        assert reply == "530 5.7.0 Send STARTTLS first"
        reply = await client("MAIL FROM:<billing@example.com>")
        assert reply == "530 5.7.0 Send STARTTLS first"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("response", "reply"),
    [
        ("AUTH", "504 5.5.4 Use AUTH PLAIN or AUTH LOGIN"),
        ("AUTH CRAM-MD5", "504 5.5.4 Use AUTH PLAIN or AUTH LOGIN"),
        ("AUTH PLAIN !!!", "501 5.5.2 This is not a response of the mechanism in base64"),
        ("AUTH PLAIN =", "501 5.5.2 This is not a response of the mechanism in base64"),
        (
            f"AUTH PLAIN {encode('one')}",
            "501 5.5.2 This is not a response of the mechanism in base64",
        ),
        (
            f"AUTH PLAIN {encode(chr(0) + 'name' + chr(0))}",
            "501 5.5.2 This is not a response of the mechanism in base64",
        ),
        ("AUTH LOGIN *", "501 5.7.0 Authentication was cancelled"),
        ("AUTH LOGIN !!!", "501 5.5.2 This is not a response of the mechanism in base64"),
        (f"AUTH LOGIN {b64encode(b'name').decode()}", "334 UGFzc3dvcmQ6"),
    ],
)
async def test_responses_that_are_none(
    submission: SubmissionServer, response: str, reply: str
) -> None:
    """Each is refused, and the session goes on."""
    async with submission.connect() as client:
        assert await client(response) == reply
        if reply.startswith("334"):
            assert await client("*") == "501 5.7.0 Authentication was cancelled"
        assert await client("NOOP") == "250 2.0.0 OK"


@pytest.mark.one_database
async def test_a_login_needs_ehlo_and_comes_once(
    submission: SubmissionServer, sender: Caller
) -> None:
    """RFC 4954 section 4: not before EHLO, not twice, not within a message."""
    async with submission.connect(ehlo=False) as client:
        assert (await client("AUTH PLAIN"))[:3] == "503"
        await client("EHLO localhost")
        await client.log_in("transactional", key_of(sender))
        assert (await client("AUTH PLAIN")) == "503 5.5.1 You are already logged in"
        assert "AUTH" not in await client("EHLO localhost")
