"""The outbox: accepted whole, claimed by one, taken over when its lease is over (invariant 3)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from app.domain.types import (
    MessageStatus,
    NamedAddress,
    Priority,
    Profile,
    RecipientStatus,
    SealedContent,
)
from app.store.db.database import Database
from app.store.messages import queries as messages
from app.store.outbox import acceptance, claims, leases
from app.store.profiles import deletion
from app.store.profiles import queries as profiles
from app.store.tables import core as tables
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    PLENTY,
    a_message,
    failing_profile,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)
from tests.support.waiting import until


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A tenant's profile."""
    return await made_profile(database, await made_tenant(database))


async def status_of(database: Database, profile: Profile, message_id: str) -> MessageStatus:
    """The message's status as it is read."""
    async with database.reading() as connection:
        view = await messages.get(connection, tenant_id=profile.tenant_id, message_id=message_id)
    return view.status


async def test_a_message_is_accepted_whole_or_not_at_all(
    database: Database, profile: Profile
) -> None:
    """One transaction (invariant 1)."""
    good = a_message(profile, tags=("a",))
    with pytest.raises(IntegrityError):
        async with database.transaction() as connection:
            await acceptance.accept(connection, [good, replace(good, tags=())])
    for table in (tables.messages, tables.message_contents, tables.recipients, tables.message_tags):
        async with database.reading() as connection:
            count = await connection.execute(select(func.count()).select_from(table))
            assert count.scalar_one() == 0


LARGE = b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\n" + bytes(range(256)) * 10_000


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"subject": "Grüße 🎉", "metadata": {"order": 'ü"\\\n', "": "1"}},
        {"message_id_header": "<given@example.org>", "sender": NamedAddress("b@example.com")},
        {"sealed": SealedContent(key=b"\x00\xff", content=LARGE[::-1])},
    ],
    ids=["usual", "unicode", "given id", "sealed"],
)
async def test_a_large_message_is_stored_as_a_small_one_is(
    database: Database, profile: Profile, fields: dict[str, Any]
) -> None:
    """Beside it, in one transaction, though not by one statement where that would be slow."""
    small, large = a_message(profile, **fields), a_message(profile, mime=LARGE, **fields)
    async with database.transaction() as connection:
        await acceptance.accept(connection, [small, large, a_message(profile)])
    columns = tables.message_contents.c
    async with database.reading() as connection:
        result = await connection.execute(select(tables.message_contents))
        rows = {row["message_id"]: dict(row) for row in result.mappings()}
    stored = rows[large.id]
    assert stored[columns.mime.name] == (large.sealed.content if large.sealed else LARGE)
    own = {"message_id": large.id, "mime": stored["mime"], "size_bytes": len(LARGE)}
    assert stored == rows[small.id] | own
    assert len(rows) == 3


async def test_what_is_due_is_claimed_oldest_first(database: Database, profile: Profile) -> None:
    """Up to the limit, of this profile alone, and not before its time."""
    other = await made_profile(database, await made_tenant(database, "other"))
    ages = [2, 3, 1]
    messages = [
        await queued_message(database, profile, created_at=NOW - MINUTE * age) for age in ages
    ]
    await queued_message(database, profile, created_at=NOW + HOUR)
    await queued_message(database, other, created_at=NOW - HOUR)
    claimed = await leased_messages(database, profile, owner="wrk_1", limit=2)
    assert [message.id for message in claimed] == [messages[1].id, messages[0].id]
    claimed = await leased_messages(database, profile, owner="wrk_1")
    assert [message.id for message in claimed] == [messages[2].id]


