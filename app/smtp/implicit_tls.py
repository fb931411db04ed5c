"""Detect implicit-TLS ports: no banner, but an answer to a ClientHello."""

import asyncio
import socket
import ssl
from typing import Final

from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import TlsMode
from app.smtp.faults import StageFailedError
from app.smtp.identity import Identity
from app.smtp.resolve import Network, connect

# RFC 8446 section 5.1: an alert is TLS too.
ALERT: Final = b"\x15"
HANDSHAKE: Final = b"\x16"

PROOF_SECONDS: Final = 5.0
TLS_FIRST: Final = Failure(
    Stage.BANNER,
    fault=Fault.TLS_FIRST,
    detail="the server sends no greeting but answers a TLS handshake",
)


async def detect_implicit_tls(failure: Failure, identity: Identity, network: Network) -> Failure:
    """Return TLS_FIRST if that explains a missing greeting, else the failure.

    Opens a second connection. Raises nothing.
    """
    is_mute = (failure.stage, failure.fault) == (Stage.BANNER, Fault.TIMEOUT)
    seconds = min(PROOF_SECONDS, identity.timeouts.connect)
    return TLS_FIRST if is_mute and await waits_for_tls(identity, network, seconds) else failure


async def waits_for_tls(identity: Identity, network: Network, seconds: float) -> bool:
    """Whether a server that is silent without TLS answers it, on a second connection.

    Raises nothing.
    """
    if identity.tls is TlsMode.IMPLICIT:
        return False
    try:
        sock = await connect(identity, network)
    except StageFailedError:
        return False
    return await answers_client_hello(sock, identity, seconds)


async def answers_client_hello(sock: socket.socket, identity: Identity, seconds: float) -> bool:
    """Whether a silent server answers a ClientHello with TLS, within `seconds`.

    Sends nothing else, and closes `sock`. Raises nothing.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(sock, _client_hello(identity.server_name))
            return await loop.sock_recv(sock, 1) in {ALERT, HANDSHAKE}
    except OSError:  # TimeoutError is one
        return False
    finally:
        sock.close()


def _client_hello(server_name: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    hello = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    try:
        hello.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake cannot end without the server")
