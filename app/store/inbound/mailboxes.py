"""Store mailboxes, and claim those that are due."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, func, select
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.inbound.mailbox import Mailbox, MailboxTls
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, get_row, to_row
from app.store.db.uniqueness import unique_name
from app.store.tables.inbound import mailbox_mails, mailboxes


async def insert(connection: AsyncConnection, *, mailbox: Mailbox, sealed_password: bytes) -> None:
    """Insert a mailbox; raise Conflict if its name exists."""
    values = to_row(mailbox, mailboxes) | {"sealed_password": sealed_password}
    async with unique_name(connection, "mailbox", mailbox.name):
        await connection.execute(insert_into(mailboxes).values(values))


def build_columns(mailbox: Mailbox) -> dict[str, Any]:
    """Build the columns of a mailbox's settings, without the password."""
    return {
        "name": mailbox.name,
        "host": mailbox.host,
        "port": mailbox.port,
        "tls": mailbox.tls.value,
        "tls_ca": mailbox.tls_ca,
        "username": mailbox.username,
        "folder": mailbox.folder,
        "poll_seconds": mailbox.poll_seconds,
        "deletes_reports": mailbox.deletes_reports,
        "disabled_at": mailbox.disabled_at,
    }


async def count(connection: AsyncConnection, *, tenant_id: str) -> int:
    """Count the tenant's mailboxes."""
    query = select(func.count()).where(mailboxes.c.tenant_id == tenant_id)
    return int((await connection.execute(query)).scalar_one())


async def page(
    connection: AsyncConnection, *, tenant_id: str, limit: int, after: str | None = None
) -> list[Mailbox]:
    """Return a page of the tenant's mailboxes, newest first."""
    query = select(mailboxes).where(mailboxes.c.tenant_id == tenant_id)
    query = newest_first(query, mailboxes.c.id, limit=limit, after=after)
    return [build_mailbox(row) for row in (await connection.execute(query)).mappings()]


async def get(
    connection: AsyncConnection, *, tenant_id: str, mailbox_id: str, for_update: bool = False
) -> Mailbox:
    """Return a mailbox, locked with `for_update`; raise NotFound."""
    query = select(mailboxes).where(
        mailboxes.c.tenant_id == tenant_id, mailboxes.c.id == mailbox_id
    )
    row = await get_row(connection, query, "mailbox", mailbox_id, for_update=for_update)
    return build_mailbox(row)


async def update(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    mailbox_id: str,
    changes: Mapping[str, Any],
    now: datetime,
) -> None:
    """Change columns and poll at once; raise Conflict if the new name exists.

    A change of `last_uid` discards mails in progress.
    """
    if "last_uid" in changes:
        await connection.execute(delete_from(mailbox_mails).filter_by(mailbox_id=mailbox_id))
    async with unique_name(connection, "mailbox", changes.get("name")):
        await connection.execute(
            update_rows(mailboxes)
            .where(mailboxes.c.tenant_id == tenant_id, mailboxes.c.id == mailbox_id)
            .values(**changes, next_poll_at=now, updated_at=now)
        )


async def delete(connection: AsyncConnection, *, tenant_id: str, mailbox_id: str) -> Mailbox:
    """Delete a mailbox and return it; raise NotFound."""
    mailbox = await get(connection, tenant_id=tenant_id, mailbox_id=mailbox_id, for_update=True)
    await connection.execute(delete_from(mailboxes).where(mailboxes.c.id == mailbox_id))
    return mailbox


@dataclass(frozen=True, slots=True)
class ClaimedMailbox:
    """A mailbox that only its claimer reads, until the lease ends."""

    mailbox: Mailbox
    sealed_password: bytes = field(repr=False)


_EARLIEST: Final = select(func.min(mailboxes.c.next_poll_at)).where(
    mailboxes.c.disabled_at.is_(None)
)


async def load_next_poll_at(connection: AsyncConnection) -> datetime | None:
    """Return when the next mailbox is due; None without mailboxes."""
    next_poll_at: datetime | None = (await connection.execute(_EARLIEST)).scalar_one()
    return next_poll_at


async def claim(
    connection: AsyncConnection, *, now: datetime, limit: int, lease_until: datetime
) -> list[ClaimedMailbox]:
    """Lease up to `limit` due mailboxes of all tenants."""
    query = (
        select(mailboxes)
        .where(mailboxes.c.next_poll_at <= now, mailboxes.c.disabled_at.is_(None))
        .order_by(mailboxes.c.next_poll_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = (await connection.execute(query)).mappings().all()
    if rows:
        await connection.execute(
            update_rows(mailboxes)
            .where(mailboxes.c.id.in_([row["id"] for row in rows]))
            .values(next_poll_at=lease_until)
        )
    return [ClaimedMailbox(build_mailbox(row), row["sealed_password"]) for row in rows]


def is_unchanged(mailbox: Mailbox) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions for a mailbox's row, unless its settings have changed."""
    return (
        mailboxes.c.tenant_id == mailbox.tenant_id,
        mailboxes.c.id == mailbox.id,
        mailboxes.c.updated_at == mailbox.updated_at,
    )


async def record_poll(
    connection: AsyncConnection, *, mailbox: Mailbox, now: datetime, next_poll_at: datetime
) -> None:
    """Record a poll up to `last_uid`, unless the mailbox has changed."""
    await connection.execute(
        update_rows(mailboxes)
        .where(*is_unchanged(mailbox))
        .values(
            uid_validity=mailbox.uid_validity,
            last_uid=mailbox.last_uid,
            polled_at=now,
            next_poll_at=next_poll_at,
            failing_since=None,
            reason=None,
        )
    )


async def record_failure(
    connection: AsyncConnection,
    *,
    mailbox: Mailbox,
    reason: str,
    now: datetime,
    next_poll_at: datetime,
) -> None:
    """Record why a mailbox could not be read."""
    await connection.execute(
        update_rows(mailboxes)
        .where(*is_unchanged(mailbox))
        .values(
            failing_since=mailbox.failing_since or now, reason=reason, next_poll_at=next_poll_at
        )
    )


def build_mailbox(row: RowMapping) -> Mailbox:
    """Build a mailbox from a row, without its password."""
    return from_row(Mailbox, row, tls=MailboxTls(row["tls"]))
