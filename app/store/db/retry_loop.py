"""Repeat background jobs until stopped, also after database errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from app.domain.errors import Unavailable
from app.store.db.errors import RolledBack

log = logging.getLogger(__name__)

FAULT_PAUSE_SECONDS: Final = 1.0


async def run_until_stopped(
    step: Callable[[], Awaitable[None]], name: str, is_stopped: Callable[[], bool] = lambda: False
) -> None:
    """Repeat a step, also after database errors and bugs; log these with `name`."""
    while not is_stopped():
        try:
            await step()
        except RolledBack:
            continue
        except Unavailable:
            await asyncio.sleep(FAULT_PAUSE_SECONDS)
        except Exception:
            log.exception("unexpected error in %s", name)
            await asyncio.sleep(FAULT_PAUSE_SECONDS)
