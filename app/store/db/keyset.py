"""Page through rows by id: ids are UUIDv7, so they sort by creation.

`after` is the last id of the previous page, `before` the first id of the following page; None for
the first page.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypedDict, TypeVar, cast

from sqlalchemy import ColumnElement, Select, select

from app.domain.ids import Prefix, first_id

# The time in an id and that in its row differ only if a clock was set in between.
CLOCK_SLACK: Final = timedelta(days=1)
EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)


class HasId(Protocol):
    """A row of a list that is ordered by id."""

    @property
    def id(self) -> str: ...


class Slice(TypedDict):
    """Which page of a list to read, as keyword arguments."""

    limit: int
    after: str | None


Query = TypeVar("Query", bound=Select[Any])
Row = TypeVar("Row", bound=HasId)


def oldest_first(
    query: Query, key: ColumnElement[str], *, limit: int, after: str | None = None
) -> Query:
    """Order a query by id, and limit it to one page."""
    query = query.order_by(key).limit(limit)
    return query if after is None else query.where(key > after)


def newest_first(
    query: Query,
    key: ColumnElement[str],
    *,
    limit: int,
    after: str | None = None,
    before: str | None = None,
) -> Query:
    """Order a query by id, backwards, and limit it to one page."""
    if before is not None:
        return _page_before(query, key, limit, before)
    query = query.order_by(key.desc()).limit(limit)
    return query if after is None else query.where(key < after)


def _page_before(query: Query, key: ColumnElement[str], limit: int, before: str) -> Query:
    """Select the last rows newer than `before`, and turn them around."""
    nearest = query.where(key > before).order_by(key).limit(limit).subquery()
    ordered: Any = select(nearest).order_by(nearest.c[key.key or "id"].desc())
    return cast("Query", ordered)


def within(
    key: ColumnElement[str],
    at: ColumnElement[datetime],
    prefix: Prefix,
    *,
    after: datetime | None,
    before: datetime | None,
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions for a time `at`, and those for ids that an index serves.

    `after` is inclusive, `before` exclusive.
    """
    if after is not None:
        yield key >= earliest_id(prefix, after)
        yield at >= after
    if before is not None:
        yield key < first_id(prefix, before + min(CLOCK_SLACK, LATEST - before))
        yield at < before


def earliest_id(prefix: Prefix, moment: datetime) -> str:
    """Return a lower bound for the ids of rows from a moment on."""
    return first_id(prefix, moment - min(CLOCK_SLACK, moment - EARLIEST))


async def read_pages(
    load: Callable[..., Awaitable[Sequence[Row]]], *, limit: int, after: str | None = None
) -> AsyncIterator[Sequence[Row]]:
    """Yield all pages; `load` reads one from `limit` and `after`."""
    while True:
        rows = await load(limit=limit, after=after)
        yield rows
        if len(rows) < limit:
            return
        after = rows[-1].id
