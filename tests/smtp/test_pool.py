"""Warm connections: kept for the same identity, and for nobody else (invariant 8)."""

import asyncio
from dataclasses import fields, replace
from typing import Any, Final

import pytest

from app.domain.clock import monotonic_seconds
from app.domain.ehlo import EhloNames
from app.domain.types import AuthMechanism, Timeouts, TlsMode
from app.smtp.identity import Identity
from app.smtp.pool import Pool
from app.smtp.session import Session
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer
from tests.support.smtp_identities import identity, send, try_open

OTHERS: Final[dict[str, Any]] = {
    "profile_id": "prf_2",
    "host": "mx.example.org",
    "port": 26,
    "tls": TlsMode.IMPLICIT,
    "tls_ca": "another",
    "client_certificate": "another",
    "client_key": "another",
    "tls_min_version": "1.3",
    "tls_server_name": "mx.example.org",
    "tls_pins": ("sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",),
    "ehlo_names": EhloNames("mail.example.com", "other.example.com"),
    "source_address": "127.0.0.2",
    "mechanism": AuthMechanism.LOGIN,
    "username": "bob",
    "password": "another",
    "allow_plaintext_auth": True,
    "timeouts": Timeouts(connect=9),
    "token_revision": 2,
}


async def open_to(server: SmtpServer, **fields: Any) -> Session:
    """A session that is open."""
    session = await try_open(server, **fields)
    assert isinstance(session, Session)
    return session


def test_every_field_of_an_identity_is_tried() -> None:
    """A new field cannot be forgotten below."""
    assert set(OTHERS) == {field.name for field in fields(Identity)}


@pytest.mark.parametrize("field", OTHERS)
async def test_a_session_is_of_no_use_to_another_identity(field: str) -> None:
    """One field that differs, and the connection is closed instead of being handed out."""
    async with SmtpServer() as server:
        pool = Pool(max_messages=10)
        pool.keep(await open_to(server))
        other = replace(identity(server), **{field: OTHERS[field]})
        assert await pool.take(other) is None
        await pool.close()
    assert server.sessions[0].commands[-1] == "QUIT"


async def test_a_session_is_handed_out_again_to_its_identity() -> None:
    """The newest first, and no connection twice."""
    async with SmtpServer() as server:
        pool = Pool(max_messages=10)
        first, second = await open_to(server), await open_to(server)
        pool.keep(first)
        pool.keep(second)
        mine = identity(server)
        assert [await pool.take(mine) for _ in range(3)] == [second, first, None]
        for session in (first, second):
            pool.retire(session)
        await pool.close()


async def test_a_session_has_its_day() -> None:
    """After so many messages it is closed."""
    async with SmtpServer() as server:
        pool = Pool(max_messages=2)
        session = await open_to(server)
        await send(session)
        assert pool.is_fit(session, identity(server))
        await send(session)
        assert not pool.is_fit(session, identity(server))
        pool.keep(session)
        assert await pool.take(identity(server)) is None
        await pool.close()
    assert server.sessions[0].commands[-1] == "QUIT"


async def test_a_message_that_is_refused_uses_a_session_too() -> None:
    """A server that counts transactions counts that one."""
    async with SmtpServer({"rcpt": lambda _: "550 5.1.1 No such user"}) as server:
        pool = Pool(max_messages=1)
        session = await open_to(server)
        await send(session)
        assert session.is_open
        assert not pool.is_fit(session, identity(server))
        pool.retire(session)
        await pool.close()


async def test_a_session_that_the_server_has_closed_is_not_handed_out() -> None:
    """It went while it was idle."""
    async with SmtpServer() as server:
        pool = Pool(max_messages=10)
        session = await open_to(server)
        pool.keep(session)
        server.hang_up()
        await server.wait_until(lambda it: it.open_connections == 0)
        async with asyncio.timeout(60):
            while session.is_open:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0)
        assert await pool.take(identity(server)) is None
        await pool.close()


async def test_an_idle_session_is_closed_after_a_while() -> None:
    """With QUIT; then the pool holds nothing."""
    async with SmtpServer() as server:
        pool = Pool(max_messages=10, idle_seconds=0.01)
        pool.keep(await open_to(server))
        assert pool.has_sessions
        await server.wait_until(lambda it: it.open_connections == 0)
        assert server.sessions[0].commands[-1] == "QUIT"
        await pool.close()
        assert not pool.has_sessions


async def test_a_secret_is_not_shown_by_repr() -> None:
    """Invariant 9: an identity may be logged."""
    async with SmtpServer() as server:
        shown = repr(identity(server, password="c4nary", client_key="c4nary-key"))
    assert "c4nary" not in shown


async def test_a_connection_that_is_old_or_silent_is_not_trusted() -> None:
    """Past its age it is closed; after a silence the server is asked whether it is there."""
    seconds = monotonic_seconds()
    async with SmtpServer({"noop": ["250 2.0.0 Ok", DISCONNECT]}) as server:
        pool = Pool(max_messages=100, monotonic=lambda: seconds)
        pool.keep(await open_to(server))
        seconds += 5
        session = await pool.take(identity(server))
        assert session is not None
        assert server.sessions[0].commands[-1] == "NOOP"
        pool.keep(session)
        seconds += 5
        assert await pool.take(identity(server)) is None
        pool.keep(await open_to(server))
        seconds += 301
        assert await pool.take(identity(server)) is None
        await pool.close()
        await server.wait_until(lambda server: server.sessions[1].commands[-1] == "QUIT")
