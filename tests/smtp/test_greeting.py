"""The EHLO name: the one that was decided, at every step, and no other."""

import socket
from typing import Any, Final

import pytest

from app.domain.ehlo import EhloNames
from app.domain.outcome.outcome import Stage
from app.domain.types import TlsMode
from app.smtp.session import Session
from app.smtp.session_opening import OpenFailure
from tests.smtp.conftest import ServerTls
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer
from tests.support.smtp_identities import refusal, send, session_to, try_open

LADDER: Final = {
    "profile": "p.example.com",
    "tenant": "t.example.com",
    "service": "s.example.com",
    "hostname": "h.example.com",
}
REFUSED: Final = "504 5.5.2 need fully-qualified hostname"
TRIED: Final = ("localhost", "pod-1", "mail.example.com", "never.example.com")


@pytest.mark.parametrize(
    ("without", "name", "source"),
    [
        ([], "p.example.com", "profile"),
        (["profile"], "t.example.com", "tenant"),
        (["profile", "tenant"], "s.example.com", "service"),
        (["profile", "tenant", "service"], "h.example.com", "hostname"),
        (["profile", "tenant", "service", "hostname"], "[127.0.0.1]", "address_literal"),
    ],
)
async def test_the_name_on_the_wire_is_the_ladders(
    without: list[str], name: str, source: str
) -> None:
    """The facts tell the same name, and where it came from."""
    names = EhloNames(**{key: LADDER[key] for key in LADDER if key not in without})
    async with SmtpServer() as server, session_to(server, ehlo_names=names) as session:
        pass
    assert server.sessions[0].ehlo == [name]
    assert (session.facts.ehlo_name, session.facts.ehlo_source) == (name, source)


async def test_the_machines_own_guess_is_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library would say by itself (`socket.getfqdn`) decides nothing."""

    def guess(*_: Any) -> str:
        raise AssertionError("somebody asked for the machine's name")

    monkeypatch.setattr(socket, "getfqdn", guess)
    async with (
        SmtpServer() as server,
        session_to(server, ehlo_names=EhloNames(hostname="localhost")) as session,
    ):
        await send(session)
    assert server.sessions[0].ehlo == ["[127.0.0.1]"]


async def test_the_name_is_the_same_after_starttls(server_tls: ServerTls, ca_pem: str) -> None:
    """Both EHLOs."""
    async with (
        SmtpServer(tls=server_tls()) as server,
        session_to(server, tls=TlsMode.STARTTLS, tls_ca=ca_pem),
    ):
        pass
    assert server.sessions[0].ehlo == ["mail.example.com", "mail.example.com"]


@pytest.mark.parametrize("reply", ["500 5.5.1 What?", "502 5.5.1 Not implemented"])
async def test_a_server_that_knows_no_ehlo_is_greeted_with_helo(reply: str) -> None:
    """By the same name (RFC 5321 section 4.1.1.1), and the message goes through."""
    async with SmtpServer({"ehlo": reply}) as server, session_to(server) as session:
        assert (await send(session)).reply is not None
    session_log = server.sessions[0]
    assert (session_log.ehlo, session_log.helo) == (["mail.example.com"], ["mail.example.com"])
    assert "MAIL FROM:<billing@example.com>" in session_log.commands


@pytest.mark.parametrize(
    "reply", ["504 5.5.2 need fully-qualified hostname", "550 no", "501 5.5.2 Invalid name"]
)
async def test_a_refused_name_is_not_tried_again_with_helo(reply: str) -> None:
    """The server knows EHLO: it is the name that it does not like."""
    async with SmtpServer({"ehlo": reply}) as server:
        failure = await refusal(server)
    assert failure.stage is Stage.EHLO
    assert server.sessions[0].helo == []


@pytest.mark.parametrize(
    "fields", [{"tls": TlsMode.STARTTLS}, {"username": "ann", "password": "word"}]
)
async def test_helo_does_not_make_do_where_more_is_needed(fields: dict[str, str]) -> None:
    """Neither STARTTLS nor AUTH is there without EHLO: no mail goes."""
    async with SmtpServer({"ehlo": "502 5.5.1 Not implemented"}) as server:
        failure = await refusal(server, **fields)
    assert (failure.stage, str(failure)) == (Stage.EHLO, "502 5.5.1 Not implemented")
    assert server.sessions[0].commands == ["EHLO mail.example.com"]


async def test_the_facts_of_a_refused_name_tell_it() -> None:
    """Whoever reads the attempt sees which name it was."""
    async with SmtpServer({"ehlo": "550 no"}) as server:
        failure = await try_open(server)
    assert failure.facts.ehlo_name == "mail.example.com"
    assert (failure.facts.host, failure.facts.port) == ("127.0.0.1", server.port)
    assert failure.facts.remote_address == "127.0.0.1"


async def test_names_are_tried_in_turn_on_one_connection_until_one_is_taken() -> None:
    """It is the connection's; who was refused, and how, is known in order."""
    async with SmtpServer({"ehlo": [REFUSED, REFUSED]}) as server:
        session = await try_open(server, names=TRIED)
        assert isinstance(session, Session)
        assert (await send(session)).reply is not None
        await session.quit()
    (greetings,) = server.sessions
    assert (greetings.ehlo, greetings.helo) == (list(TRIED[:3]), [])
    assert (session.facts.ehlo_name, session.facts.ehlo_source) == ("mail.example.com", None)
    refused = [(name, str(failure)) for name, failure in session.facts.refused_names]
    assert refused == [("localhost", REFUSED), ("pod-1", REFUSED)]


async def test_with_every_name_refused_the_last_ones_refusal_is_told() -> None:
    """And all of them are known."""
    async with SmtpServer({"ehlo": REFUSED}) as server:
        failure = await try_open(server, names=TRIED)
    assert isinstance(failure, OpenFailure)
    assert (failure.failure.stage, str(failure.failure)) == (Stage.EHLO, REFUSED)
    assert tuple(name for name, _ in failure.facts.refused_names) == TRIED


@pytest.mark.parametrize("end", ["421 4.7.0 Enough", DISCONNECT, b"nonsense\r\n"])
async def test_no_name_is_tried_once_the_server_has_had_enough(end: str | bytes) -> None:
    """A goodbye is no refusal of the name that it comes for."""
    async with SmtpServer({"ehlo": [REFUSED, end]}) as server:
        failure = await try_open(server, names=TRIED)
    assert isinstance(failure, OpenFailure)
    assert server.sessions[0].ehlo == ["localhost", "pod-1"]
    assert [name for name, _ in failure.facts.refused_names] == ["localhost"]
    assert failure.facts.ehlo_name == "pod-1"


async def test_the_name_that_was_taken_is_said_again_after_starttls(
    server_tls: ServerTls, ca_pem: str
) -> None:
    """Not the first of those that were to be tried."""
    async with SmtpServer({"ehlo": [REFUSED]}, tls=server_tls()) as server:
        session = await try_open(server, names=TRIED, tls=TlsMode.STARTTLS, tls_ca=ca_pem)
        assert isinstance(session, Session)
        await session.quit()
    assert server.sessions[0].ehlo == ["localhost", "pod-1", "pod-1"]
    assert len(session.facts.greetings) == 2
