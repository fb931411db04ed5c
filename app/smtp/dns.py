"""Resolve host names and addresses asynchronously, with time limits.

The system resolver blocks a thread while a server is silent, and does not distinguish a missing
name from a broken server.
"""

import asyncio
import ipaddress
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rcode
import dns.resolver
import dns.reversename
from dns.nameserver import Do53Nameserver

from app.domain.networks import IPAddress
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.smtp.faults import StageFailedError, fault_error

HOSTS: Final = Path("/etc/hosts")
CONF: Final = Path("/etc/resolv.conf")
# RFC 6761 section 6.3: localhost needs no lookup.
LOCALHOST: Final = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
DNS_PORT: Final = 53
# How long one family's answer waits for the other's: some servers never answer for AAAA. RFC 8305
# section 3 recommends 0.05 s for people; mail prefers complete answers.
OTHER_FAMILY_SECONDS: Final = 0.5
MAX_CACHED: Final = 4096
# Avoids a lookup of the missing family for every connection.
MAX_ABSENT_SECONDS: Final = 5.0
MAX_NAMES: Final = 8
MAX_ADDRESSES: Final = 16
MAX_TEXTS: Final = 16
TXT_SECONDS: Final = 5.0
MAX_DETAIL_CHARACTERS: Final = 300
# The default of resolv.conf(5) without a file.
DEFAULT_SERVERS: Final = (Do53Nameserver("127.0.0.1", DNS_PORT),)


class Resolver:
    """Resolves names from the hosts file, then from the DNS; caches answers for their TTL.

    `servers` (address, port) replace those of /etc/resolv.conf. Its other options, such as search
    domains and ndots, still apply.
    """

    def __init__(
        self, servers: Sequence[tuple[str, int]] = (), *, hosts: Path = HOSTS, conf: Path = CONF
    ) -> None:
        self._servers = [Do53Nameserver(address, port) for address, port in servers]
        self._hosts = hosts
        self._conf = conf
        self._read_at = _read_version(conf)
        self._make_resolver = _make_resolver(conf, self._servers)

    async def addresses(self, host: str, seconds: float) -> list[IPAddress]:
        """Resolve a host to addresses of both families, IPv6 first (RFC 8305 section 4).

        Returns an IP address unchanged. Raises StageFailedError at the stage DNS: NOT_FOUND,
        TIMEOUT or LOOKUP_FAILED.
        """
        if (literal := _parse_literal(host)) is not None:
            return [literal]
        if hosts_addresses := _read_hosts(self._hosts).get(host.lower()):
            return hosts_addresses
        if host == "localhost" or host.endswith(".localhost"):
            return list(LOCALHOST)
        if host.endswith(".invalid"):  # section 6.4
            raise fault_error(Stage.DNS, Fault.NOT_FOUND, f"{host} cannot exist in the DNS")
        answers = await _gather_both(
            self._read_texts(host, "AAAA", seconds), self._read_texts(host, "A", seconds)
        )
        families = [answer for answer in answers if isinstance(answer, list)]
        if not any(families):
            raise _make_error(
                host, [answer for answer in answers if isinstance(answer, BaseException)]
            )
        return [ipaddress.ip_address(text) for text in _interleave(*families)][:MAX_ADDRESSES]

    async def pointers(self, address: str, seconds: float) -> list[str]:
        """Return the PTR names of an address. Raises like `addresses`."""
        reverse = dns.reversename.from_address(address.partition("%")[0])
        try:
            records = await self._read_texts(reverse, "PTR", seconds)
        except (dns.exception.DNSException, OSError) as error:
            raise _make_error(address, [error]) from error
        return [name.rstrip(".").lower() for name in records][:MAX_NAMES]

    async def mail_exchangers(self, domain: str, seconds: float) -> list[str]:
        """Return the hosts that take mail for a domain, the preferred first (RFC 5321 section 5.1).

        The domain itself if it has no MX records, none if it takes no mail (RFC 7505). Raises
        StageFailedError like `addresses` if the lookup fails.
        """
        records = await self._read_all(domain, "MX", seconds)
        if not records:
            return [domain]
        hosts = [
            record.exchange.to_text(omit_final_dot=True).lower()
            for record in sorted(records, key=lambda record: record.preference)
        ]
        return [host for host in hosts if host != "."][:MAX_NAMES]

    async def look_up_txt(self, name: str) -> list[str] | Failure:
        """Return the TXT records of a full name, each joined, or the failure of the lookup."""
        try:
            records = await self._read_all(name, "TXT", TXT_SECONDS)
        except StageFailedError as error:
            return error.failure
        texts = [b"".join(record.strings).decode("ascii", "replace") for record in records]
        return texts[:MAX_TEXTS]

    async def _read_all(self, name: str, kind: str, seconds: float) -> list[Any]:
        """Return the records of a full name, if any. Raises StageFailedError like `addresses`."""
        try:
            return await self._query(dns.name.from_text(f"{name}."), kind, seconds)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise _make_error(name, [error]) from error

    async def _read_texts(self, name: str | dns.name.Name, kind: str, seconds: float) -> list[str]:
        return [record.to_text() for record in await self._query(name, kind, seconds)]

    async def _query(self, name: str | dns.name.Name, kind: str, seconds: float) -> list[Any]:
        # dnspython's own limit does not bound endless CNAME chains.
        async with asyncio.timeout(seconds):
            answer = await self._refresh_resolver().resolve(
                name, kind, lifetime=seconds, search=True
            )
        return list(answer)

    def _refresh_resolver(self) -> dns.asyncresolver.Resolver:
        """Read resolv.conf again: the network may change at run time."""
        if (changed_at := _read_version(self._conf)) != self._read_at:
            self._read_at = changed_at
            self._make_resolver = _make_resolver(self._conf, self._servers)
        return self._make_resolver


