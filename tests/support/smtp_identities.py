"""Identities that speak to a scripted server, and what becomes of a message through them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from app.domain.ehlo import EhloNames
from app.domain.networks import AddressGuard
from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import (
    Failure,
    FailureScope,
    Fault,
    Outcome,
    Verdict,
    build_delivered,
)
from app.domain.types import Timeouts, TlsMode
from app.smtp.dns import Resolver
from app.smtp.extensions import Extension
from app.smtp.identity import Identity
from app.smtp.protocol import Mail
from app.smtp.resolve import Network
from app.smtp.session import Session, Transaction
from app.smtp.session_opening import OpenFailure, open_session
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.smtp_server import SmtpServer
from tests.support.waiting import until

SENDER: Final = "billing@example.com"
ANN: Final = "ann@example.org"
MIME: Final = b"Subject: Hello\r\n\r\nIt works.\r\n"
ANYWHERE: Final = Network(
    AddressGuard(allow_private=True, is_port_allowed=lambda _: True), Resolver()
)
BROKEN: Final = {
    Fault.PIPELINING.value: Extension.PIPELINING,
    Fault.CHUNKING.value: Extension.CHUNKING,
}
LOOP_TURNS: Final = 50
IMPATIENT: Final = Timeouts(connect=1, command=0.3, data=0.3)


def identity(server: SmtpServer, **fields: Any) -> Identity:
    """Of a profile that names this server; in clear and anonymous where nothing else is said."""
    defaults = {
        "profile_id": "prf_1",
        "host": "127.0.0.1",
        "port": server.port,
        "tls": TlsMode.NONE,
        "ehlo_names": EhloNames("mail.example.com"),
        "timeouts": Timeouts(connect=5, command=5, data=5),
    }
    return Identity(**(defaults | fields))


def look_up_by(dns: DnsServer) -> Network:
    """May connect anywhere, to what this server says."""
    return replace(ANYWHERE, resolver=Resolver([dns.address]))


async def try_open(
    server: SmtpServer,
    *,
    distrusted: Collection[Extension] = (),
    network: Network = ANYWHERE,
    names: Sequence[str] = (),
    token: str | None = None,
    **fields: Any,
) -> Session | OpenFailure:
    """A session of such an identity, or why there is none."""
    return await open_session(
        identity(server, **fields), network, names=names, token=token, distrusted=distrusted
    )


async def refusal(server: SmtpServer, **fields: Any) -> Failure:
    """Why there is no session."""
    failure = await try_open(server, **fields)
    assert isinstance(failure, OpenFailure)
    return failure.failure


@asynccontextmanager
async def session_to(server: SmtpServer, **fields: Any) -> AsyncIterator[Session]:
    """An open session, closed politely at the end."""
    session = await try_open(server, **fields)
    assert isinstance(session, Session), session
    try:
        yield session
    finally:
        await session.quit()


async def come_true(fact: Callable[[], bool]) -> None:
    """Return once it is so; most facts need only some turns of the loop."""
    for _ in range(LOOP_TURNS):
        if fact():
            return
        await asyncio.sleep(0)

    async def become() -> bool | None:
        return fact() or None

    await until(become)


async def send(
    session: Session, recipients: Sequence[str] = (ANN,), mime: bytes = MIME
) -> Transaction:
    """One message through the session."""
    return await session.send(Mail(SENDER, recipients, mime))


async def outcome(server: SmtpServer, *, mime: bytes = MIME, **fields: Any) -> Outcome:
    """What becomes of one message to one recipient, from the first packet on.

    Who does not keep to an extension is asked again without it.
    """
    result = await _outcome(server, mime, **fields)
    refused_extensions: set[Extension] = set()
    while result.classification in BROKEN:
        assert (result.scope, result.verdict) == (FailureScope.CONNECTION, Verdict.DEFER)
        assert BROKEN[result.classification] not in refused_extensions
        refused_extensions.add(BROKEN[result.classification])
        result = await _outcome(server, mime, distrusted=refused_extensions, **fields)
    return result


async def _outcome(server: SmtpServer, mime: bytes, **fields: Any) -> Outcome:
    session = await try_open(server, **fields)
    if isinstance(session, OpenFailure):
        return classify(session.failure, fresh=True, authenticated=False)
    transaction = await send(session, mime=mime)
    await session.quit()
    if transaction.reply is not None:
        return build_delivered(transaction.reply)
    failure = transaction.failure or transaction.refused[ANN]
    return classify(failure, fresh=True, authenticated=session.is_authenticated)
