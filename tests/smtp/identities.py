"""Identities that speak to a scripted server, and what becomes of a message through them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from app.domain.failure_table import classify
from app.domain.outcome import Failure, Outcome, delivered
from app.domain.types import Timeouts, TlsMode
from app.smtp.identity import Identity
from app.smtp.opening import NotOpened, open_session
from app.smtp.resolve import AddressGuard
from app.smtp.session import Session, Transaction
from tests.fixtures.smtp_server import SmtpServer

SENDER: Final = "billing@example.com"
ANN: Final = "ann@example.org"
MIME: Final = b"Subject: Hello\r\n\r\nIt works.\r\n"
ANYWHERE: Final = AddressGuard(allow_private=True, is_port_allowed=lambda _: True)
IMPATIENT: Final = Timeouts(connect=1, command=0.3, data=0.3)


def identity(server: SmtpServer, **fields: Any) -> Identity:
    """Of a profile that names this server; in clear and anonymous where nothing else is said."""
    given = {
        "profile_id": "prf_1",
        "host": "127.0.0.1",
        "port": server.port,
        "tls": TlsMode.NONE,
        "profile_ehlo_name": "mail.example.com",
        "timeouts": Timeouts(connect=5, command=5, data=5),
    }
    return Identity(**(given | fields))


async def opened(server: SmtpServer, **fields: Any) -> Session | NotOpened:
    """A session of such an identity, or why there is none."""
    return await open_session(identity(server, **fields), ANYWHERE)


async def refusal(server: SmtpServer, **fields: Any) -> Failure:
    """Why there is no session."""
    found = await opened(server, **fields)
    assert isinstance(found, NotOpened)
    return found.failure


@asynccontextmanager
async def session_to(server: SmtpServer, **fields: Any) -> AsyncIterator[Session]:
    """An open session, closed politely at the end."""
    found = await opened(server, **fields)
    assert isinstance(found, Session), found
    try:
        yield found
    finally:
        await found.quit()


async def send(
    session: Session, recipients: Sequence[str] = (ANN,), mime: bytes = MIME
) -> Transaction:
    """One message through the session."""
    return await session.send(envelope_from=SENDER, recipients=recipients, mime=mime)


async def outcome(server: SmtpServer, *, mime: bytes = MIME, **fields: Any) -> Outcome:
    """What becomes of one message to one recipient, from the first packet on."""
    found = await opened(server, **fields)
    if isinstance(found, NotOpened):
        return classify(found.failure, fresh=True, authenticated=False)
    transaction = await send(found, mime=mime)
    await found.quit()
    if transaction.reply is not None:
        return delivered(transaction.reply)
    failure = transaction.failure or transaction.refused[ANN]
    return classify(failure, fresh=True, authenticated=found.is_authenticated)
