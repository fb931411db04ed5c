"""A worker renews the leases that it still has, and says which messages it gives back."""

from datetime import timedelta

import pytest

from app.delivery.leases import Leases
from app.domain.types import Profile
from app.store.db.database import Database
from tests.support.hand_clock import HandClock
from tests.support.rows import (
    MINUTE,
    NOW,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)

A_SECOND = timedelta(seconds=1)


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A profile with two messages that are due."""
    profile = await made_profile(database, await made_tenant(database))
    for _ in range(2):
        await queued_message(database, profile)
    return profile


async def test_a_renewal_extends_what_is_left_and_drops_what_was_lost(
    database: Database, profile: Profile
) -> None:
    """A message that another worker took over is renewed for that worker alone (invariant 3)."""
    clock = HandClock(NOW)
    leases = Leases(database, owner="wrk_1", length=MINUTE, now=clock.now)
    [mine] = await leased_messages(database, profile, owner="wrk_1", limit=1)
    [lost] = await leased_messages(database, profile, owner="wrk_2", limit=1)
    leases.add([mine.id, lost.id], NOW + MINUTE)
    await clock.advance(seconds=59)
    await leases.renew()
    assert [message.id in leases for message in (mine, lost)] == [True, False]
    await clock.advance(seconds=59)
    assert leases.is_held(mine)
    assert not leases.has_run_out
    taken_over = await leased_messages(database, profile, owner="wrk_3", now=clock.now())
    assert [message.id for message in taken_over] == [lost.id]
    await clock.advance(seconds=1)
    assert not leases.is_held(mine)
    assert leases.has_run_out


async def test_what_is_given_back_is_due_at_once_and_announced(
    database: Database, profile: Profile
) -> None:
    """Polls that read only what becomes due would not find it (`DueRanges.note_freed`)."""
    freed: list[int] = []
    leases = Leases(
        database,
        owner="wrk_1",
        length=MINUTE,
        now=lambda: NOW,
        note_freed=lambda: freed.append(len(leases)),
    )
    claimed = await leased_messages(database, profile, owner="wrk_1")
    leases.add([message.id for message in claimed], NOW + MINUTE)
    await leases.release_all()
    assert freed == [0]
    await leases.release_all()
    assert freed == [0]  # there was nothing to give back
    again = await leased_messages(database, profile, owner="wrk_2", now=NOW + A_SECOND)
    assert [message.id for message in again] == [message.id for message in claimed]
