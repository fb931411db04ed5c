"""Decide which addresses Heloise may connect to: by default, public ones."""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _parse_networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(map(ipaddress.ip_network, texts))


NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # RFC 4291 section 2.4, as assigned

# IANA's special-purpose registries, and multicast. Listed here since Python's table differs by
# version. The few reachable addresses in 192.0.0.0/24 and 2001::/23 belong to anycast services, not
# to mail or web servers.
SPECIAL: Final = _parse_networks(
    "0.0.0.0/8",  # RFC 791 section 3.2: this network
    "10.0.0.0/8",  # RFC 1918
    "100.64.0.0/10",  # RFC 6598: carrier-grade NAT
    "127.0.0.0/8",  # RFC 1122 section 3.2.1.3
    "169.254.0.0/16",  # RFC 3927: link-local
    "172.16.0.0/12",  # RFC 1918
    "192.0.0.0/24",  # RFC 6890 section 2.1: protocol assignments
    "192.0.2.0/24",  # RFC 5737: documentation
    "192.88.99.0/24",  # RFC 7526: 6to4 relays, deprecated
    "192.168.0.0/16",  # RFC 1918
    "198.18.0.0/15",  # RFC 2544: benchmarks
    "198.51.100.0/24",  # RFC 5737
    "203.0.113.0/24",  # RFC 5737
    "224.0.0.0/4",  # RFC 5771: multicast
    "240.0.0.0/4",  # RFC 1112 section 4: reserved, and broadcast
    # IPv6 ranges within GLOBAL_UNICAST.
    "2001::/23",  # RFC 2928: protocol assignments, Teredo and ORCHID among them
    "2001:db8::/32",  # RFC 3849: documentation
    "3fff::/20",  # RFC 9637: documentation
)
# Addresses that clouds offer only to their customers' machines: metadata with credentials,
# resolvers. Some are in address space that is public elsewhere.
PLATFORM: Final = _parse_networks(
    "169.254.0.0/16",  # most clouds, at several addresses
    "168.63.129.16",  # Azure
    "100.100.100.200",  # Alibaba Cloud
    "192.0.0.192",  # Oracle Cloud Classic
    "161.26.0.0/16",  # IBM Cloud
    "166.8.0.0/14",  # IBM Cloud
    "199.36.153.4/30",  # Google Cloud
    "199.36.153.8/30",  # Google Cloud
    "fd00:ec2::/32",  # AWS
    "fd20:ce::254",  # Google Cloud
    "fd00:c1::a9fe:a9fe",  # Oracle Cloud
    "fd00:a9fe:a9fe::/64",  # Akamai
    "fd00:42::42",  # Scaleway
    "fe80::a9fe:a9fe",  # OpenStack
)


def is_public(address: IPAddress) -> bool:
    """Whether an address is globally reachable unicast; an embedded IPv4 address decides."""
    effective_address = embedded_ipv4(address)
    if (
        isinstance(effective_address, ipaddress.IPv6Address)
        and effective_address not in GLOBAL_UNICAST
    ):
        return False
    return not _is_in(SPECIAL, effective_address) and not _is_in(PLATFORM, effective_address)


def embedded_ipv4(address: IPAddress) -> IPAddress:
    """Return the IPv4 address in an IPv6 one (mapped, 6to4, NAT64), or the address."""
    address = unmap_ipv4(address)
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour or address


def unmap_ipv4(address: IPAddress) -> IPAddress:
    """Return the IPv4 address of a mapped IPv6 peer address, or the address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def normalize_address(text: str) -> str:
    """Return an IP address as Heloise stores it, IPv4 as such; raise ValueError."""
    return str(unmap_ipv4(ipaddress.ip_address(text)))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def contains(networks: Iterable[IPNetwork], address: str) -> bool:
    """Whether one of the networks has the address, be it IPv4 written as IPv6."""
    try:
        parsed = unmap_ipv4(ipaddress.ip_address(address))
    except ValueError:
        return False
    return any(parsed in network for network in networks)


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Decides where connections may go, by address: a name may change.

    `denied` networks are forbidden, `allowed` ones permitted, public or not; of the others all
    public ones, and with `allow_private` all. A cloud's own addresses (PLATFORM) need an allowed
    network inside them: neither `allow_private` nor a wide network such as fd00::/8 permits them. A
    refusal reveals nothing about the service's network.
    """

    allow_private: bool
    is_port_allowed: Callable[[int], bool]
    allowed: tuple[IPNetwork, ...] = ()
    denied: tuple[IPNetwork, ...] = ()

    def address_refusal(self, address: IPAddress) -> str | None:
        """Return why connections to an address are forbidden on any port, or None."""
        if _is_in(self.denied, address):
            return "the operator denies connections to it (HELOISE_DENIED_NETWORKS)"
        if _is_in(PLATFORM, address) and not _is_in(filter(_is_platform, self.allowed), address):
            return (
                "not a public address but a cloud's own service; the operator can allow it in"
                " HELOISE_ALLOWED_NETWORKS (HELOISE_ALLOW_PRIVATE_HOSTS=true does not)"
            )
        if self.allow_private or is_public(address) or _is_in(self.allowed, address):
            return None
        return (
            "not a public address; the operator can allow it (HELOISE_ALLOWED_NETWORKS, or"
            " HELOISE_ALLOW_PRIVATE_HOSTS=true for all)"
        )

    def port_refusal(self, port: int) -> str | None:
        """Return why connections to a port are forbidden on any address, or None."""
        if self.is_port_allowed(port):
            return None
        return f"port {port} is not allowed (HELOISE_ALLOWED_PORTS)"

    def host_refusal(self, host: str) -> str | None:
        """Return why connections to a host are forbidden, as far as no lookup is needed."""
        addresses = _parse_addresses(host)
        return next(filter(None, map(self.address_refusal, addresses)), None)


def _parse_addresses(host: str) -> tuple[IPAddress, ...]:
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3
        return (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
    try:
        return (ipaddress.ip_address(host),)
    except ValueError:
        return ()


def _is_in(networks: Iterable[IPNetwork], address: IPAddress) -> bool:
    """Whether a network contains the address, or its embedded IPv4 address."""
    forms = {address, embedded_ipv4(address)}
    return any(form in network for network in networks for form in forms)


def _is_platform(network: IPNetwork) -> bool:
    """Whether a network is inside a cloud's own addresses."""
    return any(network[0] in platform and network[-1] in platform for platform in PLATFORM)
