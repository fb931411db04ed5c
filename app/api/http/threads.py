"""Process large bodies in a thread, so that other requests do not wait."""

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
LARGE_BYTES: Final = 256 * 1024


async def run_in_thread_if_large(
    size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call `work`, in a thread if `size` (bytes or characters) is large."""
    return await run_in_thread_above(LARGE_BYTES, size, work, *args, **kwargs)


async def run_in_thread_above(
    limit: int, size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call `work`, in a thread if `size` exceeds `limit`."""
    if size > limit:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
