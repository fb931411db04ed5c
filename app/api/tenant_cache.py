"""What was read of a tenant lately, so that a stream of messages does not read it each time."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

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
        self._kept: dict[tuple[str, str | None], tuple[float, Value]] = {}

    def get(self, tenant_id: str, name: str | None = None) -> Value | None:
        """The value, where it was read a moment ago."""
        found = self._kept.get((tenant_id, name))
        if found is None or self._monotonic() >= found[0]:
            return None
        return found[1]

    def put(self, tenant_id: str, name: str | None, value: Value) -> None:
        """Keep what was just read."""
        if len(self._kept) >= MAX_ENTRIES:
            self._kept.clear()
        self._kept[tenant_id, name] = (self._monotonic() + self._keep_seconds, value)

    def forget(self, tenant_id: str) -> None:
        """Read this tenant's again: something of it was changed here."""
        for key in [each for each in self._kept if each[0] == tenant_id]:
            del self._kept[key]
