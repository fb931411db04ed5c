"""Cache API keys, so that a request with a known key needs no database read."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

from app.auth.shared_reads import SharedReads
from app.domain.clock import monotonic_seconds
from app.domain.types import ApiKey, Tenant

# With the time a revocation takes to commit, well within the five seconds that are promised.
KEEP_SECONDS: Final = 3.0
MAX_KEYS: Final = 10_000
# Guesses have so many of the database's connections; the rest is for those with a key.
MAX_UNKNOWN_READS: Final = 4


class KnownKey(NamedTuple):
    """A key and whose it is."""

    key: ApiKey
    tenant: Tenant


class KeyCache:
    """Hash → key, positive answers alone, for a few seconds; and when each key was last used."""

    def __init__(
        self,
        *,
        keep_seconds: float = KEEP_SECONDS,
        max_keys: int = MAX_KEYS,
        monotonic: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._keep_seconds = keep_seconds
        self._max_keys = max_keys
        self._monotonic = monotonic
        self._entries: dict[bytes, tuple[float, KnownKey]] = {}
        self._reads = SharedReads[bytes, KnownKey | None]()
        self._unknown_slots = asyncio.Semaphore(MAX_UNKNOWN_READS)
        self.used: dict[str, datetime] = {}

    def get(self, key_hash: bytes) -> KnownKey | None:
        """The key, where it was read at most `keep_seconds` ago."""
        entry = self._entries.get(key_hash)
        if entry is None or self._monotonic() >= entry[0]:
            return None
        return entry[1]

    async def read(
        self, key_hash: bytes, find: Callable[[], Awaitable[KnownKey | None]]
    ) -> KnownKey | None:
        """What `find` answers, which is kept where it is a key; raises what it does.

        A key that was seen before is read at once; others, a few at a time, in turn.
        """
        return await self._reads.get(
            key_hash, partial(self._find, key_hash, find), partial(self._keep, key_hash)
        )

    async def _find(
        self, key_hash: bytes, find: Callable[[], Awaitable[KnownKey | None]]
    ) -> KnownKey | None:
        if key_hash in self._entries:
            return await find()
        async with self._unknown_slots:
            return await find()

    def _keep(self, key_hash: bytes, known_key: KnownKey | None) -> None:
        """Keep a key that was just read; where there are too many, the oldest goes."""
        self._entries.pop(key_hash, None)
        if known_key is None:
            return
        if len(self._entries) >= self._max_keys:
            del self._entries[next(iter(self._entries))]
        self._entries[key_hash] = (self._monotonic() + self._keep_seconds, known_key)

    def invalidate(self, *, key_id: str) -> None:
        """Read this key again before it is taken again: it was revoked here."""
        self._drop(lambda key: key.id == key_id)

    def invalidate_tenant(self, *, tenant_id: str) -> None:
        """Read this tenant's keys again: the tenant was changed or deleted here."""
        self._drop(lambda key: key.tenant_id == tenant_id)

    def _drop(self, is_meant: Callable[[ApiKey], bool]) -> None:
        self._reads.invalidate()
        for key_hash in [
            kept_hash
            for kept_hash, (_, known_key) in self._entries.items()
            if is_meant(known_key.key)
        ]:
            del self._entries[key_hash]

    def mark_used(self, key_id: str, now: datetime) -> None:
        """Remember the use of a key until somebody takes it for writing."""
        self.used[key_id] = now

    def take_used(self) -> dict[str, datetime]:
        """The uses since the last call, for one batched write of `last_used_at`."""
        used, self.used = self.used, {}
        return used
