"""Count recipients by status and report."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, String, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.inbound.bounce_parser import ReportKind
from app.domain.types import RecipientStatus
from app.store.db.expressions import DialectExpression
from app.store.messages.filters import MessageFilter, build_query
from app.store.tables.core import message_tags, messages, profiles, recipients

MAX_GROUPS: Final = 1000


class Dimension(StrEnum):
    """How to group. Hours and days are those of acceptance, in UTC."""

    PROFILE = "profile"
    TAG = "tag"
    DOMAIN = "domain"
    HOUR = "hour"
    DAY = "day"


class _Domain(DialectExpression[str]):
    """The part after the last @ of an address, in lower case."""

    type = String()
    inherit_cache = True
    # Trims everything after the last @, and removes the rest: SQLite finds only the first @.
    sqlite = "lower(replace({0}, rtrim({0}, replace({0}, '@', '')), ''))"
    postgresql = "lower(regexp_replace({0}, '^.*@', ''))"


class _Seconds(DialectExpression[int]):
    """A time in whole seconds since 1970."""

    type = BigInteger()
    inherit_cache = True
    sqlite = "({0} / 1000000)"
    postgresql = "CAST(floor(extract(epoch from {0})) AS bigint)"


_STATUSES: Final = {status.value: status for status in RecipientStatus}
_REPORTS: Final = {kind.value: kind for kind in ReportKind}
PERIODS: Final = {Dimension.HOUR: 3600, Dimension.DAY: 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCount:
    """The recipients of a group by status and by report."""

    key: str | None
    recipients: int
    statuses: dict[RecipientStatus, int]
    reports: dict[ReportKind, int]


async def count(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    dimension: Dimension | None,
    message_filter: MessageFilter,
    now: datetime,
) -> list[GroupCount]:
    """Count recipients of the tenant's matching messages by group, the largest first.

    Groups of time come in order; of others, up to `MAX_GROUPS`. Without a dimension there is one
    group. A recipient of a message with several tags counts for each.
    """
    ids = build_query(tenant_id, message_filter, now)[0].subquery()
    key = _build_key(dimension)
    total = func.count().label("total")
    counts = [
        func.count().filter(column == value).label(value)
        for column, values in ((recipients.c.status, _STATUSES), (recipients.c.report, _REPORTS))
        for value in values
    ]
    query = (
        select(key.label("key"), total, *counts)
        .select_from(recipients)
        .join(ids, ids.c[0] == recipients.c.message_id)
        .join(messages, messages.c.id == recipients.c.message_id)
    )
    if dimension is not None:
        query = query.group_by(key)
    if dimension is Dimension.PROFILE:
        query = query.join(profiles, profiles.c.id == messages.c.profile_id)
    if dimension is Dimension.TAG:
        query = query.join(message_tags, message_tags.c.message_id == messages.c.id)
    if dimension in PERIODS:
        query = query.order_by(key)
    elif dimension is not None:
        query = query.order_by(total.desc(), key).limit(MAX_GROUPS)
    return [
        GroupCount(
            key=_format_key(dimension, row["key"]),
            recipients=row["total"],
            statuses={status: row[value] for value, status in _STATUSES.items()},
            reports={kind: row[value] for value, kind in _REPORTS.items()},
        )
        for row in (await connection.execute(query)).mappings()
        if row["total"]
    ]


def _build_key(dimension: Dimension | None) -> ColumnElement[Any]:
    match dimension:
        case Dimension.PROFILE:
            return profiles.c.name
        case Dimension.TAG:
            return message_tags.c.tag
        case Dimension.DOMAIN:
            return _Domain(recipients.c.address)
        case Dimension.HOUR | Dimension.DAY:
            seconds = _Seconds(messages.c.created_at)
            return seconds - seconds % literal_column(str(PERIODS[dimension]))
    return literal_column("NULL")


def _format_key(dimension: Dimension | None, key: object) -> str | None:
    if dimension in PERIODS:
        return datetime.fromtimestamp(int(str(key)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return None if key is None else str(key)
