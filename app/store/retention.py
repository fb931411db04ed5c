"""Delete expired history, tenant by tenant, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import first_id
from app.domain.tenants.retention import Retention
from app.store import events, submissions
from app.store.outbox import wiping
from app.store.tables.core import attempts, messages, purges, tenants
from app.store.tables.events import events as event_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How many messages lost content, recipients or attempts, or were deleted; events, sessions.

    `is_done`: nothing of the tenant is left that is old enough.
    """

    contents: int = 0
    recipients: int = 0
    attempts: int = 0
    messages: int = 0
    events: int = 0
    submissions: int = 0
    is_done: bool = True


@dataclass(frozen=True, slots=True)
class _Old:
    """Messages of one age, oldest first, finished and unfinished."""

    finished: Sequence[str]
    unfinished: Sequence[str]

    @property
    def ids(self) -> list[str]:
        return sorted((*self.finished, *self.unfinished))


@dataclass(frozen=True, slots=True)
class Overdue:
    """A tenant whose oldest finished message should have been deleted at a moment."""

    tenant: str
    since: datetime


async def load_overdue(
    connection: AsyncConnection, *, default: Retention, before: datetime, limit: int
) -> list[Overdue]:
    """Load tenants with a message whose retention ended before a moment, oldest first.

    Checks up to `limit` tenants, those that were purged longest ago.
    """
    oldest_at = (
        select(messages.c.created_at)
        .where(messages.c.tenant_id == purges.c.tenant_id, messages.c.finished_at.is_not(None))
        .order_by(messages.c.id)
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(tenants.c.slug, tenants.c.retention, oldest_at.label("oldest_at"))
        .join(purges, purges.c.tenant_id == tenants.c.id)
        .order_by(purges.c.purged_at, purges.c.tenant_id)
        .limit(limit)
    )
    overdue = []
    for row in await connection.execute(query):
        days = Retention(**row.retention).with_defaults(default).message_days
        if row.oldest_at is not None and days is not None:
            since = row.oldest_at + timedelta(days=days)
            overdue += [Overdue(row.slug, since)] if since < before else []
    return sorted(overdue, key=lambda tenant: tenant.since)


async def purge(
    connection: AsyncConnection,
    *,
    default: Retention,
    before: datetime,
    now: datetime,
    limit: int,
    tenant_id: str | None = None,
) -> Purged | None:
    """Delete expired data of one tenant: of each kind, up to `limit` rows.

    Without `tenant_id`, takes the tenant that was purged longest ago, before `before`. Skips a
    tenant that another process purges. Returns None if there is none. `default` applies where the
    tenant sets no period.
    """
    query = (
        select(purges, tenants.c.retention)
        .join(tenants, tenants.c.id == purges.c.tenant_id)
        .where(purges.c.purged_at < before)
        .order_by(purges.c.purged_at, purges.c.tenant_id)
        .limit(1)
        .with_for_update(of=purges, skip_locked=True)
    )
    if tenant_id is not None:
        query = query.where(purges.c.tenant_id == tenant_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    purged_tenant_id, retention = (
        str(row["tenant_id"]),
        Retention(**row["retention"]).with_defaults(default),
    )
    counts, values, is_done = dict[str, int](), dict[str, Any](), True
    # Messages come first: what is deleted as a whole needs no other step.
    for kind, days, remove in (
        ("messages", retention.message_days, _delete),
        ("recipients", retention.recipient_days, _erase),
        ("contents", retention.content_days, _wipe),
        ("attempts", retention.attempt_days, _delete_attempts),
    ):
        if days is None:
            continue
        column = f"{kind}_until" if kind != "messages" else None
        old = await _load_old(
            connection,
            purged_tenant_id,
            after=row[column] if column else None,
            before=now - timedelta(days=days),
            limit=limit,
            only_finished=column is None,
        )
        if old.ids:
            await remove(connection, old, now)
            counts[kind] = len(old.ids)
            if column:
                values[column] = old.ids[-1]
        is_done = is_done and len(old.ids) < limit
    for kind, days, delete_old in (
        ("events", retention.event_days, events.delete_old),
        ("submissions", retention.address_days, submissions.delete_old_of_tenant),
    ):
        if days is None:
            continue
        counts[kind] = await delete_old(
            connection, tenant_id=purged_tenant_id, before=now - timedelta(days=days), limit=limit
        )
        is_done = is_done and counts[kind] < limit
    if is_done:
        values["purged_at"] = now
    await connection.execute(
        update(purges).where(purges.c.tenant_id == purged_tenant_id).values(values)
    )
    return Purged(**counts, is_done=is_done)


async def _load_old(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    after: str | None,
    before: datetime,
    limit: int,
    only_finished: bool,
) -> _Old:
    """Load the tenant's messages from before a moment, after the last handled one.

    Ids sort by time, so their index is enough.
    """
    query = (
        select(messages.c.id, messages.c.finished_at)
        .where(messages.c.tenant_id == tenant_id, messages.c.id < first_id("msg", before))
        .order_by(messages.c.id)
        .limit(limit)
        .with_for_update()
    )
    if after is not None:
        query = query.where(messages.c.id > after)
    if only_finished:
        query = query.where(messages.c.finished_at.is_not(None))
    rows = (await connection.execute(query)).all()
    return _Old(
        [row.id for row in rows if row.finished_at is not None],
        [row.id for row in rows if row.finished_at is None],
    )


async def _delete(connection: AsyncConnection, old: _Old, _: datetime) -> None:
    await wiping.release_stored_bytes(connection, message_ids=old.finished)
    await connection.execute(delete(event_rows).where(event_rows.c.message_id.in_(old.finished)))
    await connection.execute(delete(messages).where(messages.c.id.in_(old.finished)))


async def _erase(connection: AsyncConnection, old: _Old, now: datetime) -> None:
    await wiping.erase_recipients(connection, message_ids=old.finished, now=now)
    await _mark_for_end(connection, old.unfinished, erases_recipients=True)


async def _wipe(connection: AsyncConnection, old: _Old, now: datetime) -> None:
    await wiping.wipe_contents(connection, message_ids=old.finished, now=now)
    await _mark_for_end(connection, old.unfinished, wipes_content=True)


async def _delete_attempts(connection: AsyncConnection, old: _Old, _: datetime) -> None:
    await connection.execute(delete(attempts).where(attempts.c.message_id.in_(old.ids)))


async def _mark_for_end(
    connection: AsyncConnection, message_ids: Sequence[str], **does: bool
) -> None:
    if message_ids:
        await connection.execute(
            update(messages).where(messages.c.id.in_(message_ids)).values(does)
        )
