"""Connect to a host through addresses that the guard has checked."""

import asyncio
import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aiohappyeyeballs import AddrInfoType, start_connection

from app.domain.clock import monotonic_seconds
from app.domain.networks import AddressGuard, IPAddress
from app.domain.outcome.outcome import Fault, Stage
from app.smtp.dns import Resolver
from app.smtp.faults import StageFailedError, fault_error
from app.smtp.identity import Identity

# RFC 8305 section 5: the head start of an address before the next one.
ATTEMPT_DELAY_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Network:
    """Looks up hosts, and checks where connections may go."""

    guard: AddressGuard
    resolver: Resolver

    async def addresses(self, identity: Identity) -> list[IPAddress]:
        """Resolve a host to allowed addresses of the source address's family.

        Raises StageFailedError.
        """
        if reason := self.guard.port_refusal(identity.port):
            raise fault_error(Stage.DNS, Fault.PORT_NOT_ALLOWED, f"{identity.host}: {reason}")
        addresses = await self.allowed_addresses(identity.host, identity.timeouts.connect)
        return _filter_reachable(addresses, identity)

    async def allowed_addresses(self, host: str, seconds: float) -> list[IPAddress]:
        """Resolve a host; raises StageFailedError if any address is not allowed."""
        addresses = await self.resolver.addresses(host, seconds)
        for address in addresses:
            if reason := self.guard.address_refusal(address):
                raise fault_error(Stage.DNS, Fault.NOT_ALLOWED, f"{host}: {reason}")
        return addresses


@dataclass(frozen=True, slots=True)
class DialResult:
    """The result of connecting to one address."""

    address: IPAddress
    seconds: float
    error: StageFailedError | None = None


async def connect(identity: Identity, network: Network) -> socket.socket:
    """Connect to the address of the host that answers first (RFC 8305).

    Connects only to the checked addresses. Raises StageFailedError.
    """
    return await _dial(identity, await network.addresses(identity))


async def dial_all(
    identity: Identity, addresses: Sequence[IPAddress]
) -> tuple[socket.socket | None, list[DialResult]]:
    """Connect to every address at once; return the first socket and all results.

    Closes the other sockets.
    """
    open_sockets: list[socket.socket] = []

    async def dial(address: IPAddress) -> DialResult:
        started = monotonic_seconds()
        try:
            sock = await _dial(identity, [address])
        except StageFailedError as error:
            return DialResult(address, monotonic_seconds() - started, error)
        if open_sockets:
            sock.close()
        else:
            open_sockets.append(sock)
        return DialResult(address, monotonic_seconds() - started)

    try:
        dialled = await asyncio.gather(*map(dial, addresses))
    except BaseException:
        for sock in open_sockets:
            sock.close()
        raise
    return (open_sockets[0] if open_sockets else None), dialled


async def _dial(identity: Identity, addresses: Sequence[IPAddress]) -> socket.socket:
    where = f"{identity.host} [{', '.join(map(str, addresses))}] port {identity.port}"
    with _map_dial_errors(where):
        async with asyncio.timeout(identity.timeouts.connect):
            sock = await start_connection(
                [_make_address_info(address, identity.port) for address in addresses],
                local_addr_infos=_make_source_info(identity),
                happy_eyeballs_delay=ATTEMPT_DELAY_SECONDS,
            )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


@contextmanager
def _map_dial_errors(where: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise fault_error(Stage.TCP, Fault.TIMEOUT, f"{where} did not answer in time") from error
    except (OSError, RuntimeError) as error:  # uvloop raises it for a missing address family
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise fault_error(Stage.TCP, Fault.UNREACHABLE, f"{where}: {reason}") from error


def _make_address_info(address: IPAddress, port: int) -> AddrInfoType:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port)


def _make_source_info(identity: Identity) -> list[AddrInfoType] | None:
    if identity.source_address is None:
        return None
    return [_make_address_info(ipaddress.ip_address(identity.source_address), 0)]


def _filter_reachable(addresses: list[IPAddress], identity: Identity) -> list[IPAddress]:
    """Keep the addresses of the source address's family."""
    if identity.source_address is None:
        return addresses
    source = ipaddress.ip_address(identity.source_address)
    reachable = [address for address in addresses if address.version == source.version]
    if not reachable:
        detail = f"{identity.host} has no IPv{source.version} address for connections from {source}"
        raise fault_error(Stage.TCP, Fault.UNREACHABLE, detail)
    return reachable
