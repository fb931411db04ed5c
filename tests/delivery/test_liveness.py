"""How long a lock must be free before its worker counts as dead, and what a worker then does."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from app.delivery import liveness
from app.delivery.leases import Leases
from app.delivery.liveness import (
    CERTAIN_SECONDS,
    GONE_SECONDS,
    LATE_SECONDS,
    LOOK_SECONDS,
    PROMPT_SECONDS,
    UNSEEN_SECONDS,
    Liveness,
)
from app.store.db.database import Database
from app.store.delivery import workers
from app.store.tables import core as tables
from tests.support.hand_clock import HandClock
from tests.support.rows import NOW

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("backend", ["postgresql"], indirect=True),
]

DEAD = "wrk_dead"


class Session:
    """A session that answers what a test wants; `is_free` says so of the other worker's lock."""

    def __init__(self, server_started_at: datetime, uptime: "Uptime") -> None:
        self._server_started_at = server_started_at
        self._uptime = uptime
        self.is_free = False
        self.answer_seconds = 0.0

    async def fetch(self, *_: object) -> list[dict[str, Any]]:
        self._uptime.seconds += self.answer_seconds
        return [{"id": DEAD, "is_lock_free": self.is_free}, {"id": "wrk_1", "is_lock_free": False}]

    async def fetchval(self, *_: object) -> datetime:
        return self._server_started_at


