"""Read the pending work of lanes, and reserve failing ones for probes."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Row,
    RowMapping,
    ScalarSelect,
    Select,
    Table,
    Text,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.due_ranges import DueRange
from app.domain.delivery.token_bucket import Bucket, next_permit_at, refill
from app.domain.frozen_dataclass import frozen_dataclass
from app.store.db.array_params import any_of, expect_few, unnest_records
from app.store.db.column_types import Instant
from app.store.delivery import destinations
from app.store.delivery.clamping import LONGEST_LEASE, TOLERANCE
from app.store.delivery.destinations import WaitingQueue
from app.store.tables.core import lanes, messages, profiles, tenant_buckets, tenants
from app.store.tables.rate_columns import build_rate_limit, label_rate_columns

# Probes are planned, and lanes reserved for them, at most this far ahead. A later time comes from a
# clock that was ahead, and the probe is due.
LONGEST_PROBE: Final = LONGEST_LEASE + TOLERANCE


@frozen_dataclass(kw_only=True)
class WaitingLane:
    """A lane with unfinished messages; `due_at` is when it may next claim one.

    The profile of a lane that is not `is_open` is paused or deleted. `message_due_at` is when its
    next message is due, whatever blocks the lane; from `fallback_at` on, another profile may send
    it. Both may be None. `queues` are those with due messages, if the profile has destinations.
    """

    profile_id: str
    tenant_id: str
    revision: int
    is_open: bool
    is_failing: bool
    due_at: datetime
    is_stalled: bool = False
    message_due_at: datetime | None = None
    fallback_profile_id: str | None = None
    fallback_at: datetime | None = None
    queues: tuple[int, ...] = ()

    def needs_fallback(self, now: datetime) -> bool:
        """Whether the lane has failed so long that the fallback profile sends."""
        return (
            self.fallback_at is not None
            and self.fallback_at <= now
            and self.message_due_at is not None
            and self.message_due_at <= now
        )


async def load_waiting(
    connection: AsyncConnection,
    *,
    now: datetime,
    ranges: Mapping[str, Sequence[DueRange]] | None = None,
) -> list[WaitingLane]:
    """Load all lanes with unfinished messages, soonest first.

    Costs two index probes per lane, independent of the queue's length and of idle profiles. On
    PostgreSQL, `ranges` are the due times to read of some profiles: their other messages remain
    unseen. Of the other profiles, it then loads at least one with unfinished messages, if any.
    """
    statement = _WAITING if ranges is None else _WAITING_IN_RANGES
    parameters = None if ranges is None else _build_parameters(ranges)
    rows = (await connection.execute(statement, parameters)).all()
    queues = await destinations.load_waiting(
        connection, profile_ids=[row.id for row in rows if row.has_destinations], now=now
    )
    due_lanes = [
        _lane(row, now, queues.get(row.id, ()))
        for row in rows
        if row.soonest is not None or queues.get(row.id)
    ]
    return sorted(due_lanes, key=lambda lane: lane.due_at)


async def find(connection: AsyncConnection, *, profile_id: str, now: datetime) -> WaitingLane:
    """Load a lane for the messages of another profile: it is due whatever its own are."""
    row = (await connection.execute(_QUERY.where(profiles.c.id == profile_id))).one()
    return _lane(row, now, has_own_messages=False)


def _build_parameters(ranges: Mapping[str, Sequence[DueRange]]) -> dict[str, Any]:
    """Return the ranges, and the gaps between the ids of their profiles."""
    range_rows = [
        {"profile_id": profile_id, "lower": due_range.lower, "upper": due_range.upper}
        for profile_id, due_ranges in ranges.items()
        for due_range in due_ranges
    ]
    ids = sorted(ranges)
    gaps = zip(["", *ids], [*ids, _BEHIND_ALL_IDS], strict=True)
    gap_rows = [{"after_id": after_id, "before_id": before_id} for after_id, before_id in gaps]
    return {"ranges": range_rows, "gaps": gap_rows}


_BEHIND_ALL_IDS: Final = "~"


def _find_soonest(
    profile_id: ColumnElement[str], *conditions: ColumnElement[bool]
) -> ScalarSelect[datetime]:
    """Build the query for when the first message of a profile's queue 0 is due."""
    return (
        select(func.min(messages.c.due_at))
        .where(
            messages.c.profile_id == profile_id,
            messages.c.destination == literal_column("0"),
            messages.c.due_at.is_not(None),
            *conditions,
        )
        .correlate_except(messages)
        .scalar_subquery()
    )


