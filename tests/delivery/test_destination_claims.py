"""Claims keep the limits of destinations, and no destination holds up another (invariants 6, 7)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import String, cast, insert, literal, select, true, update

from app.delivery.assignment import Assignment
from app.delivery.claims import claim
from app.delivery.engine_parts import EngineParts
from app.delivery.lane import Lane
from app.delivery.lane_config import LaneConfig
from app.delivery.leases import Leases
from app.delivery.mail_exchangers import MailExchangers
from app.delivery.record import Recorder
from app.delivery.settler import Settler
from app.domain.delivery.destinations import find_domain
from app.domain.delivery.waiting import DestinationPermit
from app.domain.networks import AddressGuard
from app.domain.types import (
    Destination,
    NewMessage,
    Profile,
    Ramp,
    RampPeriod,
    RateLimit,
    Transport,
)
from app.metrics.collection import Metrics
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from app.store.db.database import Database
from app.store.delivery import destinations as store
from app.store.delivery import lanes
from app.store.delivery.lanes import WaitingLane
from app.store.delivery.workers import record_heartbeat
from app.store.outbox.claims import ClaimedMessage
from app.store.profiles import queries as profiles
from app.store.profiles.destinations import change_destinations
from app.store.tables.core import message_contents, messages, recipients
from tests.support.hand_clock import HandClock
from tests.support.rows import NOW, made_profile, made_tenant, queued_message

A_MINUTE: Final = RateLimit(1, 60)
GMAIL = Destination(number=1, match=("gmail.com",), rate_limit=A_MINUTE)
OUTLOOK = Destination(number=2, match=("outlook.com",), rate_limit=A_MINUTE)
DAY_RAMP = Ramp(start=2, factor=2, every=RampPeriod.DAY, until=100, started_at=NOW)


class Worker:
    """What one worker claims for one profile; nothing is sent."""

    def __init__(self, database: Database, profile: Profile, resolver: Resolver) -> None:
        self.database, self.clock = database, HandClock(NOW)
        metrics, wake = Metrics(database, self.clock), asyncio.Event()
        owner = f"wrk_{id(self)}"
        leases = Leases(database, owner=owner, length=timedelta(minutes=1), now=self.clock.now)
        settler = Settler(
            database,
            leases=leases,
            wake=wake,
            now=self.clock.now,
            random=lambda: 1.0,
            metrics=metrics,
        )
        guard = AddressGuard(allow_private=False, is_port_allowed=lambda _: False)
        self.parts = EngineParts(
            database=database,
            clock=self.clock,
            metrics=metrics,
            network=Network(guard, resolver),
            recorder=Recorder(worker=owner, now=self.clock.now),
            leases=leases,
            settler=settler,
            wake=wake,
            mail_exchangers=MailExchangers(resolver, asyncio.get_running_loop().time),
            open_content=lambda: b"",
        )
        self.lane = Lane(LaneConfig(profile, None), self.parts, granted=profile.max_connections)

    async def waiting(self, profile: Profile | None = None) -> WaitingLane | None:
        """What a poll finds."""
        profile_id = (profile or self.lane.config.profile).id
        async with self.database.reading() as connection:
            waiting = await lanes.load_waiting(connection, now=self.clock.now())
        return next((lane for lane in waiting if lane.profile_id == profile_id), None)

    async def claim(self, profile: Profile | None = None) -> Sequence[ClaimedMessage]:
        """Claim what the lane may take now, of its own profile or of one it is the fallback of."""
        source = await self.waiting(profile)
        if source is None:
            return []
        messages_by_profile = await claim(
            self.parts, [Assignment(self.lane, source)], self.clock.now()
        )
        return messages_by_profile.get(source.profile_id, [])

    async def claim_all(self) -> list[ClaimedMessage]:
        """Claim until nothing is left that may leave now, nor moves."""
        claimed: list[ClaimedMessage] = []
        while True:
            self.parts.wake.clear()
            messages = await self.claim()
            claimed += messages
            if not messages and not self.parts.wake.is_set():
                return claimed


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A profile with a destination of one message a minute, and another."""
    return await sandbox(database, destinations=(GMAIL, OUTLOOK))


