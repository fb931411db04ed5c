"""Bound the requests that download files at a time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.domain.errors import Unavailable

MAX_FETCHES: Final = 8
MAX_TENANT_FETCHES: Final = 2


class FetchSlots:
    """Slots of a process. A tenant has a part of them, so no tenant takes all."""

    def __init__(self) -> None:
        self._taken = Counter[str]()

    @contextmanager
    def reserve(self, tenant_id: str) -> Iterator[None]:
        """Take a slot while the block runs; raises Unavailable if none is free."""
        if self._taken[tenant_id] >= MAX_TENANT_FETCHES or self._taken.total() >= MAX_FETCHES:
            raise Unavailable(
                "overloaded",
                "Heloise downloads too many attachments at the moment; send the request again"
                " later, or send `content` instead of `path`.",
            )
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            self._taken += Counter()  # forget tenants without a slot
