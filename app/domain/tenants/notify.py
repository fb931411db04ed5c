"""Define who gets a tenant's notices."""

from collections.abc import Mapping
from typing import Any, Self

from app.domain.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class Notify:
    """Who gets mail about profiles that fail and recover, and the id of the profile to send it."""

    profile: str
    to: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON to store."""
        return {"profile": self.profile, "to": list(self.to)}

    @classmethod
    def parse(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """Build from the stored JSON."""
        return None if stored is None else cls(stored["profile"], tuple(stored["to"]))