async def test_a_claim_brings_all_that_delivery_needs(database: Database, profile: Profile) -> None:
    """Envelope, recipients in their order, and the bytes, which no `repr` shows."""
    message = await queued_message(database, profile, "b@x.test", "a@x.test", mime=b"canary-1")
    [claimed] = await leased_messages(database, profile, owner="wrk_1")
    assert (claimed.id, claimed.tenant_id, claimed.profile_id) == (
        message.id,
        profile.tenant_id,
        profile.id,
    )
    assert (claimed.envelope_from, claimed.expires_at) == ("billing@example.com", NOW + HOUR)
    assert [
        (recipient.position, recipient.address, recipient.status)
        for recipient in claimed.recipients
    ] == [
        (0, "b@x.test", RecipientStatus.QUEUED),
        (1, "a@x.test", RecipientStatus.QUEUED),
    ]
    assert claimed.mime == b"canary-1"
    assert "canary" not in repr(claimed)
    assert claimed.former_owner is None


async def test_high_priority_goes_first(database: Database, profile: Profile) -> None:
    """Among messages of the same moment."""
    order = [Priority.LOW, Priority.NORMAL, Priority.HIGH]
    for priority in order:
        await queued_message(database, profile, priority=priority)
    claimed = await leased_messages(database, profile, owner="wrk_1", now=NOW + HOUR)
    assert [message.priority for message in claimed] == order[::-1]


async def test_a_claim_is_bounded_by_bytes(database: Database, profile: Profile) -> None:
    """One is taken whatever its size; more while those before it are small."""
    for _ in range(4):
        await queued_message(database, profile, mime=b"x" * 100)

    async def claim(max_bytes: int) -> int:
        async with database.transaction() as connection:
            return len(
                await claims.claim(
                    connection,
                    [claims.ClaimRequest(profile.id, 10, max_bytes)],
                    owner="wrk_1",
                    now=NOW,
                    lease_until=NOW + HOUR,
                )
            )

    assert [await claim(1), await claim(150), await claim(PLENTY)] == [1, 2, 1]


async def test_a_message_has_one_owner_until_its_lease_ends(
    database: Database, profile: Profile
) -> None:
    """Then another takes it over, and learns from whom (invariant 3)."""
    message = await queued_message(database, profile)
    assert len(await leased_messages(database, profile, owner="wrk_1")) == 1
    just_before = NOW + MINUTE - NOW.resolution
    assert await leased_messages(database, profile, owner="wrk_2", now=just_before) == []
    [claimed] = await leased_messages(database, profile, owner="wrk_2", now=NOW + MINUTE)
    assert (claimed.id, claimed.former_owner) == (message.id, "wrk_1")


async def test_a_renewed_lease_lasts_longer(database: Database, profile: Profile) -> None:
    """For its owner alone: who lost it is told so."""
    held, lost = [await queued_message(database, profile) for _ in range(2)]
    await leased_messages(database, profile, owner="wrk_1", limit=1)
    await leased_messages(database, profile, owner="wrk_2", limit=1)
    async with database.transaction() as connection:
        renewed = await leases.renew(
            connection, owner="wrk_1", message_ids=[held.id, lost.id], lease_until=NOW + HOUR
        )
    assert renewed == {held.id}
    [claimed] = await leased_messages(database, profile, owner="wrk_3", now=NOW + MINUTE)
    assert claimed.id == lost.id


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("write", [leases.renew, leases.release])
async def test_leases_are_locked_in_the_order_of_ids(
    database: Database, profile: Profile, write: Callable[..., Awaitable[object]]
) -> None:
    """As by who settles meanwhile, wherever the rows lie: else each would wait for the other."""
    ids = sorted([(await queued_message(database, profile)).id for _ in range(2)])
    await leased_messages(database, profile, owner="wrk_1")
    table = tables.messages
    arguments = {"lease_until": NOW + HOUR} if write is leases.renew else {"now": NOW}

    async def write_all() -> None:
        async with database.transaction() as connection:
            for way in ("indexscan", "bitmapscan"):  # as where the planner knows of no rows
                await connection.execute(text(f"SET LOCAL enable_{way} = off"))
            await write(connection, owner="wrk_1", message_ids=ids, **arguments)

    async def is_waiting() -> bool | None:
        query = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        async with database.reading() as connection:
            return (await connection.execute(query)).scalar_one() or None

    async with database.transaction() as connection:  # the first row now lies behind the second
        await connection.execute(table.update().where(table.c.id == ids[0]).values(dsn=None))
    async with database.transaction() as settling:
        lock = select(table.c.id).with_for_update()
        await settling.execute(lock.where(table.c.id == ids[0]))
        writing = asyncio.create_task(write_all())
        await until(is_waiting)
        await settling.execute(lock.where(table.c.id == ids[1]))
    await writing


