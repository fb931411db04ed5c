"""Cache API keys, so that a request with a known key needs no database read."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from app.auth.hash_cache import KEEP_SECONDS, MAX_ENTRIES, HashCache
from app.domain.clock import monotonic_seconds
from app.domain.types import ApiKey, Tenant


class CachedKey(NamedTuple):
    """A key and its tenant."""

    key: ApiKey
    tenant: Tenant


class KeyCache(HashCache[CachedKey]):
    """Cache valid keys by hash for a few seconds, and collect their last uses."""

    def __init__(
        self,
        *,
        keep_seconds: float = KEEP_SECONDS,
        max_entries: int = MAX_ENTRIES,
        monotonic: Callable[[], float] = monotonic_seconds,
    ) -> None:
        super().__init__(keep_seconds=keep_seconds, max_entries=max_entries, monotonic=monotonic)
        self.used: dict[str, datetime] = {}

    def invalidate(self, *, key_id: str) -> None:
        """Drop a key that this process has revoked."""
        self.drop(lambda cached: cached.key.id == key_id)

    def invalidate_tenant(self, *, tenant_id: str) -> None:
        """Drop the keys of a tenant that this process has changed or deleted."""
        self.drop(lambda cached: cached.key.tenant_id == tenant_id)

    def mark_used(self, key_id: str, now: datetime) -> None:
        """Remember the use of a key until the next `take_uses`."""
        self.used[key_id] = now

    def take_uses(self) -> dict[str, datetime]:
        """Return the uses since the last call, for one batched write of `last_used_at`."""
        used, self.used = self.used, {}
        return used
