"""Cache API keys, so that a request with a known key needs no database read."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

from app.auth.shared_reads import SharedReads
from app.domain.clock import monotonic_seconds
from app.domain.types import ApiKey, Tenant

# A revocation is effective within five seconds, including the time of its commit.
KEEP_SECONDS: Final = 3.0
MAX_KEYS: Final = 10_000
# Limits the database connections that guesses can use; the others serve valid keys.
MAX_UNKNOWN_READS: Final = 4


class CachedKey(NamedTuple):
    """A key and its tenant."""

    key: ApiKey
    tenant: Tenant


class KeyCache:
    """Cache valid keys by hash for a few seconds, and collect their last uses."""

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
        self._entries: dict[bytes, tuple[float, CachedKey]] = {}
        self._reads = SharedReads[bytes, CachedKey | None]()
        self._unknown_slots = asyncio.Semaphore(MAX_UNKNOWN_READS)
        self.used: dict[str, datetime] = {}

    def get(self, key_hash: bytes) -> CachedKey | None:
        """Return the key if it was read at most `keep_seconds` ago."""
        entry = self._entries.get(key_hash)
        if entry is None or self._monotonic() >= entry[0]:
            return None
        return entry[1]

    async def read(
        self, key_hash: bytes, find: Callable[[], Awaitable[CachedKey | None]]
    ) -> CachedKey | None:
        """Call `find`, and cache the key that it returns; raises what `find` raises.

        Reads a key that was cached before at once; limits concurrent reads of other keys.
        """
        return await self._reads.get(
            key_hash, partial(self._find, key_hash, find), partial(self._keep, key_hash)
        )

    async def _find(
        self, key_hash: bytes, find: Callable[[], Awaitable[CachedKey | None]]
    ) -> CachedKey | None:
        if key_hash in self._entries:
            return await find()
        async with self._unknown_slots:
            return await find()

    def _keep(self, key_hash: bytes, cached_key: CachedKey | None) -> None:
        """Cache a key; above the maximum, drop the oldest."""
        self._entries.pop(key_hash, None)
        if cached_key is None:
            return
        if len(self._entries) >= self._max_keys:
            del self._entries[next(iter(self._entries))]
        self._entries[key_hash] = (self._monotonic() + self._keep_seconds, cached_key)

    def invalidate(self, *, key_id: str) -> None:
        """Drop a key that this process has revoked."""
        self._drop(lambda key: key.id == key_id)

    def invalidate_tenant(self, *, tenant_id: str) -> None:
        """Drop the keys of a tenant that this process has changed or deleted."""
        self._drop(lambda key: key.tenant_id == tenant_id)

    def _drop(self, is_stale: Callable[[ApiKey], bool]) -> None:
        self._reads.invalidate()
        for key_hash in [
            kept_hash
            for kept_hash, (_, cached_key) in self._entries.items()
            if is_stale(cached_key.key)
        ]:
            del self._entries[key_hash]

    def mark_used(self, key_id: str, now: datetime) -> None:
        """Remember the use of a key until the next `take_uses`."""
        self.used[key_id] = now

    def take_uses(self) -> dict[str, datetime]:
        """Return the uses since the last call, for one batched write of `last_used_at`."""
        used, self.used = self.used, {}
        return used