async def test_what_is_given_back_is_due_at_once(database: Database, profile: Profile) -> None:
    """By its owner alone, and untouched."""
    message = await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_1")
    for owner, status in (("wrk_2", MessageStatus.SENDING), ("wrk_1", MessageStatus.QUEUED)):
        async with database.transaction() as connection:
            await leases.release(connection, owner=owner, message_ids=[message.id], now=NOW)
        assert await status_of(database, profile, message.id) is status
    [reclaimed] = await leased_messages(database, profile, owner="wrk_2")
    assert [recipient.attempts for recipient in reclaimed.recipients] == [0]


async def test_a_sole_worker_frees_what_the_dead_one_held(
    database: Database, profile: Profile
) -> None:
    """It need not wait for leases to end."""
    await queued_message(database, profile)
    await leased_messages(database, profile, owner="wrk_dead")
    async with database.transaction() as connection:
        assert await leases.release_all(connection) == 1
    assert len(await leased_messages(database, profile, owner="wrk_1")) == 1


async def test_only_active_profiles_are_ready_for_new_messages(database: Database) -> None:
    """Nothing is handed over to a lane whose profile is paused, deleted or failing."""
    tenant = await made_tenant(database)
    active, paused, deleted = [
        await made_profile(database, tenant, name) for name in ("active", "paused", "deleted")
    ]
    failing = await failing_profile(database, tenant, "failing")
    of_tenant = {"tenant_id": tenant.id, "now": NOW}
    async with database.transaction() as connection:
        await profiles.pause(connection, profile_id=paused.id, **of_tenant)
        await deletion.delete(connection, profile_id=deleted.id, cancel_pending=False, **of_tenant)
        owners = (active, paused, deleted, failing)
        admission = await acceptance.check_admission(
            connection,
            [a_message(owner) for owner in owners],
            profile_ids=[owner.id for owner in owners],
        )
    assert admission.ready == {(active.id, active.revision)}


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.postgresql
async def test_the_leases_of_a_worker_that_is_gone_end(
    database: Database, profile: Profile
) -> None:
    """Of every profile and destination, and of nobody else; the takeover knows whose they were."""
    other = await made_profile(database, await made_tenant(database, "b"))
    for owner in (profile, other):
        for _ in range(3):
            await queued_message(database, owner)
    await leased_messages(database, profile, owner="wrk_gone", limit=2)
    await leased_messages(database, profile, owner="wrk_live", limit=1)
    await leased_messages(database, other, owner="wrk_gone", limit=1)
    async with database.transaction() as connection:
        table = tables.messages
        is_first = table.c.id == select(func.min(table.c.id)).scalar_subquery()
        await connection.execute(update(table).where(is_first).values(destination=7))
        ended = await leases.end_leases(connection, owner="wrk_gone", now=NOW, latest=NOW + MINUTE)
    assert ended == 3
    taken_over = await leased_messages(database, other, owner="wrk_1", limit=9)
    assert sorted((m.former_owner or "", m.is_owner_gone) for m in taken_over) == [
        ("", False),
        ("", False),
        ("wrk_gone", True),
    ]


