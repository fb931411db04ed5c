"""Profiles that log in by OAuth 2.0: from a token server's token to a delivered message."""

from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import CANARY, Heloise, until
from tests.support.servers import token_server
from tests.support.servers.smtp_server import SmtpServer
from tests.support.servers.token_server import (
    CLIENT,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    SCOPE,
    TokenServer,
    private_key,
)

MAILBOX: Final = "billing@example.com"
GRANTS: Final = {
    "client_credentials": {"client_secret": CLIENT_SECRET},
    "refresh_token": {"client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN},
    "jwt_bearer": {"private_key": private_key()},
}


def auth(tokens: TokenServer, grant: str = "client_credentials", **fields: Any) -> dict[str, Any]:
    """A profile's `auth` that the token server grants."""
    return {
        "mechanism": "oauth2",
        "username": MAILBOX,
        "allow_plaintext_auth": True,
        "grant": grant,
        "token_url": tokens.url,
        "client_id": CLIENT,
        "scope": SCOPE,
        **GRANTS[grant],
        **fields,
    }


def test_what_is_looked_for_is_in_every_secret() -> None:
    """Else the watch over what comes out would see nothing."""
    assert token_server.CANARY == CANARY


@pytest.mark.one_database
@pytest.mark.parametrize("grant", GRANTS)
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_each_grant_delivers_and_a_token_serves_many_connections(
    heloise: Heloise, grant: str, mechanism: str
) -> None:
    """The mail server sees the token of that mailbox; the token server is asked once."""
    with TokenServer() as tokens:
        async with SmtpServer(tokens=tokens.valid, mechanisms=[mechanism]) as server:
            acme = await heloise.tenant()
            fields = {"auth": auth(tokens, grant), "max_messages_per_connection": 1}
            await acme.profile("main", server.port, **fields)
            for _ in range(3):
                message = await acme.send()
                await acme.message(message, status="sent")
        assert len(tokens.requests) == 1
    assert [session.user for session in server.sessions] == [MAILBOX] * 3
    [attempt] = await acme.attempts(message)
    assert attempt["auth_mechanism"] == mechanism.lower()


@pytest.mark.one_database
async def test_a_token_server_that_is_down_is_the_profiles_fault(start: Start) -> None:
    """Its messages wait with no attempt used, and go once it answers again."""
    clock = HandClock()
    with TokenServer() as tokens:
        tokens.answers = [(503, "Busy")]
        async with SmtpServer(tokens=tokens.valid, mechanisms=["XOAUTH2"]) as server:
            acme = await (await start(clock=clock)).tenant()
            await acme.profile("main", server.port, auth=auth(tokens))
            messages = [await acme.send() for _ in range(3)]
            failing = await acme.state("main", "failing")
            assert failing["failing_code"] == "oauth_token_unavailable"
            assert "answered HTTP 503" in failing["reason"]
            assert "auth.token_url" in failing["reason"]
            await acme.settled()
            assert server.sessions == []
            for message in messages:
                [recipient] = (await acme.read(f"/messages/{message}"))["recipients"]
                assert (recipient["status"], recipient["attempts"]) == ("queued", 0)
            await clock.advance(minutes=5)
            await acme.all_sent(messages)
            await acme.state("main", "active")


@pytest.mark.one_database
async def test_a_refused_client_is_told_and_a_new_secret_is_tried_at_once(heloise: Heloise) -> None:
    """The token server's own words, and what to change."""
    with TokenServer() as tokens:
        async with SmtpServer(tokens=tokens.valid, mechanisms=["XOAUTH2"]) as server:
            acme = await heloise.tenant()
            wrong_auth = auth(tokens, client_secret="wrong")
            await acme.profile("main", server.port, auth=wrong_auth)
            message = await acme.send()
            failing = await acme.state("main", "failing")
            assert failing["failing_code"] == "oauth_token_refused"
            assert "invalid_client: Who are you?" in failing["reason"]
            await acme("PATCH", "/profiles/main", {"auth": {"client_secret": CLIENT_SECRET}})
            await acme.message(message, status="sent")


@pytest.mark.one_database
async def test_a_token_that_the_mail_server_refuses_is_not_used_again(start: Start) -> None:
    """What it says of it is told, and the next probe comes with a new one."""
    clock = HandClock()
    with TokenServer() as tokens:
        async with SmtpServer(tokens=tokens.valid, mechanisms=["XOAUTH2"]) as server:
            acme = await (await start(clock=clock)).tenant()
            fields = {"auth": auth(tokens), "max_messages_per_connection": 1}
            await acme.profile("main", server.port, **fields)
            await acme.message(await acme.send(), status="sent")
            tokens.valid[MAILBOX] = "revoked"
            message = await acme.send()
            failing = await acme.state("main", "failing")
            assert failing["failing_code"] == "oauth_token_rejected"
            assert "(status=401, schemes=bearer, scope=https://mail.test/)" in failing["reason"]
            await clock.advance(minutes=5)
            await acme.message(message, status="sent")
        assert len(tokens.requests) == 2


async def test_a_refresh_token_that_is_replaced_is_the_next_to_be_used(start: Start) -> None:
    """It is stored in place of the old one, which is dead; the profile is the same as before."""
    clock = HandClock()
    with TokenServer(rotates=True, seconds=600) as tokens:
        async with SmtpServer(tokens=tokens.valid, mechanisms=["XOAUTH2"]) as server:
            acme = await (await start(clock=clock)).tenant()
            fields = {"auth": auth(tokens, "refresh_token"), "max_messages_per_connection": 1}
            profile = await acme.profile("main", server.port, **fields)
            for number in (1, 2, 3):
                await acme.message(await acme.send(), status="sent")
                assert len(tokens.requests) == number
                await clock.advance(minutes=20)
            refresh_tokens = [request["refresh_token"] for request in tokens.requests]
            assert refresh_tokens[0] == REFRESH_TOKEN
            assert len(set(refresh_tokens)) == 3
            assert (await acme.read("/profiles/main"))["updated_at"] == profile["updated_at"]


@pytest.mark.one_database
async def test_a_changed_profile_uses_no_token_of_the_old_one(heloise: Heloise) -> None:
    """Nor a connection that was logged in by it (invariant 8)."""
    with TokenServer() as tokens:
        async with SmtpServer(tokens=tokens.valid, mechanisms=["XOAUTH2"]) as server:
            acme = await heloise.tenant()
            await acme.profile("main", server.port, auth=auth(tokens))
            await acme.message(await acme.send(), status="sent")
            changes = {"grant": "jwt_bearer", "client_secret": None, "private_key": private_key()}
            await acme("PATCH", "/profiles/main", {"auth": changes})
            await acme.message(await acme.send(), status="sent")

            async def has_asked() -> bool | None:
                return len(tokens.requests) == 2 or None

            await until(has_asked)
        assert len(server.sessions) == 2
