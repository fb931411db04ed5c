"""Store the log of SMTP submission sessions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.address.folding import fold
from app.domain.ids import first_id
from app.domain.submissions import SubmissionSession
from app.store.db.bulk import Bulk, Write
from app.store.db.delete_old import delete_oldest
from app.store.db.keyset import newest_first, within
from app.store.db.rows import from_row, group_rows, to_row
from app.store.tables.submissions import submission_messages, submissions

MAX_CHARACTERS: Final = 255
_SHORT_COLUMNS: Final = ("tls", "login", "ehlo_name")
# What PostgreSQL cannot store; a client may send it in its user name.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

_INSERT: Final = Bulk(
    Write.insert(submissions, is_repeatable=True),
    Write.insert(submission_messages, is_repeatable=True),
)
_COLUMNS: Final = tuple(column for column in submissions.c if column.name != "addresses")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionFilter:
    """Which sessions to select: those that match all filters.

    `started_after` is inclusive, `started_before` exclusive. `profile_ids` restricts to logins
    through these profiles.
    """

    client_address: str | None = None
    login: str | None = None
    message_id: str | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    profile_ids: Sequence[str] | None = None


NO_FILTER: Final = SubmissionFilter()


async def insert(connection: AsyncConnection, sessions: Sequence[SubmissionSession]) -> None:
    """Insert finished sessions in one statement; skip those that exist, so you can repeat it."""
    await _INSERT.execute(
        connection,
        [_session_row(session) for session in sessions],
        [
            {"submission_id": session.id, "message_id": message_id}
            for session in sessions
            for message_id in dict.fromkeys(session.message_ids)
        ],
    )


def _session_row(session: SubmissionSession) -> dict[str, Any]:
    row = {name: _clean(value) for name, value in to_row(session, submissions).items()}
    for name in _SHORT_COLUMNS:
        row[name] = row[name] and row[name][:MAX_CHARACTERS]
    addresses = dict.fromkeys(fold(address) for address in _list_addresses(session))
    return row | {"addresses": _clean("\n".join(("", *addresses, "")))}


def _clean(value: Any) -> Any:  # noqa: ANN401 - JSON
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case list() | tuple():
            return [_clean(item) for item in value]
        case dict():
            return {name: _clean(item) for name, item in value.items()}
        case _:
            return value


def _list_addresses(session: SubmissionSession) -> Iterator[str]:
    for transaction in session.transactions:
        if transaction["mail_from"]:
            yield transaction["mail_from"]
        for recipient in transaction["recipients"]:
            yield recipient["address"]


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str | None,
    limit: int,
    after: str | None = None,
    submission_filter: SubmissionFilter = NO_FILTER,
) -> list[SubmissionSession]:
    """Return a page of a tenant's matching sessions, newest first.

    With None: those of all tenants, and those that never logged in.
    """
    query = newest_first(
        _build_query(tenant_id, submission_filter), submissions.c.id, limit=limit, after=after
    )
    return await _load_sessions(connection, query)


async def find(
    connection: AsyncConnection, *, tenant_id: str | None, submission_id: str
) -> SubmissionSession | None:
    """Return the tenant's session with this id, or any tenant's with None."""
    query = _build_query(tenant_id, NO_FILTER).where(submissions.c.id == submission_id)
    return next(iter(await _load_sessions(connection, query)), None)


def _build_query(tenant_id: str | None, submission_filter: SubmissionFilter) -> Select[Any]:
    query = select(*_COLUMNS).where(*_build_conditions(submission_filter))
    if tenant_id is None:
        return query
    column: ColumnElement[str] = submissions.c.tenant_id
    if submission_filter.client_address is not None or submission_filter.profile_ids is not None:
        # Without its index: SQLite would read all the tenant's sessions by it.
        column = column.concat("")
    return query.where(column == tenant_id)


def _build_conditions(submission_filter: SubmissionFilter) -> Iterator[ColumnElement[bool]]:
    table = submissions.c
    for column in (table.client_address, table.login):
        value = getattr(submission_filter, column.name)
        if value is not None:
            yield column == value
    if submission_filter.message_id is not None:
        yield table.id.in_(
            select(submission_messages.c.submission_id).where(
                submission_messages.c.message_id == submission_filter.message_id
            )
        )
    if submission_filter.profile_ids is not None:
        yield table.profile_id.in_(submission_filter.profile_ids)
    yield from within(
        table.id,
        table.started_at,
        "sub",
        after=submission_filter.started_after,
        before=submission_filter.started_before,
    )


async def _load_sessions(
    connection: AsyncConnection, query: Select[Any]
) -> list[SubmissionSession]:
    rows = (await connection.execute(query)).mappings().all()
    message_ids = await _load_message_ids(connection, [row["id"] for row in rows])
    return [
        from_row(SubmissionSession, row, message_ids=message_ids.get(row["id"], ())) for row in rows
    ]


async def _load_message_ids(
    connection: AsyncConnection, submission_ids: Sequence[str]
) -> Mapping[str, tuple[str, ...]]:
    query = (
        select(submission_messages)
        .where(submission_messages.c.submission_id.in_(submission_ids))
        .order_by(submission_messages.c.submission_id, submission_messages.c.message_id)
    )
    return await group_rows(connection, query, "submission_id", itemgetter("message_id"))


async def delete_old(connection: AsyncConnection, *, before: datetime, limit: int) -> int:
    """Delete up to `limit` sessions of all tenants from before a moment; return how many."""
    return await _delete_oldest(connection, before, limit)


async def delete_old_of_tenant(
    connection: AsyncConnection, *, tenant_id: str, before: datetime, limit: int
) -> int:
    """Delete up to `limit` of the tenant's sessions from before a moment; return how many."""
    return await _delete_oldest(connection, before, limit, submissions.c.tenant_id == tenant_id)


async def _delete_oldest(
    connection: AsyncConnection, before: datetime, limit: int, *conditions: ColumnElement[bool]
) -> int:
    """Delete sessions by their ids, which sort by time."""
    is_old = submissions.c.id < first_id("sub", before)
    return await delete_oldest(
        connection, submissions, is_old, *conditions, order=submissions.c.id, limit=limit
    )


async def delete_with_address(connection: AsyncConnection, *, tenant_id: str, address: str) -> int:
    """Delete the tenant's sessions that name an address, ignoring case; return how many."""
    result = await connection.execute(
        delete(submissions).where(
            submissions.c.tenant_id == tenant_id,
            submissions.c.addresses.contains(f"\n{fold(address)}\n", autoescape=True),
        )
    )
    return result.rowcount
