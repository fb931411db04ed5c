"""Listen for clients, bound how many there are, and serve each in a session."""

import asyncio
import contextlib
import logging
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from app.domain.audit import request_id
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.networks import IPNetwork, contains, normalize_address
from app.submission import replies
from app.submission.listener import Listener
from app.submission.proxy_protocol import (
    MAX_V1_BYTES,
    V2_HEAD,
    Address,
    ProxyHeaderError,
    parse_v1,
    parse_v2,
    v2_length,
)
from app.submission.replies import format_reply
from app.submission.session import Session, SessionConfig, describe_tls_failure
from app.submission.session_record import CLIENT_GONE, Journal
from app.submission.stream import HANDSHAKE_SECONDS, ClientStream

log = logging.getLogger(__name__)

BACKLOG: Final = 512
PROXY_HEADER_SECONDS: Final = 5.0
ACCEPT_PAUSE_SECONDS: Final = 0.1  # after a failed accept, such as for want of descriptors


@frozen_dataclass(kw_only=True)
class ServerConfig:
    """What a server may do.

    Clients in `proxies` must begin with a PROXY header, and are not counted by their address.
    """

    session: SessionConfig
    proxies: Sequence[IPNetwork]
    max_connections: int
    max_connections_per_client: int
    grace_seconds: float
    new_journal: Callable[[str | None, int | None], Journal]
    keep: Callable[[Journal], None]


class Server:
    """Serves clients on its listeners while `running`."""

    def __init__(self, config: ServerConfig, listeners: Sequence[Listener]) -> None:
        self._config = config
        self._listeners = listeners
        self._tasks = set[asyncio.Task[None]]()
        self._sessions = set[Session]()
        self._by_client = Counter[str]()
        self._is_stopping = False

    @property
    def connection_count(self) -> int:
        """How many clients are connected."""
        return len(self._tasks)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the block runs; then let running transactions finish."""
        for listener in self._listeners:
            listener.socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
        loops = [asyncio.create_task(self._accept(listener)) for listener in self._listeners]
        try:
            yield
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            self._is_stopping = True
            for listener in self._listeners:  # so that clients turn to another server at once
                listener.socket.close()
            for session in list(self._sessions):
                session.stop()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._config.grace_seconds)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listener.socket)
            except OSError as error:
                log.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
            client = _read_peer(peer)
            if len(self._tasks) >= self._config.max_connections:
                is_proxy = contains(self._config.proxies, client[0])
                self._refuse(connection, listener, None if is_proxy else client)
                continue
            task = asyncio.create_task(self._serve(connection, listener, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, listener: Listener, peer: Address) -> None:
        """Serve one connection until it ends."""
        try:
            with contextlib.closing(connection):
                await self._serve_client(connection, listener, peer)
        except (OSError, TimeoutError, ProxyHeaderError) as error:
            log.debug("a connection ended before its greeting: %s", error)
        except Exception:
            log.exception("a session failed")

    async def _serve_client(
        self, connection: socket.socket, listener: Listener, peer: Address
    ) -> None:
        client: Address | None = peer
        if contains(self._config.proxies, peer[0]):
            async with asyncio.timeout(PROXY_HEADER_SECONDS):
                client = await _read_proxy_header(connection)
        address = None if client is None else client[0]
        if address is not None and (
            self._by_client[address] >= self._config.max_connections_per_client
        ):
            self._refuse(connection, listener, client)
            return
        self._by_client[address or ""] += 1
        try:
            await self._run_session(connection, listener, client)
        finally:
            self._by_client[address or ""] -= 1
            if not self._by_client[address or ""]:
                del self._by_client[address or ""]

    async def _run_session(
        self, connection: socket.socket, listener: Listener, client: Address | None
    ) -> None:
        journal = self._config.new_journal(*(client or (None, None)))
        request_id.set(journal.id)  # of the connection's task
        context = self._config.session.context() if listener.is_implicit_tls else None
        stream = ClientStream()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: stream,
                connection,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if context is not None else None,
            )
        except OSError as error:  # ssl.SSLError is one, and so is TimeoutError
            is_gone = isinstance(error, ConnectionResetError)  # a load balancer's probe, for one
            self._keep(journal, CLIENT_GONE if is_gone else describe_tls_failure(error))
            raise
        journal.note_tls(stream.tls)
        session = Session(stream, self._config.session, journal, is_tls=context is not None)
        self._sessions.add(session)
        if self._is_stopping:  # it was still in its PROXY header or TLS handshake
            session.stop()
        try:
            await session.serve()
        finally:
            self._sessions.discard(session)
            self._keep(journal, "the connection was cut")
            # The transport owns the socket until it has sent the last reply and ended TLS.
            await stream.wait_closed()

    def _refuse(
        self, connection: socket.socket, listener: Listener, client: Address | None
    ) -> None:
        """Close a connection beyond the limits; say why where it can be read without TLS."""
        reply = replies.TOO_MANY_CONNECTIONS
        with contextlib.closing(connection), contextlib.suppress(OSError):
            if not listener.is_implicit_tls:
                connection.send(format_reply(reply))
        journal = self._config.new_journal(*(client or (None, None)))
        journal.count(reply)
        self._keep(journal, str(reply))

    def _keep(self, journal: Journal, outcome: str) -> None:
        """Keep the journal of a session that ended, so if nothing else was noted."""
        journal.end(outcome)
        self._config.keep(journal)


def _read_peer(peer: tuple[Any, ...]) -> Address:
    """The client's address and port; IPv4 on a socket of IPv6 is IPv4."""
    return normalize_address(peer[0]), peer[1]


async def _read_proxy_header(connection: socket.socket) -> Address | None:
    """Read the header and not one byte more: TLS may follow it."""
    loop = asyncio.get_running_loop()
    first = await _read_exactly(connection, 1)
    if first == b"P":
        line = first
        while not line.endswith(b"\r\n"):
            if len(line) >= MAX_V1_BYTES or not (byte := await loop.sock_recv(connection, 1)):
                raise ProxyHeaderError
            line += byte
        return parse_v1(line.removesuffix(b"\r\n"))
    head = first + await _read_exactly(connection, V2_HEAD.size - 1)
    try:
        return parse_v2(head, await _read_exactly(connection, v2_length(head)))
    except struct.error:
        raise ProxyHeaderError from None


async def _read_exactly(connection: socket.socket, count: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < count:
        more = await loop.sock_recv(connection, count - len(data))
        if not more:
            raise ProxyHeaderError
        data += more
    return data