async def test_what_is_due_of_several_profiles_is_claimed_together(
    database: Database, profile: Profile
) -> None:
    """Of each the first, as many as its lane takes; of others, and of what is not due, nothing."""
    second, third = [
        await made_profile(database, await made_tenant(database, name)) for name in ("b", "c")
    ]
    ids_by_profile = {
        owner.id: [(await queued_message(database, owner)).id for _ in range(3)]
        for owner in (profile, second, third)
    }
    await queued_message(database, second, created_at=NOW + HOUR, expires_at=NOW + 2 * HOUR)
    await leased_messages(database, profile, owner="wrk_other", limit=1)
    wants = [
        claims.ClaimRequest(profile.id, limit=1, max_bytes=PLENTY),
        claims.ClaimRequest(second.id, limit=5, max_bytes=PLENTY),
    ]
    async with database.transaction() as connection:
        claimed = await claims.claim(
            connection, wants, owner="wrk_1", now=NOW, lease_until=NOW + MINUTE
        )
    assert [message.id for message in claimed] == [
        ids_by_profile[profile.id][1],
        *ids_by_profile[second.id],
    ]
    assert [message.recipients[0].address for message in claimed] == ["ann@example.org"] * 4
    assert {
        await status_of(database, third, message_id) for message_id in ids_by_profile[third.id]
    } == {MessageStatus.QUEUED}
    assert await leased_messages(database, second, owner="wrk_2") == []


async def test_of_several_profiles_each_is_bounded_by_its_own_bytes(
    database: Database, profile: Profile
) -> None:
    """One message is taken whatever its size."""
    second = await made_profile(database, await made_tenant(database, "b"))
    for owner in (profile, second):
        for _ in range(3):
            await queued_message(database, owner, mime=b"x" * 100)
    wants = [
        claims.ClaimRequest(profile.id, 3, max_bytes=1),
        claims.ClaimRequest(second.id, 3, max_bytes=150),
    ]
    async with database.transaction() as connection:
        claimed = await claims.claim(
            connection, wants, owner="wrk_1", now=NOW, lease_until=NOW + MINUTE
        )
    assert [message.profile_id for message in claimed] == [profile.id, second.id, second.id]


async def test_a_message_that_is_claimed_elsewhere_is_left_out_of_many(
    database: Database, profile: Profile
) -> None:
    """On PostgreSQL nobody waits for it; who held it before is told once its lease has ended."""
    message = await queued_message(database, profile)
    wants = [claims.ClaimRequest(profile.id, 3, max_bytes=PLENTY)]

    async def claim(owner: str, now: datetime) -> list[str | None]:
        async with database.transaction() as connection:
            claimed = await claims.claim(
                connection, wants, owner=owner, now=now, lease_until=now + MINUTE
            )
            return [message.former_owner for message in claimed]

    if database.is_postgresql:
        async with database.transaction() as connection:
            await connection.execute(
                select(tables.messages.c.id)
                .where(tables.messages.c.id == message.id)
                .with_for_update()
            )
            async with asyncio.timeout(30):
                assert await claim("wrk_1", NOW) == []
    assert await claim("wrk_1", NOW) == [None]
    assert await claim("wrk_2", NOW) == []
    assert await claim("wrk_2", NOW + MINUTE) == ["wrk_1"]


async def test_claimers_at_the_same_time_share_and_do_not_wait(
    database: Database, profile: Profile
) -> None:
    """On PostgreSQL one skips what another is just claiming; SQLite has one writer."""
    if not database.is_postgresql:
        return
    message_ids = {(await queued_message(database, profile)).id for _ in range(4)}
    first_has_claimed, second_is_done = asyncio.Event(), asyncio.Event()

    async def claim(owner: str, **options: Any) -> set[str]:
        async with database.transaction() as connection:
            claimed = await claims.claim(
                connection,
                [claims.ClaimRequest(profile.id, 2, PLENTY)],
                owner=owner,
                now=NOW,
                lease_until=NOW + MINUTE,
            )
            if options.get("is_first"):
                first_has_claimed.set()
                await second_is_done.wait()
            return {message.id for message in claimed}

    async def second() -> set[str]:
        await first_has_claimed.wait()
        claimed = await claim("wrk_2")
        second_is_done.set()
        return claimed

    async with asyncio.timeout(30):
        one, two = await asyncio.gather(claim("wrk_1", is_first=True), second())
    assert (len(one), len(two)) == (2, 2)
    assert one | two == message_ids
