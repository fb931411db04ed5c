"""Cache tenants and profiles, so that a stream of messages needs no reads."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Generic, TypeVar

from app.auth.coalesced_reads import SharedReads
from app.domain.clock import monotonic_seconds

MAX_ENTRIES: Final = 10_000
Value = TypeVar("Value")


class TenantCache(Generic[Value]):
    """Cache values by tenant and name; the name None is the tenant's only or default value.

    Changes in this process are visible at once; changes in others after `keep_seconds`.
    """

    def __init__(
        self, *, keep_seconds: float, monotonic: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._keep_seconds = keep_seconds
        self._monotonic = monotonic
        self._entries: dict[tuple[str, str | None], tuple[float, Value]] = {}
        self._reads = SharedReads[tuple[str, str | None], Value]()

    async def get(
        self, tenant_id: str, name: str | None, read: Callable[[], Awaitable[Value]]
    ) -> Value:
        """Return the cached value, or call `read`; raises what `read` raises."""
        key = tenant_id, name
        entry = self._entries.get(key)
        if entry is not None and self._monotonic() < entry[0]:
            return entry[1]
        return await self._reads.get(key, read, partial(self._keep, key))

    def _keep(self, key: tuple[str, str | None], value: Value) -> None:
        if len(self._entries) >= MAX_ENTRIES:
            self._entries.clear()
        self._entries[key] = (self._monotonic() + self._keep_seconds, value)

    def invalidate(self, tenant_id: str) -> None:
        """Drop the values of a tenant that this process has changed."""
        self._reads.invalidate()
        for key in [entry_key for entry_key in self._entries if entry_key[0] == tenant_id]:
            del self._entries[key]
