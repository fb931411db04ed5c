"""Know the MX hosts of recipients' domains, for the patterns of destinations.

A claim never waits for the DNS: it asks for the hosts that are known, and lets the messages to
other domains wait a moment.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from app.domain.delivery.destinations import UNRESOLVED
from app.smtp.dns import Resolver
from app.smtp.faults import StageFailedError

MAX_DOMAINS: Final = 10_000
MAX_LOOKUPS: Final = 20
MAX_WAITING: Final = 1_000
LOOKUP_SECONDS: Final = 5.0
# Changes of MX records matter within minutes; a broken DNS may work again soon.
KNOWN_SECONDS: Final = 600.0
UNRESOLVED_SECONDS: Final = 60.0


class _Entry(NamedTuple):
    hosts: Sequence[str]
    expires_at: float


class MailExchangers:
    """Looks up MX hosts in the background, a bounded number at once, and remembers them."""

    def __init__(self, resolver: Resolver, seconds: Callable[[], float]) -> None:
        self._resolver = resolver
        self._seconds = seconds
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MAX_LOOKUPS)

    def find(self, domain: str) -> Sequence[str] | None:
        """Return the hosts of a domain, `UNRESOLVED`, or None if they are not known yet."""
        entry = self._entries.get(domain)
        return None if entry is None or entry.expires_at <= self._seconds() else entry.hosts

    def is_unresolved(self, domain: str) -> bool:
        """Whether the DNS did not answer for a domain a moment ago."""
        return self.find(domain) is UNRESOLVED

    def look_up(self, domains: Iterable[str]) -> None:
        """Begin the lookups of domains that are not known; the excess waits for a later call."""
        for domain in domains:
            if domain not in self._lookups and len(self._lookups) < MAX_WAITING:
                task = asyncio.create_task(self._look_up(domain), name=f"MX of {domain}")
                self._lookups[domain] = task

    async def _look_up(self, domain: str) -> None:
        try:
            async with self._slots:
                hosts: Sequence[str] = await self._resolver.mail_exchangers(domain, LOOKUP_SECONDS)
            seconds = KNOWN_SECONDS
        except StageFailedError:
            hosts, seconds = UNRESOLVED, UNRESOLVED_SECONDS
        finally:
            del self._lookups[domain]
        self._entries[domain] = _Entry(hosts, self._seconds() + seconds)
        self._entries.move_to_end(domain)
        while len(self._entries) > MAX_DOMAINS:
            self._entries.popitem(last=False)

    async def close(self) -> None:
        """Cancel the lookups in progress."""
        tasks = list(self._lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
