"""Limit the request bytes in memory, per process, tenant and IP address."""

from collections.abc import Sequence

from app.domain.errors import Unavailable


class Budget:
    """All that is held together has at most `max_bytes`; one tenant half of it, one address more.

    Behind a proxy all come from one address, and a tenant that has its half is not to keep the
    others out. A body of `largest_bytes` is held in any case, where nothing else is.
    """

    def __init__(self, max_bytes: int, largest_bytes: int) -> None:
        self._max_bytes = max(max_bytes, largest_bytes)
        shares = (max_bytes // 2, max_bytes * 3 // 4)
        self._shares = [max(share, largest_bytes) for share in shares]
        self._by_holder: dict[str, int] = {}
        self.held_bytes = 0

    def reserve(self, holders: Sequence[str], size_bytes: int) -> None:
        """Hold so many bytes more of a tenant and an address.

        Raises Unavailable where that is too much.

        They are held then too, until they are given back.
        """
        self.held_bytes += size_bytes
        is_shared_out = False
        for holder, share in zip(holders, self._shares, strict=True):
            held_bytes = self._by_holder[holder] = self._by_holder.get(holder, 0) + size_bytes
            is_shared_out |= held_bytes > share
        if self.held_bytes > self._max_bytes:
            raise Unavailable(
                "overloaded",
                "The service is receiving more than fits into memory (HELOISE_MAX_BUFFERED_BYTES)."
                " Nothing was written; send the request again.",
            )
        if is_shared_out:
            raise Unavailable(
                "overloaded",
                "This tenant or address exceeds its share of HELOISE_MAX_BUFFERED_BYTES (a half or"
                " three quarters). Nothing was written; send fewer large requests at a time.",
            )

    def release(self, holders: Sequence[str], size_bytes: int) -> None:
        """Hold so many bytes less."""
        self.held_bytes -= size_bytes
        for holder in holders:
            held_bytes = self._by_holder[holder] - size_bytes
            if held_bytes:
                self._by_holder[holder] = held_bytes
            else:
                del self._by_holder[holder]
