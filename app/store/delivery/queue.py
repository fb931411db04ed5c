"""Read the state of the queue: what waits, for whom, and how fast it leaves.

No statement reads history. Each counts up to a limit, so a long queue does not slow it down.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Row,
    ScalarSelect,
    Select,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.ids import first_id
from app.domain.outcome.outcome import Verdict
from app.domain.types import LaneHealth, MessageStatus, ProfileState, profile_state
from app.store.delivery import lanes as waiting_lanes
from app.store.delivery.gauges import build_status
from app.store.delivery.workers import build_count
from app.store.profiles.queries import HEALTH_COLUMNS, build_health
from app.store.tables.core import (
    UNFINISHED,
    attempts,
    destination_buckets,
    lanes,
    messages,
    profiles,
    tenants,
)

T = TypeVar("T")

MAX_MESSAGES: Final = 100_000
MAX_PROFILE_MESSAGES: Final = 10_000
MAX_ATTEMPTS: Final = 20_000
_IS_WAITING: Final = messages.c.due_at.is_not(None)


@frozen_dataclass(kw_only=True)
class QueueScope:
    """Whose messages to read: of one tenant, or of all; of these profiles, or of all."""

    tenant_id: str | None
    profile_ids: Sequence[str] | None = None


class QueueDepth(NamedTuple):
    """Unfinished messages by status, how many of them are due, and whether these are all."""

    counts: Mapping[MessageStatus, int]
    due: int
    is_complete: bool


@frozen_dataclass(kw_only=True)
class QueueMoments:
    """When the oldest message was accepted, when the next attempt is due; the live workers."""

    oldest_at: datetime | None
    next_attempt_at: datetime | None
    workers: int


@frozen_dataclass(kw_only=True)
class Throughput:
    """Recent attempts by verdict, of each profile; the last `MAX_ATTEMPTS` since a moment."""

    since: datetime
    attempts: Mapping[str, Mapping[Verdict, int]]


@frozen_dataclass(kw_only=True)
class QueueProfile:
    """A profile with waiting messages or a fault.

    Counts go up to `MAX_PROFILE_MESSAGES`. Its first message has been due since `due_since`.
    """

    id: str
    name: str
    tenant_id: str
    tenant: str
    paused_at: datetime | None
    health: LaneHealth
    messages: int
    due: int
    due_since: datetime | None
    next_attempt_at: datetime | None

    @property
    def place(self) -> "QueuePlace":
        return QueuePlace(has_fault=self.has_fault, id=self.id)

    @property
    def has_fault(self) -> bool:
        """Whether it is failing or stalled."""
        return self.health.failing_since is not None or self.health.stalled_since is not None

    @property
    def state(self) -> ProfileState:
        return profile_state(self.paused_at, self.health)


class QueuePlace(NamedTuple):
    """A place in the list of profiles, where those with a fault come first."""

    has_fault: bool
    id: str


async def load_depth(
    connection: AsyncConnection,
    scope: QueueScope,
    now: datetime,
    *,
    limit: int = MAX_MESSAGES,
) -> QueueDepth:
    """Count the scope's messages among the `limit` oldest unfinished ones of its tenant.

    Of all tenants: among the first `limit` in the order of tenants.
    """
    rows = select(
        messages.c.profile_id, messages.c.status, messages.c.send_at, messages.c.due_at
    ).where(UNFINISHED)
    if scope.tenant_id is not None:
        rows = rows.where(messages.c.tenant_id == scope.tenant_id)
    # Limited before the choice of profiles: one with few messages would cost the whole queue.
    oldest = rows.order_by(messages.c.tenant_id, messages.c.id).limit(limit).subquery()
    is_of_profiles: ColumnElement[bool] = true()
    if scope.profile_ids is not None:
        is_of_profiles = oldest.c.profile_id.in_(scope.profile_ids)
    status = build_status(oldest, now)
    query = select(
        status,
        func.count().filter(is_of_profiles),
        func.count().filter(is_of_profiles, oldest.c.due_at <= now),
        func.count(),
    ).group_by(status)
    count_rows = (await connection.execute(query)).all()
    return QueueDepth(
        {MessageStatus(name): count for name, count, _, _ in count_rows if count},
        due=sum(due for _, _, due, _ in count_rows),
        is_complete=sum(total for *_, total in count_rows) < limit,
    )


async def load_moments(
    connection: AsyncConnection, scope: QueueScope, *, now: datetime, alive_since: datetime
) -> QueueMoments:
    """Load the ages of the queue, with an index probe per tenant and per profile at work."""
    query = select(
        _find_oldest(scope),
        _find_next_attempt(scope, now),
        build_count(since=alive_since).scalar_subquery(),
    )
    oldest_at, next_attempt_at, alive = (await connection.execute(query)).one()
    return QueueMoments(oldest_at=oldest_at, next_attempt_at=next_attempt_at, workers=alive)


def _find_oldest(scope: QueueScope) -> ScalarSelect[datetime]:
    """Build the query for the first acceptance: of each tenant's first message, by its id."""
    first = select(messages.c.created_at).where(
        UNFINISHED, *_of_scope(scope, messages.c.tenant_id, messages.c.profile_id)
    )
    first = first.order_by(messages.c.id).limit(1)
    if scope.tenant_id is not None:
        return first.scalar_subquery()
    waiting_tenants = _list_waiting_tenants()
    first = first.where(messages.c.tenant_id == waiting_tenants.c.tenant_id)
    oldest_at = first.correlate(waiting_tenants).scalar_subquery()
    return select(func.min(oldest_at)).select_from(waiting_tenants).scalar_subquery()


