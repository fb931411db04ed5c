"""AUTH by a real Dovecot: each mechanism, right and wrong."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from app.domain.outcome.failure_table import classify
from app.domain.types import AuthMechanism
from app.smtp.session import Session
from app.smtp.session_opening import OpenFailure, open_session
from tests.support.servers.dovecot import HASHED_PASSWORD, HASHED_USER, PASSWORD, USER, dovecot_at
from tests.support.servers.smtp_server import SmtpServer
from tests.support.servers.token_server import TokenServer
from tests.support.smtp_identities import ANYWHERE, identity, send

pytestmark = pytest.mark.dovecot

TOKEN: Final = "a-t0ken"


@pytest.fixture
async def relay() -> AsyncIterator[SmtpServer]:
    """Where Dovecot hands mail on to; `port` is Dovecot's own from here on."""
    with TokenServer() as tokens:
        tokens.valid[USER] = TOKEN
        async with SmtpServer() as server:
            ports = dovecot_at(relay_port=server.port, introspection_url=tokens.introspection_url)
            port = await asyncio.to_thread(ports.__enter__)
            try:
                server.port = port
                yield server
            finally:
                await asyncio.to_thread(ports.__exit__, None, None, None)


async def log_in(
    relay: SmtpServer, *, token: str | None = None, **fields: Any
) -> Session | OpenFailure:
    """A session with Dovecot, in clear."""
    who = {"username": USER, "password": PASSWORD, "allow_plaintext_auth": True} | fields
    return await open_session(identity(relay, **who), ANYWHERE, token=token)


async def test_each_mechanism_logs_in(relay: SmtpServer) -> None:
    """`auto` takes SCRAM; what is sent arrives."""
    for mechanism, used in (
        ("auto", "scram-sha-256"),
        ("cram-md5", "cram-md5"),
        ("plain", "plain"),
        ("login", "login"),
    ):
        session = await log_in(relay, mechanism=AuthMechanism(mechanism))
        assert isinstance(session, Session), session
        assert session.facts.auth_mechanism == used
        assert (await send(session)).reply is not None
        await session.quit()
    assert len(relay.messages) == 4


async def test_a_wrong_password_is_refused_by_each(relay: SmtpServer) -> None:
    """With 535, whatever way it was proven."""
    for mechanism in ("scram-sha-256", "cram-md5", "plain", "login"):
        failure = await log_in(relay, mechanism=AuthMechanism(mechanism), password="wrong")
        assert isinstance(failure, OpenFailure)
        assert str(failure.failure).startswith("535 5.7.8")


async def test_a_password_kept_as_a_hash_is_told_of(relay: SmtpServer) -> None:
    """The right one is refused by SCRAM, and what to write instead works."""
    who = {"username": HASHED_USER, "password": HASHED_PASSWORD}
    failure = await log_in(relay, **who)
    assert isinstance(failure, OpenFailure)
    assert "auth.mechanism=plain" in failure.failure.detail
    session = await log_in(relay, mechanism=AuthMechanism.PLAIN, **who)
    assert isinstance(session, Session)
    session.abort()


async def test_an_access_token_logs_in_and_a_wrong_one_is_told(relay: SmtpServer) -> None:
    """By OAUTHBEARER, with what Dovecot says of the one that it refuses."""
    session = await log_in(relay, mechanism=AuthMechanism.OAUTH2, token=TOKEN)
    assert isinstance(session, Session), session
    assert session.facts.auth_mechanism == "oauthbearer"
    session.abort()
    failure = await log_in(relay, mechanism=AuthMechanism.OAUTH2, token="another")
    assert isinstance(failure, OpenFailure)
    assert "status=" in failure.failure.detail
    judged = classify(failure.failure, fresh=True, authenticated=False)
    assert judged.classification == "oauth_token_rejected"
