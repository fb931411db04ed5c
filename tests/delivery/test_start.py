"""Delivery that may not start yet says why, and starts by itself."""

import logging
from contextlib import AbstractAsyncContextManager

import pytest
from sqlalchemy import text

from app import worker
from app.domain.errors import SettingsError
from app.sending_services import make_parts
from app.store.db import backup
from app.store.db.database import Database
from app.store.migrations.readiness import Readiness
from tests.support.hand_clock import HandClock
from tests.support.harness import settings
from tests.support.waiting import until

pytestmark = pytest.mark.one_database


@pytest.fixture
async def restored_database(database: Database) -> Database:
    """A backup that nobody has held."""
    async with database.transaction() as connection:
        await connection.execute(text(f"PRAGMA user_version = {backup.BACKUP}"))
    return database


def starting(
    database: Database, url: str, readiness: Readiness, clock: HandClock
) -> AbstractAsyncContextManager[None]:
    """The delivery of a process that serves."""
    values = settings(url)
    metrics = worker.make_metrics(values, database, clock, worker.make_message_log(values))
    parts = make_parts(values, database, clock, "mail.example.com")
    engine = worker.make_engine(values, metrics, parts)
    return worker.deliver_when_ready(engine, (), readiness, clock)


async def test_a_backup_is_refused_if_its_schema_is_current(
    restored_database: Database, migrated_url: str
) -> None:
    """The process ends, with the reason."""
    readiness = Readiness(restored_database)
    await readiness.check()
    with pytest.raises(SettingsError, match="run `heloise hold`"):
        async with starting(restored_database, migrated_url, readiness, HandClock()):
            pass


async def test_a_backup_that_was_migrated_meanwhile_waits_for_hold(
    restored_database: Database, migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The process serves already, so it logs the reason and tries again."""
    caplog.set_level(logging.INFO)
    clock = HandClock()

    async def has_logged(words: str, times: int = 1) -> None:
        async def fact() -> bool | None:
            await clock.advance(seconds=1)
            return caplog.text.count(words) >= times or None

        await until(fact)

    async with starting(restored_database, migrated_url, Readiness(restored_database), clock):
        await has_logged("cannot deliver yet")
        await has_logged("run `heloise hold`", times=2)
        async with restored_database.transaction() as connection:
            await backup.remove_mark(connection)
        await has_logged("delivery started")
