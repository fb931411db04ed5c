"""DNS and the address guard: a host becomes a connected socket to an address that was checked."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

from app.domain.networks import IPAddress, is_public
from app.domain.outcome import Fault, Stage
from app.smtp.faults import fail
from app.smtp.identity import Identity


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Where connections may go. A check of the address, not the name: names change their mind."""

    allow_private: bool
    is_port_allowed: Callable[[int], bool]

    def refusal(self, address: IPAddress, port: int) -> str | None:
        """Why there may be no connection, or None where there may."""
        if not self.is_port_allowed(port):
            return f"port {port} is not among HELOISE_ALLOWED_PORTS"
        if self.allow_private or is_public(address):
            return None
        return (
            f"{address} is not a public address;"
            " the operator may set HELOISE_ALLOW_PRIVATE_HOSTS=true"
        )


async def connect(identity: Identity, guard: AddressGuard) -> socket.socket:
    """A socket connected to the first address of the host that answers.

    The address connected to is the very one checked. Raises StageFailedError.
    """
    addresses = await _resolve(identity)
    for address in addresses:
        if reason := guard.refusal(address, identity.port):
            raise fail(Stage.DNS, Fault.NOT_ALLOWED, f"{identity.host}: {reason}")
    addresses = _reachable(addresses, identity)
    seconds = identity.timeouts.connect / len(addresses)
    for address in addresses[:-1]:
        try:
            return await _dial(address, identity, seconds)
        except OSError:
            continue
    return await _dial_last(addresses[-1], identity, seconds)


def _reachable(addresses: list[IPAddress], identity: Identity) -> list[IPAddress]:
    """Those of the source address's own family."""
    if identity.source_address is None:
        return addresses
    source = ipaddress.ip_address(identity.source_address)
    found = [address for address in addresses if address.version == source.version]
    if not found:
        detail = f"{identity.host} has no IPv{source.version} address to reach from {source}"
        raise fail(Stage.TCP, Fault.UNREACHABLE, detail)
    return found


async def _resolve(identity: Identity) -> list[IPAddress]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(identity.timeouts.connect):
            found = await loop.getaddrinfo(identity.host, identity.port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        detail = f"the DNS did not answer for {identity.host} in time"
        raise fail(Stage.DNS, Fault.TIMEOUT, detail) from error
    except (OSError, UnicodeError) as error:
        raise fail(Stage.DNS, Fault.NOT_FOUND, f"{identity.host} has no address") from error
    return [ipaddress.ip_address(info[4][0]) for info in found]


async def _dial(address: IPAddress, identity: Identity, seconds: float) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if identity.source_address is not None:
            sock.bind((identity.source_address, 0))
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), identity.port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _dial_last(address: IPAddress, identity: Identity, seconds: float) -> socket.socket:
    where = f"{identity.host} [{address}] port {identity.port}"
    try:
        return await _dial(address, identity, seconds)
    except TimeoutError as error:
        raise fail(Stage.TCP, Fault.TIMEOUT, f"{where} did not answer in time") from error
    except OSError as error:
        raise fail(Stage.TCP, Fault.UNREACHABLE, f"{where}: {error.strerror or error}") from error