def _list_waiting_tenants() -> CTE:
    """Build the recursive query for tenants with unfinished messages, one index probe each."""
    first = select(func.min(messages.c.tenant_id).label("tenant_id")).where(UNFINISHED)
    waiting_tenants = first.cte("waiting_tenants", recursive=True)
    following = select(func.min(messages.c.tenant_id)).where(
        UNFINISHED, messages.c.tenant_id > waiting_tenants.c.tenant_id
    )
    return waiting_tenants.union_all(
        select(following.scalar_subquery()).where(waiting_tenants.c.tenant_id.is_not(None))
    )


def _find_next_attempt(scope: QueueScope, now: datetime) -> ScalarSelect[datetime]:
    """Build the query for the next due time of all profiles in the scope."""
    if scope.tenant_id is None:
        at_work = waiting_lanes.list_at_work()
        return (
            select(func.min(_next_attempt_at(at_work.c.profile_id, now)))
            .select_from(at_work)
            .scalar_subquery()
        )
    return (
        select(func.min(_next_attempt_at(profiles.c.id, now)))
        .where(*_of_scope(scope, profiles.c.tenant_id, profiles.c.id))
        .scalar_subquery()
    )


async def load_throughput(
    connection: AsyncConnection, scope: QueueScope, *, since: datetime
) -> Throughput:
    """Count the attempts that ended since a moment, or the last `MAX_ATTEMPTS` of them."""
    recent = (
        select(
            attempts.c.tenant_id, attempts.c.profile_id, attempts.c.verdict, attempts.c.started_at
        )
        .where(attempts.c.id >= first_id("att", since))
        .order_by(attempts.c.id.desc())
        .limit(MAX_ATTEMPTS)
        .cte("recent")
    )
    total = select(func.count()).select_from(recent).scalar_subquery()
    earliest = select(func.min(recent.c.started_at)).scalar_subquery()
    query = (
        select(recent.c.profile_id, recent.c.verdict, func.count(), total, earliest)
        .where(*_of_scope(scope, recent.c.tenant_id, recent.c.profile_id))
        .group_by(recent.c.profile_id, recent.c.verdict)
    )
    counts: dict[str, dict[Verdict, int]] = {}
    start = since
    for profile_id, verdict, count, scanned, earliest_at in await connection.execute(query):
        counts.setdefault(profile_id, {})[Verdict(verdict)] = count
        if scanned == MAX_ATTEMPTS:
            start = max(since, earliest_at)
    return Throughput(since=start, attempts=counts)


async def page_profiles(
    connection: AsyncConnection,
    scope: QueueScope,
    *,
    now: datetime,
    limit: int,
    after: QueuePlace | None = None,
) -> list[QueueProfile]:
    """Return profiles with waiting messages or a fault: those with a fault first, then by id."""
    rank = case(
        (or_(lanes.c.failing_since.is_not(None), lanes.c.stalled_since.is_not(None)), 0), else_=1
    )
    query = (
        select(profiles.c.id, rank.label("rank"))
        .join(lanes, lanes.c.profile_id == profiles.c.id)
        .where(
            profiles.c.deleted_at.is_(None),
            *_of_scope(scope, profiles.c.tenant_id, profiles.c.id),
            or_(rank == 0, exists().where(messages.c.profile_id == profiles.c.id, _IS_WAITING)),
        )
        .order_by(rank, profiles.c.id)
        .limit(limit)
    )
    if after is not None:
        after_rank = 0 if after.has_fault else 1
        query = query.where(
            or_(rank > after_rank, and_(rank == after_rank, profiles.c.id > after.id))
        )
    rows = (await connection.execute(_describe_profiles(query, now))).all()
    return [_build_profile(row) for row in rows]


