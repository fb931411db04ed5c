"""Join large byte blocks without blocking other threads."""

from collections.abc import Iterable
from io import BytesIO
from typing import Final

# Above this size bytes are not scanned or copied in the event loop.
LARGE_BYTES: Final = 1_000_000
# A thread processes this much in a millisecond or two.
BLOCK_BYTES: Final = 500_000


def join_blocks(blocks: Iterable[bytes | memoryview]) -> bytes:
    """Join blocks, and let other threads run in between, unlike `bytes.join`."""
    buffer = BytesIO()
    for block in blocks:
        buffer.write(block)
    return buffer.getvalue()
