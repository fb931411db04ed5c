"""Claim due messages for lanes, in fair order."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.delivery.allowance import take_allowance
from app.delivery.lane import Lane, Results
from app.delivery.lane_config import ConfigMaker
from app.delivery.leases import Leases
from app.delivery.record import Recorder
from app.domain.clock import Clock
from app.domain.delivery.metrics import Facts
from app.domain.delivery.status import RecipientEvent
from app.domain.errors import SealError, Unavailable
from app.smtp.extensions import Distrust
from app.smtp.resolve import Network
from app.store import key_rotation as resealing
from app.store.db.engine import Database
from app.store.delivery import lanes, permits
from app.store.delivery.lanes import LaneDue
from app.store.outbox import queries as outbox
from app.store.outbox import results as outcomes
from app.store.outbox.queries import ClaimedMessage
from app.store.profiles import queries as profiles
from app.store.profiles.queries import DeliveryProfile

log = logging.getLogger(__name__)

# How soon a lane is looked at again whose due messages somebody else had locked.
CONTENDED: Final = timedelta(seconds=0.5)
# So many lanes, and messages, in one transaction: none of them keeps the others waiting for long.
FED_AT_ONCE: Final = 32
CLAIMED_AT_ONCE: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneParts:
    """What every lane is made with."""

    network: Network
    configs: ConfigMaker
    recorder: Recorder
    results: Results
    facts: Facts
    distrust: Distrust = field(default_factory=Distrust)


@dataclass(frozen=True, slots=True)
class Feed:
    """A profile's due messages, and the lane that gets them: its own or its fallback's."""

    lane: Lane
    source: LaneDue

    @property
    def is_probe(self) -> bool:
        """Whether one message probes if the profile works again."""
        return self.source.is_failing and self.source.profile_id == self.lane.profile_id

    @property
    def is_plain(self) -> bool:
        """Whether nothing bounds it but the room of the lane."""
        config = self.lane.config
        limits = (config.profile.rate_limit, config.tenant_rate_limit)
        is_own = self.source.profile_id == self.lane.profile_id
        return is_own and not self.is_probe and limits == (None, None)


def apart(feeds: Sequence[Feed]) -> Iterator[list[Feed]]:
    """Those that may be fed in one transaction, then each that needs one of its own.

    Locks on rates of several tenants would be taken in an order that other workers do not have.
    """
    plain = [each for each in feeds if each.is_plain]
    if plain:
        yield plain
    yield from ([each] for each in feeds if not each.is_plain)


class Claims:
    """Hands due messages to lanes, each as many as it can take now.

    `wake` is to be set when there may be something new: a message, room in a lane, a permit.
    Claims nothing while `is_backed_up()`: too many outcomes wait to be written. With `is_checked`,
    claims only what is due by the database's own time.
    """

    def __init__(
        self,
        database: Database,
        parts: LaneParts,
        *,
        leases: Leases,
        clock: Clock,
        poll_interval: timedelta,
        is_backed_up: Callable[[], bool],
        is_checked: bool = False,
    ) -> None:
        self.wake = asyncio.Event()
        self.lanes: dict[str, Lane] = {}
        self._is_stopping = False
        self._returning: set[asyncio.Task[None]] = set()
        self._database = database
        self._parts = parts
        self._leases = leases
        self._clock = clock
        self._poll_interval = poll_interval
        self._is_backed_up = is_backed_up
        self._is_checked = is_checked
        # On SQLite there is no other worker to share with.
        self._is_shared = database.is_postgresql

    def stop(self) -> None:
        """Stop claiming, and release messages of a claim in progress."""
        self._is_stopping = True
        self.wake.set()

    def is_over(self) -> bool:
        """Whether it was stopped."""
        return self._is_stopping

    async def look(self) -> None:
        """Feed every lane that has due work and room, then wait until the next look is due."""
        self.wake.clear()
        if self._leases.has_run_out:
            # The database was away: what is in hand is not to be claimed once more, by ourselves.
            await self._leases.renew()
        now = self._clock.now()
        health = {each: lane.health for each, lane in self.lanes.items()}
        async with self._database.reading() as connection:
            waiting = await lanes.waiting(connection, now=now)
        # Of a lane that has failed meanwhile, or whose fault is not written yet, it does not tell.
        told = {
            each: lane
            for each, lane in self.lanes.items()
            if lane.health == health[each] and not lane.is_halted
        }
        _note_backlogs(told, waiting, now)
        await self._leave_closed(waiting)
        is_contended = False
        ready = in_turn(each for each in waiting if each.is_open and is_ready(each, now))
        for start in range(0, len(ready), FED_AT_ONCE):
            for feeds in apart(await self._feeds(ready[start : start + FED_AT_ONCE], now)):
                if self._is_stopping or self._is_backed_up():
                    await self._wait(waiting, now, is_contended=is_contended)
                    return
                fed = await self._feed(feeds)
                if fed:
                    # Its next message, or its next permit, is due at a moment that is not known.
                    self.wake.set()
                is_contended = is_contended or fed < len(feeds)
        await self._wait(waiting, now, is_contended=is_contended)

    async def _wait(self, waiting: Iterable[LaneDue], now: datetime, *, is_contended: bool) -> None:
        if not self._is_stopping:
            until = self._next_look(waiting, now, is_contended=is_contended)
            await self._clock.wait(self.wake, until)

    def direct_lane(self, profile_id: str) -> Lane | None:
        """The lane that may take a message before it is in any queue, if there is one."""
        lane = self.lanes.get(profile_id)
        if lane is None or not lane.is_direct or self._is_stopping or self._is_backed_up():
            return None
        limits = (lane.config.profile.rate_limit, lane.config.tenant_rate_limit)
        return lane if limits == (None, None) else None

    def take(self, lane: Lane, messages: Sequence[ClaimedMessage]) -> None:
        """Give a lane what is leased, or give it back where the lane can no longer begin on it."""
        is_gone = self.lanes.get(lane.profile_id) is not lane
        if self._is_stopping or lane.is_halted or lane.has_failed or is_gone:
            returning = asyncio.create_task(self.give_back([each.id for each in messages]))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)
        else:
            lane.take(messages)

    async def wait_returned(self) -> None:
        """Return after all messages that will not start are released."""
        await asyncio.gather(*self._returning)

    def _next_look(
        self, waiting: Iterable[LaneDue], now: datetime, *, is_contended: bool
    ) -> datetime:
        moments = [
            moment
            for each in waiting
            if each.is_open
            for moment in (each.due_at, each.fallback_at)
            if moment is not None and moment > now
        ]
        moments.append(now + (CONTENDED if is_contended else self._poll_interval))
        return min(moments)

    async def give_back(self, message_ids: Iterable[str]) -> None:
        """Release messages that were not begun."""
        try:
            await self._leases.release(message_ids)
        except Unavailable:
            log.warning("could not release messages; their leases will expire")

    async def _leave_closed(self, waiting: Iterable[LaneDue]) -> None:
        """Give back what waits for profiles that were paused or deleted; forget idle lanes."""
        for due in waiting:
            lane = self.lanes.get(due.profile_id)
            if not due.is_open and lane is not None:
                await self.give_back(lane.drop_queue())
        working = {due.profile_id for due in waiting}
        for profile_id, lane in list(self.lanes.items()):
            if lane.is_idle and profile_id not in working:
                del self.lanes[profile_id]
                await self._return_connections(profile_id)

    async def _return_connections(self, profile_id: str) -> None:
        if self._is_shared:
            async with self._database.transaction() as connection:
                await permits.return_connections(
                    connection, worker_id=self._leases.owner, profile_id=profile_id
                )

    async def _feeds(self, ready: Iterable[LaneDue], now: datetime) -> list[Feed]:
        """Choose the lanes for due messages."""
        pairs = [(due, await self._sender(due, now)) for due in ready]
        known = await self._lanes_of([sender for _, sender in pairs if sender is not None])
        feeds = [
            Feed(known[sender.profile_id], due)
            for due, sender in pairs
            if sender is not None and sender.profile_id in known
        ]
        return [each for each in feeds if each.lane.may_ask]

    async def _sender(self, due: LaneDue, now: datetime) -> LaneDue | None:
        """Choose who sends due messages: the profile, its fallback, or None for now."""
        if due.due_at <= now or due.fallback_profile_id is None:
            return due
        async with self._database.reading() as connection:
            fallback = await lanes.find(connection, profile_id=due.fallback_profile_id, now=now)
        may_send = fallback.is_open and not fallback.is_failing and fallback.due_at <= now
        return fallback if may_send else None

    async def _lanes_of(self, dues: Iterable[LaneDue]) -> dict[str, Lane]:
        """The profiles' lanes at their current revisions, but for those that have just gone."""
        known, unknown = dict[str, Lane](), list[LaneDue]()
        for due in dues:
            lane = self.lanes.get(due.profile_id)
            if lane is not None and lane.config.profile.revision == due.revision:
                known[due.profile_id] = lane
            else:
                unknown.append(due)
        if not unknown:
            return known
        async with self._database.reading() as connection:
            ids = [each.profile_id for each in unknown]
            found = await profiles.of_lanes(connection, profile_ids=ids)
        for due in unknown:
            if (of_due := found.get(due.profile_id)) is not None:
                known[due.profile_id] = await self._configured(due, of_due)
        return known

    async def _configured(self, due: LaneDue, found: DeliveryProfile) -> Lane:
        """A lane that works by what was just read of its profile."""
        parts, config = self._parts, self._parts.configs.config(found)
        if parts.configs.is_stale(found):
            await self._reseal(due)
        lane = self.lanes.get(due.profile_id)
        if lane is not None:
            lane.reconfigure(config)
            return lane
        lane = Lane(
            config,
            network=parts.network,
            recorder=parts.recorder,
            results=parts.results,
            distrust=parts.distrust,
        )
        if self._is_shared:
            lane.granted = 0  # until it has asked
        self.lanes[due.profile_id] = lane
        return lane

    async def _reseal(self, due: LaneDue) -> None:
        """Encrypt used credentials with the newest key; log those that cannot be decrypted."""
        try:
            async with self._database.transaction() as connection:
                await resealing.reseal_profile(
                    connection,
                    self._parts.configs.vault,
                    tenant_id=due.tenant_id,
                    profile_id=due.profile_id,
                )
        except (SealError, Unavailable) as error:
            log.warning("credentials still encrypted with an older key: %s", error)

    async def _feed(self, feeds: Sequence[Feed]) -> int:
        """Claim what lanes can take, in one transaction; return how many lanes got messages."""
        now = self._clock.now()
        until = now + self._leases.length
        granted = {each.lane: each.lane.granted for each in feeds}
        try:
            async with self._database.transaction() as connection:
                claimed = await self._claim(connection, feeds, now=now, until=until)
        except BaseException:
            for lane, connections in granted.items():
                lane.granted = connections  # nothing of it was written
            raise
        self._leases.add((each.id for each in claimed), until)
        by_source = defaultdict[str, list[ClaimedMessage]](list)
        for each in claimed:
            by_source[each.profile_id].append(each)
        for feed in feeds:
            await self._give(feed, by_source[feed.source.profile_id])
        return sum(map(bool, by_source.values()))

    async def _give(self, feed: Feed, claimed: Sequence[ClaimedMessage]) -> None:
        """Hand a lane what was claimed for it, or give that back where it cannot begin any more."""
        lane = feed.lane
        if lane.granted == 0:
            await self.give_back(lane.drop_queue())
        if claimed:
            self._parts.facts.group("claim", len(claimed))
        if self._is_stopping or lane.is_halted:
            await self.give_back([each.id for each in claimed])
        elif claimed:
            lane.probe = claimed[0].id if feed.is_probe else None
            lane.take(claimed)

    async def _ask_for_connections(
        self, connection: AsyncConnection, feeds: Sequence[Feed], *, now: datetime, until: datetime
    ) -> None:
        granted = await permits.lease_connections(
            connection,
            most={e.lane.profile_id: e.lane.config.profile.max_connections for e in feeds},
            worker_id=self._leases.owner,
            now=now,
            until=until,
        )
        for each in feeds:
            each.lane.granted = granted[each.lane.profile_id]

    async def _claim(
        self, connection: AsyncConnection, feeds: Sequence[Feed], *, now: datetime, until: datetime
    ) -> list[ClaimedMessage]:
        """Lease what rate and time allow; what is past its time is ended here instead."""
        able = list[Feed]()
        for each in feeds:
            source = each.source.profile_id
            if not each.is_probe or await lanes.take_probe(
                connection, profile_id=source, now=now, until=until
            ):
                able.append(each)
        if self._is_shared:
            await self._ask_for_connections(connection, able, now=now, until=until)
        # They may have failed since this round looked; from here on that waits.
        own = [each.lane.profile_id for each in able if not each.is_probe]
        failing = await lanes.failing(connection, profile_ids=own)
        able = [each for each in able if each.is_probe or each.lane.profile_id not in failing]
        if all(each.is_plain for each in able):
            return await self._claim_plain(connection, able, now=now, until=until)
        [feed] = able
        return await self._claim_counted(connection, feed, now=now, until=until)

    async def _claim_plain(
        self, connection: AsyncConnection, feeds: Sequence[Feed], *, now: datetime, until: datetime
    ) -> list[ClaimedMessage]:
        """Lease what is due of several profiles that nothing bounds but the room of their lanes."""
        at_most = max(1, CLAIMED_AT_ONCE // max(1, len(feeds)))
        wants = [
            outbox.Want(each.lane.profile_id, min(each.lane.room, at_most), each.lane.room_bytes)
            for each in feeds
            if each.lane.room
        ]
        if not wants:
            return []
        claimed = await outbox.claim_of_many(
            connection,
            wants,
            owner=self._leases.owner,
            now=now,
            lease_until=until,
            is_checked=self._is_checked,
        )
        return await self._live(connection, claimed, now)

    async def _claim_counted(
        self, connection: AsyncConnection, feed: Feed, *, now: datetime, until: datetime
    ) -> list[ClaimedMessage]:
        """Lease what is due of one profile, as far as its rates allow and its probe goes."""
        lane, source = feed.lane, feed.source.profile_id
        allowance = await take_allowance(connection, lane.config, now=now)
        limit = min(lane.room, allowance.messages, 1 if feed.is_probe else lane.room)
        if limit == 0:
            return []
        claimed = await outbox.claim(
            connection,
            profile_id=source,
            owner=self._leases.owner,
            limit=limit,
            now=now,
            lease_until=until,
            max_bytes=lane.room_bytes,
            max_recipients=allowance.recipients,
            # Where the profile's own server may have a message, another one must not get it too.
            is_known=source != lane.profile_id,
            is_checked=self._is_checked,
        )
        live = await self._live(connection, claimed, now)
        await allowance.spend(connection, live)
        return live

    async def _live(
        self, connection: AsyncConnection, claimed: Iterable[ClaimedMessage], now: datetime
    ) -> list[ClaimedMessage]:
        """Answer what to send, opened; end the rest, and skip what is in hand already."""
        open_content = self._parts.configs.vault.open_content
        claimed = [each.opened(open_content) for each in claimed if each.id not in self._leases]
        # Who held a message before and stopped may have sent it: that is told (invariant 5).
        lost = [self._parts.recorder.taken_over(each) for each in claimed if each.former_owner]
        await outcomes.note(connection, lost)
        self._parts.facts.takeovers(len(lost))
        late = [each.id for each in claimed if each.expires_at <= now]
        await outcomes.finish_open(
            connection, message_ids=late, event=RecipientEvent.EXPIRE, now=now
        )
        decided = [each.id for each in claimed if not any(to.is_open for to in each.recipients)]
        await outcomes.close(connection, message_ids=decided, now=now)
        over = {*late, *decided}
        return [each for each in claimed if each.id not in over]


def _note_backlogs(
    lanes_by_profile: Mapping[str, Lane], waiting: Iterable[LaneDue], now: datetime
) -> None:
    """Note which of these lanes have nothing due, and nothing in the way of what comes."""
    known = {due.profile_id: due for due in waiting}
    for profile_id, lane in lanes_by_profile.items():
        due = known.get(profile_id)
        is_sound = due is None or (due.is_open and not due.is_failing)
        lane.is_direct = is_sound and (due is None or due.due_at > now)
        lane.has_failed = lane.has_failed and not is_sound
        if due is not None:
            lane.note_stall(is_stalled=due.is_stalled)


def is_ready(due: LaneDue, now: datetime) -> bool:
    """Whether a lane or its fallback can start a message now."""
    return due.due_at <= now or due.wants_fallback(now)


def in_turn(waiting: Iterable[LaneDue]) -> list[LaneDue]:
    """Round robin over tenants: the first lane of each, then the second of each, soonest first."""
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, datetime, LaneDue]] = []
    for due in sorted(waiting, key=lambda each: each.due_at):
        ranked.append((seen[due.tenant_id], due.due_at, due))
        seen[due.tenant_id] += 1
    return [due for *_, due in sorted(ranked, key=lambda each: each[:2])]
