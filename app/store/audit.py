"""Write and read the audit log."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit import Actor, ActorKind, AuditEntry, Changes
from app.domain.ids import first_id
from app.store.db.delete_old import delete_oldest
from app.store.db.keyset import newest_first, within
from app.store.db.rows import from_row, to_row
from app.store.tables.core import audit_log

MAX_CHARACTERS: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries to select: those that match all filters.

    `created_after` is inclusive, `created_before` exclusive. `is_refused` selects refused requests,
    or what was done.
    """

    action: str | None = None
    actor_kind: ActorKind | None = None
    actor_id: str | None = None
    actor_name: str | None = None
    source: str | None = None
    object_id: str | None = None
    request_id: str | None = None
    is_refused: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


NO_FILTER: Final = AuditFilter()


async def record(connection: AsyncConnection, entry: AuditEntry) -> None:
    """Insert an entry."""
    await connection.execute(insert(audit_log).values(_row(entry)))


async def amend(connection: AsyncConnection, *, entry_id: str, changes: Changes) -> None:
    """Replace the changes of an entry, for an action that progresses."""
    await connection.execute(
        update(audit_log).where(audit_log.c.id == entry_id).values(changes=_pairs(changes))
    )


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str | None,
    limit: int,
    after: str | None = None,
    audit_filter: AuditFilter = NO_FILTER,
) -> list[AuditEntry]:
    """Return a page of a tenant's matching entries, or of all with None, newest first."""
    query = newest_first(select(audit_log), audit_log.c.id, limit=limit, after=after)
    query = query.where(*_build_conditions(audit_filter))
    if tenant_id is not None:
        column: ColumnElement[str] = audit_log.c.tenant_id
        if audit_filter.object_id is not None or audit_filter.actor_id is not None:
            # Without its index: SQLite would read all the tenant's entries by it.
            column = column.concat("")
        query = query.where(column == tenant_id)
    return [_entry(row) for row in (await connection.execute(query)).mappings()]


def _build_conditions(audit_filter: AuditFilter) -> Iterator[ColumnElement[bool]]:
    table = audit_log.c
    for column in (
        *(table.action, table.actor_kind, table.actor_id, table.actor_name),
        *(table.source, table.object_id, table.request_id),
    ):
        value = getattr(audit_filter, column.name)
        if value is not None:
            yield column == value
    if audit_filter.is_refused is not None:
        yield (
            table.refused_as.is_not(None) if audit_filter.is_refused else table.refused_as.is_(None)
        )
    yield from within(
        table.id,
        table.at,
        "aud",
        after=audit_filter.created_after,
        before=audit_filter.created_before,
    )


async def delete_old(connection: AsyncConnection, *, before: datetime, limit: int) -> int:
    """Delete up to `limit` older entries; return how many."""
    key = audit_log.c.id
    return await delete_oldest(
        connection, audit_log, key < first_id("aud", before), order=key, limit=limit
    )


def _row(entry: AuditEntry) -> dict[str, Any]:
    actor = entry.actor
    return to_row(entry, audit_log) | {
        "actor_kind": actor.kind.value,
        "actor_id": _truncate(actor.id),
        "actor_name": _truncate(actor.name),
        "source": _truncate(actor.source),
        "object_id": _truncate(entry.object_id),
        "changes": _pairs(entry.changes),
    }


def _pairs(changes: Changes) -> dict[str, list[Any]]:
    return {name: list(pair) for name, pair in changes.items()}


def _truncate(text: str | None) -> str | None:
    return None if text is None else text[:MAX_CHARACTERS]


def _entry(row: RowMapping) -> AuditEntry:
    kind = ActorKind(row["actor_kind"])
    return from_row(
        AuditEntry,
        row,
        actor=Actor(kind, row["actor_id"], row["actor_name"], row["source"]),
        changes={name: (pair[0], pair[1]) for name, pair in row["changes"].items()},
    )