def limit_columns(table: Table, bucket: Table, prefix: str) -> list[ColumnElement[Any]]:
    """Label the columns of a rate limit and its bucket with a prefix."""
    return [
        *label_rate_columns(table, prefix),
        bucket.c.tokens.label(f"{prefix}tokens"),
        bucket.c.tokens_at.label(f"{prefix}tokens_at"),
    ]


def _build_query(soonest: ColumnElement[datetime]) -> Select[Any]:
    return (
        select(
            profiles.c.id,
            profiles.c.tenant_id,
            profiles.c.revision,
            profiles.c.paused_at,
            profiles.c.deleted_at,
            profiles.c.fallback_profile_id,
            profiles.c.fallback_after_seconds,
            lanes.c.failing_since,
            lanes.c.next_probe_at,
            lanes.c.stalled_since,
            soonest.label("soonest"),
            lanes.c.has_destinations,
            *limit_columns(profiles, lanes, "profile_"),
            *limit_columns(tenants, tenant_buckets, "tenant_"),
        )
        .join(lanes, lanes.c.profile_id == profiles.c.id)
        .join(tenants, tenants.c.id == profiles.c.tenant_id)
        .join(tenant_buckets, tenant_buckets.c.tenant_id == tenants.c.id, isouter=True)
    )


_QUERY: Final = _build_query(_find_soonest(profiles.c.id))


def list_at_work() -> CTE:
    """Build the recursive query for profiles with unfinished messages, one index probe each."""
    first_profile_id = select(func.min(messages.c.profile_id).label("profile_id"))
    at_work = first_profile_id.where(messages.c.due_at.is_not(None)).cte("at_work", recursive=True)
    later_messages = messages.alias()
    next_profile_id = select(func.min(later_messages.c.profile_id)).where(
        later_messages.c.due_at.is_not(None), later_messages.c.profile_id > at_work.c.profile_id
    )
    return at_work.union_all(
        select(next_profile_id.scalar_subquery()).where(at_work.c.profile_id.is_not(None))
    )


_AT_WORK: Final = list_at_work()
_WAITING: Final = _QUERY.join(_AT_WORK, _AT_WORK.c.profile_id == profiles.c.id)


def _build_waiting_in_ranges() -> Select[Any]:
    """Build the query for profiles with ranges, and for the first at work in each gap.

    A probe of a gap starts behind all entries of the profile before it, dead ones too.
    """
    ranges = unnest_records(
        "ranges", column("profile_id", Text()), column("lower", Instant), column("upper", Instant)
    )
    in_range = messages.c.due_at.between(ranges.c.lower, ranges.c.upper)
    known = select(
        ranges.c.profile_id, _find_soonest(ranges.c.profile_id, in_range).label("soonest")
    ).where(expect_few(ranges.c.profile_id))
    gaps = unnest_records("gaps", column("after_id", Text()), column("before_id", Text()))
    first_in_gap = (
        select(func.min(messages.c.profile_id))
        .where(
            messages.c.profile_id > gaps.c.after_id,
            messages.c.profile_id < gaps.c.before_id,
            messages.c.due_at.is_not(None),
        )
        .correlate_except(messages)
        .scalar_subquery()
    )
    unknown = (
        select(first_in_gap.label("profile_id"))
        .select_from(gaps)
        .cte("unknown")
        .prefix_with("MATERIALIZED")
    )
    first_messages = select(
        unknown.c.profile_id, _find_soonest(unknown.c.profile_id).label("soonest")
    ).where(unknown.c.profile_id.is_not(None))
    moments = union_all(known, first_messages).subquery("moments")
    at_work = (
        select(moments.c.profile_id, func.min(moments.c.soonest).label("soonest"))
        .group_by(moments.c.profile_id)
        .subquery("at_work")
    )
    query = _build_query(at_work.c.soonest)
    return query.join(at_work, at_work.c.profile_id == profiles.c.id)


