"""Check that the database is writable and its schema current."""

import asyncio
import logging
from typing import Final

from app.domain.errors import SettingsError, Unavailable
from app.store.db.database import Database
from app.store.migrations import schema

log = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS: Final = 1.0
CHECK_TIMEOUT_SECONDS: Final = 5.0
READ_ONLY: Final = (
    "The database is read-only: its server is a standby, or default_transaction_read_only is on."
)
STUCK: Final = (
    "Commits wait for a synchronous standby: start one, or let the cluster's manager choose"
    " another."
)


class Readiness:
    """Checks the database, and remembers the fault of its schema."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema_fault: str | None = "The database is not checked yet."

    def fault(self) -> str | None:
        """Return why the tables cannot be used, or None; a sound schema stays sound."""
        return self._schema_fault

    async def check(self) -> list[str]:
        """Check the database; return all faults."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                is_writable = await self._database.is_writable()
                is_stuck = await self._database.is_replication_stuck()
                state = await schema.load_state(self._database)
        except Unavailable:
            return ["The database cannot be reached."]
        except TimeoutError:
            return ["The database does not answer."]
        except SettingsError as error:
            return [f"{error}."]
        if not is_writable:
            return [READ_ONLY]
        self._schema_fault = state.fault
        if is_stuck:
            return [STUCK]
        return [] if self._schema_fault is None else [self._schema_fault]

    async def wait_ready(self) -> None:
        """Wait until the database is ready."""
        logged_reasons: list[str] = []
        while reasons := await self.check():
            if reasons != logged_reasons:
                log.warning("waiting for the database: %s", " ".join(reasons))
                logged_reasons = reasons
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
