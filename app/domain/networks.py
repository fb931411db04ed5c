"""Where connections may go: public addresses, unless the operator says more or less."""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # RFC 4291 section 2.4, as assigned

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_public(address: IPAddress) -> bool:
    """Globally reachable unicast; an IPv4 address inside an IPv6 one is judged itself."""
    meant = meant_by(address)
    if isinstance(meant, ipaddress.IPv6Address) and meant not in GLOBAL_UNICAST:
        return False
    return meant.is_global and not meant.is_multicast


def meant_by(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64); else the address."""
    address = unmapped(address)
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour or address


def unmapped(address: IPAddress) -> IPAddress:
    """The IPv4 address of a peer that a socket of IPv6 tells in its mapped form; else the same."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Where connections may go. A check of the address, not the name: names change their mind.

    `denied` networks are never connected to, `allowed` ones always, public or not; of all others
    the public ones, and with `allow_private` every one. What it says tells a tenant nothing of the
    network that the service stands in: which address a name has there, for one.
    """

    allow_private: bool
    is_port_allowed: Callable[[int], bool]
    allowed: tuple[IPNetwork, ...] = ()
    denied: tuple[IPNetwork, ...] = ()

    def address_refusal(self, address: IPAddress) -> str | None:
        """Why there may be no connection to this address, whatever the port."""
        if _is_in(self.denied, address):
            return "the operator has denied connections there (HELOISE_DENIED_NETWORKS)"
        if self.allow_private or is_public(address) or _is_in(self.allowed, address):
            return None
        return (
            "that is no public address; the operator may allow it"
            " (HELOISE_ALLOWED_NETWORKS, or HELOISE_ALLOW_PRIVATE_HOSTS=true for all)"
        )

    def port_refusal(self, port: int) -> str | None:
        """Why there may be no connection to this port, whatever the address."""
        if self.is_port_allowed(port):
            return None
        return f"port {port} is not among the allowed ones (HELOISE_ALLOWED_PORTS)"

    def host_refusal(self, host: str) -> str | None:
        """Why there may be no connection to this host, as far as is plain without a lookup."""
        addresses = _addresses_of(host)
        return next(filter(None, map(self.address_refusal, addresses)), None)


def _addresses_of(host: str) -> tuple[IPAddress, ...]:
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3
        return (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
    try:
        return (ipaddress.ip_address(host),)
    except ValueError:
        return ()


def _is_in(networks: Iterable[IPNetwork], address: IPAddress) -> bool:
    """Whether one of them holds the address, or the one that it stands for."""
    forms = {address, meant_by(address)}
    return any(form in network for network in networks for form in forms)