_WAITING_IN_RANGES: Final = _build_waiting_in_ranges()


def _lane(
    row: Row[*tuple[Any, ...]],
    now: datetime,
    queues: Sequence[WaitingQueue] = (),
    *,
    has_own_messages: bool = True,
) -> WaitingLane:
    # With ten thousand lanes, unpacking a row costs a tenth of access by name.
    profile_id, tenant_id, revision, paused_at, deleted_at, *health, soonest = row[:_OF_LANE]
    fallback_profile_id, fallback_after_seconds, failing_since, next_probe_at, stalled_since = (
        health
    )
    fallback_at = None
    if failing_since is not None and fallback_profile_id is not None:
        fallback_at = failing_since + timedelta(seconds=fallback_after_seconds)
    moments: list[datetime] = [soonest if has_own_messages and soonest else now]
    if queues:
        soonest = min(queue.message_due_at for queue in queues)
        moments = [min(queue.due_at for queue in queues)]
    if next_probe_at is not None and next_probe_at <= now + LONGEST_PROBE:
        moments.append(next_probe_at)
    if any(row[_OF_LANE + 1 :]):
        moments += _permits_at(row, now)
    return WaitingLane(
        profile_id=profile_id,
        tenant_id=tenant_id,
        revision=revision,
        is_open=paused_at is None and deleted_at is None,
        is_failing=failing_since is not None,
        is_stalled=stalled_since is not None,
        due_at=max(moments),
        message_due_at=soonest,
        fallback_profile_id=fallback_profile_id,
        fallback_at=fallback_at,
        queues=tuple(queue.number for queue in queues if queue.message_due_at <= now),
    )


_OF_LANE: Final = 11


def _permits_at(row: Row[*tuple[Any, ...]], now: datetime) -> Iterator[datetime]:
    """Yield when each rate limit of the lane next has a permit."""
    mapping = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    for prefix in ("profile_", "tenant_"):
        if (permit_at := find_permit_time(mapping, prefix, now)) is not None:
            yield permit_at


def find_permit_time(row: RowMapping, prefix: str, now: datetime) -> datetime | None:
    """Return when a rate limit of `limit_columns` next has a permit; None without a limit."""
    limit, tokens = build_rate_limit(row, prefix), row[f"{prefix}tokens"]
    if limit is None or tokens is None:
        return None
    return next_permit_at(refill(Bucket(tokens, row[f"{prefix}tokens_at"]), limit, now), limit)


async def load_failing(connection: AsyncConnection, *, profile_ids: Sequence[str]) -> set[str]:
    """Return which of the profiles are failing."""
    return set((await connection.execute(_FAILING, {"profile_ids": profile_ids})).scalars())


_FAILING: Final = select(lanes.c.profile_id).where(
    any_of(lanes.c.profile_id, "profile_ids"), lanes.c.failing_since.is_not(None)
)


async def lock_probe(
    connection: AsyncConnection, *, profile_id: str, revision: int, now: datetime
) -> bool:
    """Lock a failing lane; False if no probe is due, or if the profile has changed.

    A probe under a former revision would reserve the lane that the change made due, and its fault
    would not count: the lane would wait until the reservation ends.
    """
    is_current = exists().where(profiles.c.id == profile_id, profiles.c.revision == revision)
    query = (
        select(lanes.c.profile_id)
        .where(
            lanes.c.profile_id == profile_id,
            is_current,
            lanes.c.failing_since.is_not(None),
            or_(lanes.c.next_probe_at <= now, lanes.c.next_probe_at > now + LONGEST_PROBE),
        )
        .with_for_update()
    )
    return (await connection.execute(query)).one_or_none() is not None


async def reserve_probe(connection: AsyncConnection, *, profile_id: str, until: datetime) -> None:
    """Have no other worker probe a locked lane until a moment."""
    await connection.execute(
        update(lanes).where(lanes.c.profile_id == profile_id).values(next_probe_at=until)
    )