class Uptime:
    """The machine's uptime, which stands still."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Watching:
    """A worker that looks at another one."""

    def __init__(self, database: Database, session: Session, uptime: Uptime) -> None:
        clock = HandClock(NOW)
        self.revoked = 0
        self.leases = Leases(database, owner="wrk_1", length=timedelta(minutes=1), now=clock.now)
        self.liveness = Liveness(
            database, leases=self.leases, clock=clock, machine="host", revoke=self._revoke
        )
        self.uptime = uptime
        self.session = session

    async def _revoke(self) -> None:
        self.revoked += 1

    async def look(self, *, is_free: bool, after_seconds: float = 0) -> bool:
        """Look again and again until then; returns whether it takes over."""
        self.session.is_free = is_free
        until = self.uptime.seconds + after_seconds
        while self.uptime.seconds < until:
            self.uptime.seconds += min(LOOK_SECONDS, until - self.uptime.seconds)
            await self.liveness.check(self.session)
        if after_seconds == 0:
            await self.liveness.check(self.session)
        return bool(takeovers())


def takeovers() -> list[asyncio.Task[Any]]:
    """The takeovers in progress."""
    return [task for task in asyncio.all_tasks() if task.get_name() == "takeover"]


@pytest.fixture
async def watching(database: Database, monkeypatch: pytest.MonkeyPatch) -> Watching:
    """With a session, beside a worker that recorded one and has no lock."""
    async with database.transaction() as connection:
        query = await connection.execute(text(workers.SERVER_STARTED_AT))
        server_started_at = query.scalar_one()
        await workers.record_heartbeat(
            connection,
            worker_id=DEAD,
            hostname="h",
            pid=1,
            started_at=NOW,
            now=NOW,
            session=workers.Session(server_started_at),
        )
    uptime = Uptime()
    for module in ("leases", "liveness"):
        monkeypatch.setattr(f"app.delivery.{module}.uptime_seconds", uptime)
    session = Session(server_started_at, uptime)
    watching = Watching(database, session, uptime)
    await watching.liveness.begin(session)
    return watching


async def registered(database: Database) -> set[str]:
    """The workers that have rows."""
    async with database.reading() as connection:
        return set((await connection.execute(select(tables.workers.c.id))).scalars())


@pytest.mark.parametrize(("was_seen", "seconds"), [(True, GONE_SECONDS), (False, UNSEEN_SECONDS)])
async def test_a_lock_must_be_free_for_a_while(
    watching: Watching, database: Database, *, was_seen: bool, seconds: float
) -> None:
    """Longer, where this session never saw it held: all sessions may have ended at once."""
    if was_seen:
        assert not await watching.look(is_free=False)
    assert not await watching.look(is_free=True)
    assert not await watching.look(is_free=True, after_seconds=seconds - 0.125)
    assert await watching.look(is_free=True, after_seconds=0.125)
    await asyncio.gather(*takeovers())
    assert await registered(database) == {"wrk_1"}


async def test_looks_far_apart_count_anew(watching: Watching) -> None:
    """The lock may have come back between them."""
    await watching.look(is_free=False)
    await watching.look(is_free=True)
    watching.uptime.seconds += GONE_SECONDS
    assert not await watching.look(is_free=True)
    assert await watching.look(is_free=True, after_seconds=GONE_SECONDS)


async def test_a_lock_that_comes_back_ends_a_takeover_that_waits(
    watching: Watching, database: Database
) -> None:
    """A connection of a busy pool may come much later than the decision."""
    await watching.look(is_free=False)
    await watching.look(is_free=True)
    assert await watching.look(is_free=True, after_seconds=GONE_SECONDS)
    assert await watching.look(is_free=False)
    await asyncio.gather(*takeovers())
    assert await registered(database) == {DEAD, "wrk_1"}


async def test_a_lock_that_comes_back_begins_anew(watching: Watching) -> None:
    """Its worker lives."""
    await watching.look(is_free=False)
    await watching.look(is_free=True)
    await watching.look(is_free=False, after_seconds=GONE_SECONDS)
    assert not await watching.look(is_free=True)
    assert not await watching.look(is_free=True, after_seconds=GONE_SECONDS / 2)


async def test_a_worker_is_certain_for_less_time_than_others_wait(watching: Watching) -> None:
    """Since the question that its session answered, until it says that only time counts."""
    assert watching.leases.needs_no_session
    await watching.look(is_free=False)
    assert watching.leases.is_certain
    watching.uptime.seconds += CERTAIN_SECONDS
    assert not watching.leases.is_certain
    await watching.liveness.end()
    assert watching.leases.needs_no_session
    assert CERTAIN_SECONDS < GONE_SECONDS < UNSEEN_SECONDS


async def test_a_worker_that_was_taken_over_gives_its_connections_up(
    watching: Watching, database: Database
) -> None:
    """Its row is gone, so others may use them."""
    await watching.look(is_free=False)
    revoked = watching.revoked
    async with database.transaction() as connection:
        await workers.deregister(connection, worker_id="wrk_1")
    await watching.liveness.beat()
    assert watching.revoked == revoked + 1
    await watching.liveness.beat()
    assert watching.revoked == revoked + 1


async def test_a_worker_that_was_removed_learns_what_it_lost(
    watching: Watching, database: Database
) -> None:
    """However certain it is, and however late the database answers (invariant 3)."""
    await watching.look(is_free=False)
    watching.leases.add(["msg_lost"], NOW + timedelta(minutes=1))
    revoked = watching.revoked
    async with database.transaction() as connection:
        await workers.deregister(connection, worker_id="wrk_1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(liveness, "END_SECONDS", 0.5)
        patch.setattr(watching.leases, "renew", asyncio.Event().wait)
        await watching.liveness.end()
        assert not watching.leases.needs_no_session
    await watching.liveness.begin(watching.session)
    assert watching.leases.is_certain
    await watching.look(is_free=False)
    assert "msg_lost" not in watching.leases
    assert watching.revoked == revoked + 1


@pytest.mark.parametrize("answer_seconds", [CERTAIN_SECONDS, PROMPT_SECONDS + 0.1])
async def test_a_worker_whose_session_is_slow_goes_by_time(
    watching: Watching, answer_seconds: float
) -> None:
    """A busy machine must not stop delivery; once the session is fast again, it counts again."""
    await watching.look(is_free=False)
    watching.session.answer_seconds = answer_seconds
    await watching.look(is_free=False)
    assert watching.leases.is_certain is (answer_seconds < CERTAIN_SECONDS)
    await watching.look(is_free=False, after_seconds=LATE_SECONDS)
    assert watching.leases.needs_no_session
    watching.session.answer_seconds = 0.0
    await watching.look(is_free=False)
    assert not watching.leases.needs_no_session
    assert watching.leases.is_certain
