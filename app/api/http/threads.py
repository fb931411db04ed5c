"""Process large bodies in a thread, so that other requests do not wait."""

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
LARGE_BYTES: Final = 256 * 1024


async def run_in_thread_if_large(
    size: int, work: Callable[P, T], *given: P.args, **named: P.kwargs
) -> T:
    """What `work` answers or raises, in a thread where it goes over so many bytes or characters."""
    if size > LARGE_BYTES:
        return await asyncio.to_thread(work, *given, **named)
    return work(*given, **named)
