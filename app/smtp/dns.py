"""DNS: a host name's addresses and an address's names, bounded in time, off no thread.

The system's own resolver blocks a thread for as long as a server is mute, and does not tell a name
that is not there from a server that is broken.
"""

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
import dns.reversename
from dns.nameserver import Do53Nameserver

from app.domain.networks import IPAddress
from app.domain.outcome import Fault, Stage
from app.smtp.faults import StageFailedError, fail

HOSTS: Final = Path("/etc/hosts")
# RFC 6761 section 6.3: known without asking, whatever the hosts file says.
LOCALHOST: Final = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
DNS_PORT: Final = 53
MAX_CACHED: Final = 4096
MAX_NAMES: Final = 8
MAX_ADDRESSES: Final = 16
MAX_DETAIL_CHARACTERS: Final = 300
# What resolv.conf(5) says where there is no such file.
DEFAULT_SERVERS: Final = (("127.0.0.1", DNS_PORT),)


class Resolver:
    """Answers from the hosts file, then from the DNS; what it was told it keeps for its TTL.

    `servers` are asked instead of those of /etc/resolv.conf, each an address and a port.
    """

    def __init__(self, servers: Sequence[tuple[str, int]] = (), *, hosts: Path = HOSTS) -> None:
        self._hosts = hosts
        self._resolver = _resolver(servers)

    async def addresses(self, host: str, seconds: float) -> list[IPAddress]:
        """Where a host is, both families in turn, IPv6 first (RFC 8305 section 4).

        An IP address stands for itself. Raises StageFailedError: NOT_FOUND, TIMEOUT or
        LOOKUP_FAILED at the stage DNS.
        """
        if (literal := _literal(host)) is not None:
            return [literal]
        if known := _of_hosts(self._hosts).get(host.lower()):
            return known
        if host == "localhost" or host.endswith(".localhost"):
            return list(LOCALHOST)
        if host.endswith(".invalid"):  # section 6.4
            raise fail(Stage.DNS, Fault.NOT_FOUND, f"{host} is not in the DNS, and never will be")
        found = await asyncio.gather(
            self._ask(host, "AAAA", seconds), self._ask(host, "A", seconds), return_exceptions=True
        )
        families = [each for each in found if isinstance(each, list)]
        if not any(families):
            raise _worst(host, [each for each in found if isinstance(each, BaseException)])
        return [ipaddress.ip_address(text) for text in _in_turn(*families)][:MAX_ADDRESSES]

    async def pointers(self, address: str, seconds: float) -> list[str]:
        """The names that the address's owner gave it (PTR), as in `addresses` else."""
        reverse = dns.reversename.from_address(address.partition("%")[0])
        try:
            found = await self._ask(reverse, "PTR", seconds)
        except (dns.exception.DNSException, OSError) as error:
            raise _worst(address, [error]) from error
        return [name.rstrip(".").lower() for name in found][:MAX_NAMES]

    async def _ask(self, name: str | dns.name.Name, kind: str, seconds: float) -> list[str]:
        # dnspython's own limit does not hold where a server answers with one CNAME after another.
        async with asyncio.timeout(seconds):
            answer = await self._resolver.resolve(name, kind, lifetime=seconds, search=True)
        return [record.to_text() for record in answer]


def _resolver(servers: Sequence[tuple[str, int]]) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration:
        resolver, servers = dns.asyncresolver.Resolver(configure=False), DEFAULT_SERVERS
    if servers:
        resolver.nameservers = [Do53Nameserver(address, port) for address, port in servers]
    resolver.cache = dns.resolver.LRUCache(MAX_CACHED)
    return resolver


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _of_hosts(path: Path) -> Mapping[str, list[IPAddress]]:
    """The hosts file as it stands now: orchestrators write to it while we run."""
    found: dict[str, list[IPAddress]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        text, *names = line.partition("#")[0].split() or [""]
        if (address := _literal(text)) is not None:
            for name in names:
                found.setdefault(name.lower(), []).append(address)
    return found


def _in_turn(first: Sequence[str], second: Sequence[str] = ()) -> list[str]:
    shorter = min(len(first), len(second))
    pairs = [each for pair in zip(first, second, strict=False) for each in pair]
    return [*pairs, *first[shorter:], *second[shorter:]]


def _worst(asked: str, errors: Sequence[BaseException]) -> StageFailedError:
    """What is wrong, of both families: a broken server says nothing of whether a name is there."""
    for error in errors:
        if not isinstance(error, dns.exception.DNSException | OSError):
            raise error
    late = (dns.exception.Timeout, TimeoutError)
    absent = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)
    broken = [each for each in errors if not isinstance(each, absent + late)]
    if broken:
        detail = f"the DNS could not answer for {asked}: {str(broken[0])[:MAX_DETAIL_CHARACTERS]}"
        return fail(Stage.DNS, Fault.LOOKUP_FAILED, detail)
    if any(isinstance(each, late) for each in errors):
        return fail(Stage.DNS, Fault.TIMEOUT, f"the DNS did not answer for {asked} in time")
    if any(isinstance(each, dns.resolver.NoAnswer) for each in errors):
        return fail(Stage.DNS, Fault.NOT_FOUND, f"{asked} is in the DNS, but has no address")
    return fail(Stage.DNS, Fault.NOT_FOUND, f"{asked} is not in the DNS")