def _make_resolver(conf: Path, servers: Sequence[Do53Nameserver]) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=False)
    try:
        resolver.read_resolv_conf(conf)
    except (dns.exception.DNSException, ValueError):  # missing or unreadable
        resolver.nameservers = list(DEFAULT_SERVERS)
    if servers:
        resolver.nameservers = list(servers)
    resolver.cache = _Cache(MAX_CACHED)
    return resolver


class _Cache(dns.resolver.LRUCache):
    """Caches existing names only, so that a new name works at once.

    dnspython caches an absence for 5 minutes if the server gives no TTL, as Docker's does.
    """

    def put(self, key: dns.resolver.CacheKey, value: dns.resolver.Answer) -> None:
        if value.response.rcode() == dns.rcode.NXDOMAIN:
            return
        if value.rrset is None:
            value.expiration = min(value.expiration, time.time() + MAX_ABSENT_SECONDS)
        super().put(key, value)


def _read_version(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


async def _gather_both(
    *lookups: Coroutine[None, None, list[str]],
) -> list[list[str] | BaseException]:
    """Wait for both lookups; after the first answer, only a moment for the other."""
    tasks = [asyncio.create_task(lookup) for lookup in lookups]
    try:
        done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if late:
            has_answer = any(task.exception() is None for task in done)
            await asyncio.wait(late, timeout=OTHER_FAMILY_SECONDS if has_answer else None)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    return results


def _parse_literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _read_hosts(path: Path) -> Mapping[str, list[IPAddress]]:
    """Read the hosts file again: orchestrators change it at run time."""
    addresses_by_name: dict[str, list[IPAddress]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return addresses_by_name
    for line in lines:
        text, *names = line.partition("#")[0].split() or [""]
        if (address := _parse_literal(text)) is not None:
            for name in names:
                addresses_by_name.setdefault(name.lower(), []).append(address)
    return addresses_by_name


def _interleave(first: Sequence[str], second: Sequence[str] = ()) -> list[str]:
    shorter = min(len(first), len(second))
    pairs = [address for pair in zip(first, second, strict=False) for address in pair]
    return [*pairs, *first[shorter:], *second[shorter:]]


def _make_error(name: str, errors: Sequence[BaseException]) -> StageFailedError:
    """Choose the error of both families; a broken server proves no absence."""
    for error in errors:
        if not isinstance(error, dns.exception.DNSException | OSError):
            raise error
    late = (dns.exception.Timeout, TimeoutError)
    absent = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)
    broken = [error for error in errors if not isinstance(error, absent + late)]
    if broken:
        detail = f"the DNS could not answer for {name}: {str(broken[0])[:MAX_DETAIL_CHARACTERS]}"
        return fault_error(Stage.DNS, Fault.LOOKUP_FAILED, detail)
    if any(isinstance(error, late) for error in errors):
        return fault_error(Stage.DNS, Fault.TIMEOUT, f"the DNS did not answer for {name} in time")
    if any(isinstance(error, dns.resolver.NoAnswer) for error in errors):
        return fault_error(Stage.DNS, Fault.NOT_FOUND, f"{name} is in the DNS, but has no address")
    return fault_error(Stage.DNS, Fault.NOT_FOUND, f"{name} is not in the DNS")