async def sandbox(database: Database, name: str = "main", **fields: Any) -> Profile:
    """A profile of the tenant `name`."""
    tenant = await made_tenant(database, name)
    return await made_profile(database, tenant, transport=Transport.SANDBOX, **fields)


def worker_of(database: Database, profile: Profile) -> Worker:
    """A worker without DNS."""
    return Worker(database, profile, Resolver())


def allowed_addresses(message: ClaimedMessage) -> set[str]:
    """The addresses that a claimed message may go to now."""
    return {to.address for to in message.recipients if message.may_send_to(to)}


def domains_of(claimed: Sequence[ClaimedMessage]) -> list[str]:
    """The domains that claimed messages may go to now, in order."""
    return sorted(
        find_domain(address) for message in claimed for address in allowed_addresses(message)
    )


async def queue_messages(database: Database, profile: Profile, *domains: str) -> list[NewMessage]:
    """A message to each of these domains, in the order of time."""
    return [
        await queued_message(
            database,
            profile,
            f"ann@{domain}",
            created_at=NOW - timedelta(hours=1) + timedelta(seconds=place),
        )
        for place, domain in enumerate(domains)
    ]


async def queues_of(database: Database) -> dict[str, int]:
    """The queue of each message."""
    async with database.reading() as connection:
        rows = await connection.execute(select(messages.c.id, messages.c.destination))
        return {row.id: row.destination for row in rows}


async def test_an_exhausted_destination_waits_and_the_others_leave(
    database: Database, profile: Profile
) -> None:
    """Its messages are claimed as its permits come, in their order (invariant 7)."""
    worker = worker_of(database, profile)
    sent = await queue_messages(database, profile, *["gmail.com"] * 3, "outlook.com", "example.org")
    claimed = await worker.claim_all()
    assert domains_of(claimed) == ["example.org", "gmail.com", "outlook.com"]
    waiting = await worker.waiting()
    assert waiting is not None
    assert waiting.due_at == NOW + timedelta(minutes=1)
    await worker.clock.advance(minutes=1)
    assert [message.id for message in await worker.claim()] == [sent[1].id]


@pytest.mark.slow
async def test_a_long_queue_of_one_destination_holds_up_no_other(
    database: Database, profile: Profile
) -> None:
    """20,000 messages wait, and the next claim has what was just accepted for another."""
    worker = worker_of(database, profile)
    count = 20_000
    await fill(database, profile, count)
    assert len(await worker.claim_all()) == 1
    assert list((await queues_of(database)).values()).count(GMAIL.number) == count - 1
    [late] = await queue_messages(database, profile, "outlook.com")
    assert [message.id for message in await worker.claim()] == [late.id]
    assert await worker.claim() == []
    await worker.clock.advance(minutes=1)
    assert domains_of(await worker.claim()) == ["gmail.com"]


async def fill(database: Database, profile: Profile, count: int) -> None:
    """Queue so many messages to one destination: copies of one, made by the database."""
    made = await queued_message(
        database, profile, "ann@gmail.com", created_at=NOW - timedelta(hours=2)
    )
    number = select(literal(1).label("value")).cte("number", recursive=True)
    number = number.union_all(select(number.c.value + 1).where(number.c.value < count - 1))
    keys = ((messages, "id"), (message_contents, "message_id"), (recipients, "message_id"))
    async with database.transaction() as connection:
        for table, key in keys:
            copied_id = literal(made.id[:-6]) + cast(number.c.value, String)
            copies = [copied_id if column.name == key else column for column in table.c]
            query = select(*copies).join_from(table, number, true()).where(table.c[key] == made.id)
            await connection.execute(insert(table).from_select(list(table.c), query))


async def test_workers_share_the_limit_of_a_destination(
    database: Database, profile: Profile
) -> None:
    """Together they claim what it allows."""
    workers = [worker_of(database, profile) for _ in range(2)]
    async with database.transaction() as connection:
        for number in range(2):  # so that each has its share of the connections
            await record_heartbeat(
                connection, worker_id=f"wrk_{number}", hostname="", pid=1, started_at=NOW, now=NOW
            )
    await queue_messages(database, profile, *["gmail.com"] * 5)
    claimed = [message for worker in workers for message in await worker.claim_all()]
    assert len(claimed) == 1