def _describe_profiles(page: Select[Any], now: datetime) -> Select[Any]:
    """Build the query for the profiles of a page; counts cost up to their limit each."""
    ids = page.subquery("page")
    due = messages.c.due_at <= now
    return (
        select(
            profiles.c.id,
            profiles.c.name,
            profiles.c.tenant_id,
            tenants.c.slug.label("tenant"),
            profiles.c.paused_at,
            *HEALTH_COLUMNS,
            _count_messages(ids.c.id).label("messages"),
            _count_messages(ids.c.id, due).label("due"),
            _first_due_at(ids.c.id, due).label("due_since"),
            _next_attempt_at(ids.c.id, now).label("next_attempt_at"),
        )
        .select_from(ids)
        .join(profiles, profiles.c.id == ids.c.id)
        .join(lanes, lanes.c.profile_id == ids.c.id)
        .join(tenants, tenants.c.id == profiles.c.tenant_id)
        .order_by(ids.c.rank, ids.c.id)
    )


def _over_queues(
    profile_id: ColumnElement[str],
    aggregate: Callable[[ColumnElement[Any]], ColumnElement[T]],
    build: Callable[[ColumnElement[int]], ScalarSelect[T]],
) -> ColumnElement[T]:
    """Aggregate over the queues of a profile's destinations; without any, there is only queue 0.

    The index of what waits is in order of time within each queue.
    """
    of_destinations = (
        select(aggregate(build(destination_buckets.c.number)))
        .where(destination_buckets.c.profile_id == profile_id)
        .correlate_except(destination_buckets)
        .scalar_subquery()
    )
    return func.coalesce(of_destinations, build(literal_column("0", Integer())))


def _waits(
    profile_id: ColumnElement[str], number: ColumnElement[int]
) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions of the index over what waits."""
    return (
        messages.c.profile_id == profile_id,
        messages.c.destination == number,
        _IS_WAITING,
    )


def _count_messages(
    profile_id: ColumnElement[str], *conditions: ColumnElement[bool]
) -> ColumnElement[int]:
    def count(number: ColumnElement[int]) -> ScalarSelect[int]:
        counted = (
            select(messages.c.id)
            .where(*_waits(profile_id, number), *conditions)
            .limit(MAX_PROFILE_MESSAGES)
            .correlate_except(messages)
            .subquery()
        )
        return select(func.count()).select_from(counted).scalar_subquery()

    return _over_queues(profile_id, func.sum, count)


def _first_due_at(
    profile_id: ColumnElement[str], *conditions: ColumnElement[bool]
) -> ColumnElement[datetime]:
    def find(number: ColumnElement[int]) -> ScalarSelect[datetime]:
        return (
            select(messages.c.due_at)
            .where(*_waits(profile_id, number), *conditions)
            .order_by(messages.c.due_at)
            .limit(1)
            .correlate_except(messages)
            .scalar_subquery()
        )

    return _over_queues(profile_id, func.min, find)


def _next_attempt_at(profile_id: ColumnElement[str], now: datetime) -> ColumnElement[datetime]:
    """Build the query for the next due time of a profile; a leased message has its lease's end."""
    return _first_due_at(profile_id, messages.c.due_at > now, messages.c.lease_owner.is_(None))


def _build_profile(row: Row[*tuple[Any, ...]]) -> QueueProfile:
    mapping = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    return QueueProfile(
        id=mapping["id"],
        name=mapping["name"],
        tenant_id=mapping["tenant_id"],
        tenant=mapping["tenant"],
        paused_at=mapping["paused_at"],
        health=build_health(mapping),
        messages=min(MAX_PROFILE_MESSAGES, int(mapping["messages"])),
        due=min(MAX_PROFILE_MESSAGES, int(mapping["due"])),
        due_since=mapping["due_since"],
        next_attempt_at=mapping["next_attempt_at"],
    )


def _of_scope(
    scope: QueueScope,
    tenant_id: ColumnElement[str],
    profile_id: ColumnElement[str],
) -> Iterator[ColumnElement[bool]]:
    if scope.tenant_id is not None:
        yield tenant_id == scope.tenant_id
    if scope.profile_ids is not None:
        yield profile_id.in_(scope.profile_ids)


async def find_undelivered(
    connection: AsyncConnection, *, now: datetime, alive_since: datetime
) -> datetime | None:
    """Return since when mail has been due, if no worker is alive; otherwise None.

    Paused profiles do not count.
    """
    if (await connection.execute(build_count(since=alive_since))).scalar_one():
        return None
    waiting = await waiting_lanes.load_waiting(connection, now=now)
    moments = (lane.message_due_at for lane in waiting if lane.is_open)
    return min((moment for moment in moments if moment is not None and moment <= now), default=None)
