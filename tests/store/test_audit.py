"""The audit log is forgotten in small batches, by as many processes as there are."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.audit import Actor, ActorKind, AuditEntry
from app.domain.ids import first_id
from app.store import audit
from app.store.db.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
WHO = Actor(ActorKind.KEY, "key_1", "billing", "192.0.2.1")


def entry(age: timedelta, number: int = 0, tenant_id: str = "ten_1") -> AuditEntry:
    """A line of this age."""
    at = NOW - age
    return AuditEntry(
        id=f"{first_id('aud', at)}{number:020x}",
        at=at,
        actor=WHO,
        action="profile.update",
        tenant_id=tenant_id,
        changes={"port": (25, 587)},
    )


async def fill(database: Database, *entries: AuditEntry) -> None:
    """Write these lines."""
    async with database.transaction() as connection:
        for entry in entries:
            await audit.record(connection, entry)


async def load_left(database: Database, tenant_id: str | None = None) -> list[AuditEntry]:
    """What there is."""
    async with database.reading() as connection:
        return await audit.page(connection, tenant_id=tenant_id, limit=200)


async def test_what_is_written_is_read_back(database: Database) -> None:
    """Whole, and newest first."""
    old, new = entry(timedelta(days=2)), entry(timedelta(days=1), tenant_id="ten_2")
    await fill(database, old, new)
    assert await load_left(database) == [new, old]
    assert await load_left(database, "ten_2") == [new]


async def test_what_is_old_is_forgotten(database: Database) -> None:
    """Up to the moment that is given, and no more at once than is asked."""
    old = [entry(timedelta(days=3), number) for number in range(5)]
    young = entry(timedelta(hours=1))
    await fill(database, *old, young)
    before = NOW - timedelta(days=1)
    counts = []
    for _ in range(3):
        async with database.transaction() as connection:
            counts.append(await audit.delete_old(connection, before=before, limit=3))
    assert counts == [3, 2, 0]
    assert await load_left(database) == [young]


@pytest.mark.parametrize("processes", [3])
async def test_several_processes_forget_at_once(database: Database, processes: int) -> None:
    """None of them fails, and nothing young goes."""
    await fill(database, *(entry(timedelta(days=3), number) for number in range(50)))
    young = entry(timedelta(hours=1))
    await fill(database, young)

    async def forget() -> None:
        for _ in range(20):
            async with database.transaction() as connection:
                await audit.delete_old(connection, before=NOW - timedelta(days=1), limit=5)

    await asyncio.gather(*(forget() for _ in range(processes)))
    assert await load_left(database) == [young]
