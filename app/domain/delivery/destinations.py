"""Find the destination of a recipient: the first whose patterns match its domain."""

from collections.abc import Callable, Sequence
from typing import Final

from app.domain.types import Destination

# The number for recipients without a destination. The queue of this number also holds messages
# that no claim has looked at yet, and those to several destinations; its limits are those of the
# whole profile.
NO_DESTINATION: Final = 0
MX: Final = "mx:"
# The hosts of a domain whose MX records cannot be read: they match every pattern, so that mail is
# late rather than over a limit.
UNRESOLVED: Final = ("*",)

# Returns the MX hosts of a domain; None: not known yet.
FindMxHosts = Callable[[str], Sequence[str] | None]


def match_destination(
    domain: str, destinations: Sequence[Destination], find_mx_hosts: FindMxHosts
) -> int | None:
    """Return the number of a domain's destination; 0: it has none; None: not known yet."""
    for destination in destinations:
        matches = {_matches(domain, pattern, find_mx_hosts) for pattern in destination.match}
        if True in matches:
            return destination.number
        if None in matches:
            return None
    return NO_DESTINATION


def _matches(domain: str, pattern: str, find_mx_hosts: FindMxHosts) -> bool | None:
    if not pattern.startswith(MX):
        return _is_like(domain, pattern)
    hosts = find_mx_hosts(domain)
    if hosts is None:
        return None
    return any(host in UNRESOLVED or _is_like(host, pattern.removeprefix(MX)) for host in hosts)


def _is_like(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return pattern in ("*", name)


def find_domain(address: str) -> str:
    """Return the domain of an address, in lower case."""
    return address.rpartition("@")[2].lower()
