"""A group has what arrives together; one message that cannot be stored fails only its unit."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accept.group import Acceptance
from app.accept.group_commit import MAX_GROUP, Committer
from app.domain.errors import SettingsError, Unavailable
from app.metrics.collection import Metrics
from app.store.db.database import Database
from app.store.db.errors import CommitUnknown, database_unavailable
from app.store.outbox import acceptance as outbox
from tests.support.hand_clock import HandClock
from tests.support.rows import NOW, a_message, made_profile, made_tenant


async def test_a_unit_with_a_message_that_cannot_be_stored_is_not_stored(
    database: Database,
) -> None:
    """The database refuses the message; a strict batch is accepted as a whole or not at all."""
    clock = HandClock(NOW)
    profile = await made_profile(database, await made_tenant(database))
    alone, before, after = (a_message(profile) for _ in range(3))
    duplicate = a_message(profile)
    async with database.transaction() as connection:
        await outbox.accept(connection, [duplicate])
    committer = Committer(database, Metrics(database, clock), now=clock.now)
    async with committer.running():
        outcomes = await committer.accept_all(
            [
                Acceptance(alone),
                *(Acceptance(message, unit="req_1") for message in (before, duplicate, after)),
            ]
        )
    assert outcomes[0] is None
    assert all(isinstance(outcome, Exception) for outcome in outcomes[1:])
    async with database.transaction() as connection:
        stored = [
            await outbox.is_committed(connection, message_id=message.id)
            for message in (alone, before, after)
        ]
    assert stored == [True, False, False]


class _GroupMetrics(Metrics):
    """Metrics that keep the sizes of the groups."""

    def __init__(self, database: Database, clock: HandClock) -> None:
        super().__init__(database, clock)
        self.sizes: list[int] = []

    def record_group(self, work: str, size: int) -> None:
        super().record_group(work, size)
        self.sizes.append(size)


async def test_messages_that_arrive_turn_by_turn_are_stored_together(database: Database) -> None:
    """The first one wakes an idle committer, and would otherwise be a group by itself."""
    clock = HandClock(NOW)
    profile = await made_profile(database, await made_tenant(database))
    metrics = _GroupMetrics(database, clock)
    committer = Committer(database, metrics, now=clock.now)
    async with committer.running(), asyncio.TaskGroup() as callers:
        for _ in range(5):
            callers.create_task(committer.accept(Acceptance(a_message(profile))))
            await asyncio.sleep(0)
    assert metrics.sizes == [5]


async def test_a_group_is_bounded_and_the_last_one_is_stored_on_exit(database: Database) -> None:
    """A long transaction would hold up others; what waits at a stop is accepted (invariant 1)."""
    clock = HandClock(NOW)
    profile = await made_profile(database, await made_tenant(database))
    metrics = _GroupMetrics(database, clock)
    committer = Committer(database, metrics, now=clock.now)
    async with committer.running():
        callers = [
            asyncio.create_task(committer.accept(Acceptance(a_message(profile))))
            for _ in range(MAX_GROUP + 5)
        ]
        await asyncio.sleep(0)
    assert await asyncio.gather(*callers) == [None] * (MAX_GROUP + 5)
    assert metrics.sizes == [MAX_GROUP, 5]


class _Breaking:
    """A database that breaks after a commit, and then cannot be asked for a while."""

    def __init__(self, database: Database, faults: Iterator[Exception]) -> None:
        self._commit, self._open = database.retry_transaction, database.transaction
        self._faults = faults
        self._has_broken = False

    async def retry_transaction(self, *words: Any, **named: Any) -> Any:
        if await self._commit(*words, **named) is False:  # the group needs another transaction
            return False
        self._has_broken = True
        raise CommitUnknown

    @asynccontextmanager
    async def transaction(self, **named: Any) -> AsyncIterator[AsyncConnection]:
        if self._has_broken and (fault := next(self._faults, None)) is not None:
            raise fault
        async with self._open(**named) as connection:
            yield connection


async def test_a_doubt_outlasts_any_error_of_connecting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that refuses for a while must not end the committer (invariant 1)."""
    clock = HandClock(NOW)
    profile = await made_profile(database, await made_tenant(database))
    committer = Committer(database, Metrics(database, clock), now=clock.now)
    faults = iter([SettingsError("the encoding"), database_unavailable(Unavailable)])
    breaking = _Breaking(database, faults)
    monkeypatch.setattr(database, "retry_transaction", breaking.retry_transaction)
    monkeypatch.setattr(database, "transaction", breaking.transaction)
    async with committer.running():
        assert await committer.accept(Acceptance(a_message(profile))) is None
    assert list(faults) == []
