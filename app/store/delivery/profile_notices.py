"""Store what tenants still have to hear about profiles that fail or recover.

The row changes in the transaction that changes the lane, so that no notice is lost with a process.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Insert,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.notices import INTERVAL, RETRY_DELAY, Notice, NoticeStep
from app.store.db.column_types import Instant
from app.store.db.rows import from_row
from app.store.db.uniqueness import build_inserts
from app.store.tables.core import IS_DUE, notices, profiles, tenants

MAX_NOTICES: Final = 1000


def _upsert(statement: postgresql.Insert | sqlite.Insert) -> Insert:
    """Note a failure, if the tenant wants notices. A profile that still fails keeps its time."""
    now = bindparam("now", type_=Instant())
    values: dict[str, ColumnElement[Any]] = {
        "profile_id": profiles.c.id,
        "tenant_id": profiles.c.tenant_id,
        "version": literal(1, Integer()),
        "failed_at": now,
        "code": bindparam("code", type_=Text()),
        "reason": bindparam("reason", type_=Text()),
        "due_at": now,
        "is_told": literal(value=False, type_=Boolean()),
    }
    source = (
        select(*values.values())
        .join(tenants, tenants.c.id == profiles.c.tenant_id)
        .where(profiles.c.id == bindparam("failing_profile_id"), tenants.c.notify.is_not(None))
    )
    insert, new = statement.from_select(list(values), source), statement.excluded
    failed_at = case((notices.c.recovered_at.is_(None), notices.c.failed_at), else_=new.failed_at)
    return insert.on_conflict_do_update(
        index_elements=["profile_id"],
        set_={
            "version": notices.c.version + 1,
            "failed_at": failed_at,
            "recovered_at": null(),
            "code": new.code,
            "reason": new.reason,
            "due_at": new.due_at,
        },
    )


_NOTE_FAILURE: Final = build_inserts(notices, _upsert)


async def note_failure(
    connection: AsyncConnection, *, profile_id: str, code: str, reason: str, now: datetime
) -> None:
    """Note that a profile fails, if its tenant wants notices."""
    parameters = {"failing_profile_id": profile_id, "code": code, "reason": reason, "now": now}
    await connection.execute(_NOTE_FAILURE[connection.dialect.name], parameters)


async def note_recovery(connection: AsyncConnection, *, profile_id: str, now: datetime) -> None:
    """Note that a profile works again, if its failure was noted."""
    await connection.execute(
        update(notices)
        .where(notices.c.profile_id == profile_id, notices.c.recovered_at.is_(None))
        .values(version=notices.c.version + 1, recovered_at=now, due_at=now)
    )


async def load_due(connection: AsyncConnection, *, now: datetime) -> list[Notice]:
    """Load the due notices of all tenants, oldest first."""
    query = (
        select(notices)
        .where(IS_DUE, notices.c.due_at <= now)
        .order_by(notices.c.due_at)
        .limit(MAX_NOTICES)
    )
    rows = (await connection.execute(query)).mappings()
    return [from_row(Notice, row) for row in rows]


async def finish(
    connection: AsyncConnection, *, notice: Notice, step: NoticeStep, now: datetime
) -> bool:
    """Store that the step is done; False if the notice has changed, or another worker did it."""
    due_at, is_told, told_at = None, notice.is_told, notice.told_at
    if step is NoticeStep.WAIT:
        due_at = (told_at or now) + INTERVAL
    elif step is NoticeStep.TELL_FAILURE:
        is_told, told_at = True, now
    elif notice.recovered_at is not None:
        is_told = False
    result = await connection.execute(
        update(notices)
        .where(_is_unchanged(notice))
        .values(version=notice.version + 1, due_at=due_at, is_told=is_told, told_at=told_at)
    )
    return result.rowcount == 1


async def withdraw_due(connection: AsyncConnection) -> None:
    """Write none of the notices that are due now; the next change of a profile is due again."""
    await connection.execute(
        update(notices).where(IS_DUE).values(version=notices.c.version + 1, due_at=None)
    )


async def postpone(connection: AsyncConnection, *, notice: Notice, now: datetime) -> None:
    """Retry a notice later, unless it has changed or another worker did it."""
    await connection.execute(
        update(notices).where(_is_unchanged(notice)).values(due_at=now + RETRY_DELAY)
    )


def _is_unchanged(notice: Notice) -> ColumnElement[bool]:
    return and_(
        notices.c.profile_id == notice.profile_id,
        notices.c.version == notice.version,
        notices.c.due_at.is_not(None),
    )
