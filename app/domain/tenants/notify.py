"""Define who gets a tenant's notices."""

from collections.abc import Mapping
from typing import Any, Self

from app.domain.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class Notify:
    """Who gets mail about profiles that fail and recover, and the id of the profile to send it."""

    profile: str
    to: tuple[str, ...]

    @classmethod
    def parse(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """Build from the stored JSON of the fields."""
        return None if stored is None else cls(stored["profile"], tuple(stored["to"]))
