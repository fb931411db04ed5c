"""Find the local address for connections to a host, without connecting."""

import ipaddress
import socket
from typing import Final

from app.domain.types import Profile

# Documentation addresses (RFC 5737, RFC 3849): they take the default route, and nothing is sent.
INTERNET_ADDRESSES: Final = ("192.0.2.1", "2001:db8::1")
ANY_PORT: Final = 9


def find_outgoing_address(host: str | None) -> str | None:
    """Find the local address for connections to an IP address or the internet.

    None if there is no route. Connecting a UDP socket only reads the routing table.
    """
    try:
        targets: tuple[str, ...] = (str(ipaddress.ip_address(host or "")),)
    except ValueError:
        targets = INTERNET_ADDRESSES
    for target in targets:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, ANY_PORT))
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return None


def local_address(profile: Profile) -> str | None:
    """The local address for connections of a profile; None where there is no route."""
    return profile.source_address or find_outgoing_address(profile.host)