async def test_a_message_to_several_destinations_goes_where_it_may(
    database: Database, profile: Profile
) -> None:
    """The other recipients stay as they are, and have it when their permit comes."""
    worker = worker_of(database, profile)
    await queue_messages(database, profile, "gmail.com")
    await worker.claim_all()
    to = ("ann@gmail.com", "bob@outlook.com", "eve@example.org")
    await queued_message(database, profile, *to)
    [message] = await worker.claim_all()
    assert allowed_addresses(message) == {"bob@outlook.com", "eve@example.org"}


async def test_a_message_that_no_destination_takes_waits_for_the_first_permit(
    database: Database,
) -> None:
    """No attempt is used. Those of a claim spread out, and none waits longer than 50 seconds."""
    limit = RateLimit(1, 20)
    changed = tuple(replace(destination, rate_limit=limit) for destination in (GMAIL, OUTLOOK))
    profile = await sandbox(database, destinations=changed)
    worker = worker_of(database, profile)
    await queue_messages(database, profile, "gmail.com", "outlook.com")
    await worker.claim_all()
    both = [
        await queued_message(database, profile, "ann@gmail.com", "bob@outlook.com")
        for _ in range(3)
    ]
    assert await worker.claim_all() == []
    async with database.reading() as connection:
        query = select(messages.c.due_at).where(messages.c.id.in_([message.id for message in both]))
        moments = sorted((await connection.execute(query)).scalars())
    assert moments == [NOW + timedelta(seconds=seconds) for seconds in (20, 40, 50)]


async def test_what_is_behind_messages_that_must_wait_is_looked_for_at_once(
    database: Database, profile: Profile
) -> None:
    """A claim that moves or delays messages wakes the next one; one that finds none does not."""
    worker = worker_of(database, profile)
    await queue_messages(database, profile, "gmail.com", "outlook.com")
    assert len(await worker.claim_all()) == 2
    for domains in (["gmail.com"], ["gmail.com", "outlook.com"]):  # moved, then delayed
        await queued_message(database, profile, *(f"ann@{domain}" for domain in domains))
        for is_woken in (True, False):
            worker.parts.wake.clear()
            assert await worker.claim() == []
            assert worker.parts.wake.is_set() is is_woken


async def test_a_limit_on_recipients_divides_a_message(database: Database) -> None:
    """As many have it as are allowed."""
    limit = RateLimit(None, 60, recipients=2)
    profile = await sandbox(database, destinations=(replace(GMAIL, rate_limit=limit),))
    worker = worker_of(database, profile)
    await queued_message(database, profile, *[f"{n}@gmail.com" for n in range(5)])
    [message] = await worker.claim_all()
    assert len(allowed_addresses(message)) == 2


