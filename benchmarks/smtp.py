"""SMTP clients: the same message, from memory, over so many connections that are open already.

Each is a function of (port, content, messages, connections) that returns how many seconds it took
from the moment on at which all connections were ready.
"""

import asyncio
import smtplib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import aiosmtplib
import uvloop

from app.domain.ehlo import EhloNames
from app.domain.networks import AddressGuard
from app.domain.types import TlsMode
from app.smtp.dns import Resolver
from app.smtp.identity import Identity
from app.smtp.protocol import Mail
from app.smtp.resolve import Network
from app.smtp.session import Session
from app.smtp.session_opening import OpenFailure, open_session
from benchmarks.pipelined import send_by_hand
from benchmarks.trial.message import RECIPIENT, SENDER
from benchmarks.trial.service import EHLO_NAME

Client = Callable[[int, bytes, int, int], float]
SendAll = Callable[[], Awaitable[None]]

HELOISE: Final = "Heloise's SMTP engine"
AIOSMTPLIB: Final = "aiosmtplib, pooled"
SMTPLIB: Final = "smtplib, one connection"
LIMIT: Final = "written by hand (limit)"
PLAIN_LIMIT: Final = "written by hand, reply by reply"
NETWORK: Final = Network(
    AddressGuard(allow_private=True, is_port_allowed=lambda _: True), Resolver()
)


def by_smtplib(port: int, content: bytes, messages: int, connections: int) -> float:
    """The standard library; it blocks, so it has one connection whatever is asked for."""
    del connections
    with smtplib.SMTP("127.0.0.1", port, local_hostname=EHLO_NAME) as session:
        session.ehlo()
        started_at = time.monotonic()
        for _ in range(messages):
            session.sendmail(SENDER, [RECIPIENT], content)
        return time.monotonic() - started_at


def by_aiosmtplib(port: int, content: bytes, messages: int, connections: int) -> float:
    """The usual library: a pool of its sessions, on uvloop."""
    return uvloop.run(_aiosmtplib(port, content, messages, connections))


async def _aiosmtplib(port: int, content: bytes, messages: int, connections: int) -> float:
    turns = iter(range(messages))
    sessions = [
        aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, local_hostname=EHLO_NAME)
        for _ in range(connections)
    ]

    async def send_all(session: aiosmtplib.SMTP) -> None:
        for _ in turns:
            await session.sendmail(SENDER, [RECIPIENT], content)

    await asyncio.gather(*(session.connect() for session in sessions))
    await asyncio.gather(*(session.ehlo() for session in sessions))
    took_seconds = await _measure_time([partial(send_all, session) for session in sessions])
    for session in sessions:
        await session.quit()
    return took_seconds


def by_heloise(port: int, content: bytes, messages: int, connections: int) -> float:
    """What delivers in Heloise: its sessions, without queue and database."""
    return uvloop.run(_heloise(port, content, messages, connections))


async def _heloise(port: int, content: bytes, messages: int, connections: int) -> float:
    turns = iter(range(messages))

    def following() -> Mail | None:
        has_next = next(turns, None) is not None  # a free connection takes the next one
        return Mail(SENDER, [RECIPIENT], content) if has_next else None

    async def send_all(session: Session) -> None:
        while (mail := session.begun_mail or following()) is not None:
            transaction = await session.send(mail, next_mail=following)
            if transaction.reply is None:
                raise RuntimeError(f"not sent: {transaction}")

    sessions = await asyncio.gather(*(_open_session(port) for _ in range(connections)))
    took_seconds = await _measure_time([partial(send_all, session) for session in sessions])
    for session in sessions:
        await session.quit()
    return took_seconds


async def _open_session(port: int) -> Session:
    identity = Identity(
        profile_id="prf_bench",
        host="127.0.0.1",
        port=port,
        tls=TlsMode.NONE,
        ehlo_names=EhloNames(EHLO_NAME),
    )
    session = await open_session(identity, NETWORK)
    if isinstance(session, OpenFailure):
        raise ConnectionError(session.failure)
    return session


def by_hand(
    port: int, content: bytes, messages: int, connections: int, *, pipelining: bool = True
) -> float:
    """What the machine allows."""
    return uvloop.run(
        send_by_hand(
            port,
            content,
            sender=SENDER,
            recipient=RECIPIENT,
            messages=messages,
            connections=connections,
            pipelining=pipelining,
        )
    )


async def _measure_time(work: Sequence[SendAll]) -> float:
    started_at = time.monotonic()
    await asyncio.gather(*(worker() for worker in work))
    return time.monotonic() - started_at


CLIENTS: Final[Mapping[str, Client]] = {
    HELOISE: by_heloise,
    AIOSMTPLIB: by_aiosmtplib,
    SMTPLIB: by_smtplib,
    LIMIT: by_hand,
    PLAIN_LIMIT: partial(by_hand, pipelining=False),
}
