"""Cache tenants and profiles, so that a stream of messages needs no reads."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Generic, TypeVar

from app.auth.shared_reads import SharedReads
from app.domain.clock import monotonic_seconds

MAX_ENTRIES: Final = 10_000
Value = TypeVar("Value")


class TenantCache(Generic[Value]):
    """(tenant, name) → value, for a moment; the name None is the tenant's only or default one.

    A change made in another process is seen so much later; one made here is seen at once.
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
        """The value: as it was read a moment ago, else what `read` answers; raises what it does."""
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
        """Read this tenant's again: something of it was changed here."""
        self._reads.invalidate()
        for key in [each for each in self._entries if each[0] == tenant_id]:
            del self._entries[key]
