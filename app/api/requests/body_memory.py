"""Limit the request bytes in memory, per process, tenant and IP address."""

from collections.abc import Sequence

from app.domain.errors import Unavailable


class Budget:
    """Limits the bytes held at a time, in all and per holder.

    A tenant may hold half of `max_bytes` and an address three quarters, because all clients may
    share a proxy's address. A single body of `largest_bytes` always fits.
    """

    def __init__(self, max_bytes: int, largest_bytes: int) -> None:
        self._max_bytes = max(max_bytes, largest_bytes)
        shares = (max_bytes // 2, max_bytes * 3 // 4)
        self._shares = [max(share, largest_bytes) for share in shares]
        self._by_holder: dict[str, int] = {}
        self.held_bytes = 0

    def reserve(self, holders: Sequence[str], size_bytes: int) -> None:
        """Add bytes to a tenant and an address.

        Raises Unavailable beyond a limit. The bytes count even then, until released.
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
        self.held_bytes -= size_bytes
        for holder in holders:
            # One who holds nothing is forgotten, even while a request of 0 bytes is not released.
            held_bytes = self._by_holder.get(holder, 0) - size_bytes
            if held_bytes:
                self._by_holder[holder] = held_bytes
            else:
                self._by_holder.pop(holder, None)
