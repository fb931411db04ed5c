"""What signs tenants' messages, as it was seen lately."""

from collections.abc import Callable
from typing import Final

from app.domain.clock import monotonic_seconds
from app.domain.dkim import Signing

# A change made in another process is seen this much later; one made here is seen at once.
KEEP_SECONDS: Final = 3.0
MAX_TENANTS: Final = 10_000


class SigningCache:
    """Tenant → what signs its messages, for a moment."""

    def __init__(
        self,
        *,
        keep_seconds: float = KEEP_SECONDS,
        monotonic: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._keep_seconds = keep_seconds
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, Signing]] = {}

    def get(self, tenant_id: str) -> Signing | None:
        """What signs, where it was read a moment ago."""
        found = self._kept.get(tenant_id)
        if found is None or self._monotonic() >= found[0]:
            return None
        return found[1]

    def put(self, tenant_id: str, signing: Signing) -> None:
        """Keep what was just read."""
        if len(self._kept) >= MAX_TENANTS:
            self._kept.clear()
        self._kept[tenant_id] = (self._monotonic() + self._keep_seconds, signing)

    def forget(self, tenant_id: str) -> None:
        """Read it again: it was changed here."""
        self._kept.pop(tenant_id, None)