@pytest.mark.parametrize("is_of_profile", [True, False])
async def test_a_ramp_allows_more_each_day(
    database: Database,
    is_of_profile: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """For a destination, and for a profile as a whole."""
    ramp = Destination(number=1, match=("gmail.com",), ramp=DAY_RAMP)
    profile = await sandbox(
        database, **({"ramp": DAY_RAMP} if is_of_profile else {"destinations": (ramp,)})
    )
    worker = worker_of(database, profile)
    for _ in range(20):
        await queued_message(database, profile, "ann@gmail.com", expires_at=NOW + timedelta(days=9))
    counts = []
    for _ in range(3):
        counts.append(len(await worker.claim_all()))
        await worker.clock.advance(days=1)
        worker.parts.leases.drop(list(await queues_of(database)))
        await finish_leased(database)
    assert counts == [2, 4, 8]


async def finish_leased(database: Database) -> None:
    """Take what was claimed out of the queue."""
    done = {"status": "sent", "lease_owner": None, "due_at": None, "finished_at": NOW}
    async with database.transaction() as connection:
        await connection.execute(
            update(messages).where(messages.c.lease_owner.is_not(None)).values(done)
        )


async def test_a_change_of_the_destinations_finds_them_anew(
    database: Database, profile: Profile
) -> None:
    """A worker that knows the former ones claims nothing until it has read them again."""
    worker = worker_of(database, profile)
    await queue_messages(database, profile, *["gmail.com"] * 3)
    assert len(await worker.claim_all()) == 1
    after = replace(profile, destinations=(replace(GMAIL, number=3, match=("example.org",)),))
    async with database.transaction() as connection:
        await profiles.update(
            connection,
            tenant_id=profile.tenant_id,
            profile_id=profile.id,
            changes={"name": "other"},
            now=NOW,
        )
        await change_destinations(connection, before=profile, after=after)
    assert set((await queues_of(database)).values()) == {0}
    assert await worker.claim() == []


async def test_without_destinations_nothing_waits(database: Database, profile: Profile) -> None:
    """Their messages are as those of any profile."""
    worker = worker_of(database, profile)
    await queue_messages(database, profile, *["gmail.com"] * 3)
    assert len(await worker.claim_all()) == 1
    async with database.transaction() as connection:
        after = replace(profile, destinations=())
        await change_destinations(connection, before=profile, after=after)
    worker.lane.reconfigure(LaneConfig(after, None))
    assert len(await worker.claim_all()) == 2


async def test_a_fallback_keeps_to_its_own_destinations(
    database: Database, profile: Profile
) -> None:
    """The messages of the other profile wait in their own queues."""
    limit = Destination(number=7, match=("example.org",), rate_limit=A_MINUTE)
    fallback = await sandbox(database, "fallback", destinations=(limit,))
    await queue_messages(database, profile, *["gmail.com"] * 3)
    assert len(await worker_of(database, profile).claim_all()) == 1
    await queue_messages(database, profile, *["example.org"] * 2)
    claimed = await worker_of(database, fallback).claim(profile)
    assert domains_of(claimed) == ["example.org", "gmail.com", "gmail.com"]


async def test_a_destination_that_limits_connections_goes_alone(database: Database) -> None:
    """Its server may be slow, so the other recipients of a message do not wait for it."""
    slow = Destination(number=1, match=("gmail.com",), max_connections=1)
    profile = await sandbox(database, destinations=(slow,))
    worker = worker_of(database, profile)
    await queued_message(database, profile, "ann@gmail.com", "eve@example.org")
    await queued_message(database, profile, "ann@gmail.com")
    claimed = {frozenset(allowed_addresses(message)): message for message in await worker.claim()}
    assert claimed.keys() == {frozenset({"eve@example.org"}), frozenset({"ann@gmail.com"})}
    assert claimed[frozenset({"ann@gmail.com"})].limited_destination == 1


async def test_a_slow_destination_takes_only_its_part_of_the_lane(database: Database) -> None:
    """The rest of the lane's room is for the others."""
    slow = Destination(number=1, match=("gmail.com",), max_connections=1)
    profile = await sandbox(database, destinations=(slow,), max_connections=2)
    worker = worker_of(database, profile)
    await queue_messages(database, profile, *["gmail.com"] * 30)
    claimed = await worker.claim()
    assert len(claimed) == 20
    worker.lane._queue.extend(claimed)  # noqa: SLF001 - as `take` does, but starts nothing
    [late] = await queue_messages(database, profile, "example.org")
    assert [message.id for message in await worker.claim()] == [late.id]


async def test_a_waiting_message_says_what_it_waits_for(
    database: Database, profile: Profile
) -> None:
    """The patterns of the destination, and when it has a permit."""
    worker = worker_of(database, profile)
    sent = await queue_messages(database, profile, *["gmail.com"] * 2)
    await worker.claim_all()
    assert (await queues_of(database))[sent[1].id] == GMAIL.number

    async def permits(tenant_id: str) -> dict[str, dict[int, DestinationPermit]]:
        async with database.reading() as connection:
            return await store.load_permits(
                connection, tenant_id=tenant_id, profile_ids=[profile.id], now=NOW
            )

    assert (await permits(profile.tenant_id))[profile.id] == {
        0: DestinationPermit((), NOW),
        1: DestinationPermit(("gmail.com",), NOW + timedelta(minutes=1)),
        2: DestinationPermit(("outlook.com",), NOW),
    }
    assert await permits("ten_other") == {}
