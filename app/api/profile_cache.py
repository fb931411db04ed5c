"""Profiles seen lately, so that a stream of messages does not read its profile each time."""

from collections.abc import Callable
from typing import Final

from app.domain.clock import monotonic_seconds
from app.domain.types import Profile

# A change made in another process is seen this much later; one made here is seen at once.
KEEP_SECONDS: Final = 1.0
MAX_PROFILES: Final = 10_000


class ProfileCache:
    """(tenant, id or name) → profile, for a moment; the name None is the tenant's default."""

    def __init__(
        self,
        *,
        keep_seconds: float = KEEP_SECONDS,
        monotonic: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._keep_seconds = keep_seconds
        self._monotonic = monotonic
        self._kept: dict[tuple[str, str | None], tuple[float, Profile]] = {}

    def get(self, tenant_id: str, name: str | None) -> Profile | None:
        """The profile, where it was read a moment ago."""
        found = self._kept.get((tenant_id, name))
        if found is None or self._monotonic() >= found[0]:
            return None
        return found[1]

    def put(self, tenant_id: str, name: str | None, profile: Profile) -> None:
        """Keep a profile that was just read."""
        if len(self._kept) >= MAX_PROFILES:
            self._kept.clear()
        self._kept[tenant_id, name] = (self._monotonic() + self._keep_seconds, profile)

    def forget(self, tenant_id: str) -> None:
        """Read this tenant's profiles again: one of them was changed here."""
        for key in [each for each in self._kept if each[0] == tenant_id]:
            del self._kept[key]
