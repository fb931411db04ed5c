"""Store suppressions, and apply them to messages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Insert, RowMapping, bindparam, exists, func, or_, select, tuple_, update
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.address.folding import fold
from app.domain.delivery.status import RecipientEvent, next_status
from app.domain.errors import Conflict, NotFound
from app.domain.ids import new_id
from app.domain.types import RecipientStatus, Suppression, SuppressionReason
from app.store import events
from app.store.db.array_params import any_of
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, to_row
from app.store.db.uniqueness import conflict_on_duplicate
from app.store.tables.core import (
    IS_TO_SEND,
    folded_address,
    message_tags,
    recipients,
    suppressions,
    tenants,
)

_ADD: Final[Mapping[str, Insert]] = {
    "postgresql": postgresql.insert(suppressions).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(suppressions).on_conflict_do_nothing(),
}


async def insert(connection: AsyncConnection, *, suppression: Suppression) -> None:
    """Insert a suppression; raise Conflict if the address and tag have one."""
    conflict = Conflict(
        "suppression-exists",
        f"{suppression.address} is suppressed already; to change the suppression, delete it first.",
    )
    async with conflict_on_duplicate(connection, conflict):
        await connection.execute(insert_into(suppressions).values(_row(suppression)))


async def add(connection: AsyncConnection, *, new_suppressions: Sequence[Suppression]) -> int:
    """Insert the suppressions that do not exist yet; return how many."""
    if not new_suppressions:
        return 0
    query = (
        select(func.count())
        .select_from(suppressions)
        .where(suppressions.c.id.in_([suppression.id for suppression in new_suppressions]))
    )
    await connection.execute(
        _ADD[connection.dialect.name], [_row(suppression) for suppression in new_suppressions]
    )
    return int((await connection.execute(query)).scalar_one())


async def add_bounced(
    connection: AsyncConnection, bounced: Sequence[tuple[str, int]], now: datetime
) -> None:
    """Suppress bounced recipients, by message and position, if their tenants want that."""
    if not bounced:
        return
    query = (
        select(
            recipients.c.tenant_id,
            recipients.c.address,
            recipients.c.reply_code,
            recipients.c.reply_enhanced_code,
        )
        .join(tenants, tenants.c.id == recipients.c.tenant_id)
        .where(
            tenants.c.suppresses_hard_bounces,
            recipients.c.erased_at.is_(None),
            tuple_(recipients.c.message_id, recipients.c.position).in_(bounced),
        )
    )
    new_suppressions = [
        Suppression(
            id=new_id("sup"),
            tenant_id=row.tenant_id,
            address=fold(row.address),
            tag=None,
            reason=SuppressionReason.HARD_BOUNCE,
            detail=f"the server answered {row.reply_code} {row.reply_enhanced_code}",
            created_at=now,
        )
        for row in await connection.execute(query)
    ]
    await add(connection, new_suppressions=new_suppressions)


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    after: str | None = None,
    address: str | None = None,
    tag: str | None = None,
    reasons: Sequence[SuppressionReason] = (),
) -> list[Suppression]:
    """Return a page of the tenant's matching suppressions, newest first."""
    query = select(suppressions).where(suppressions.c.tenant_id == tenant_id)
    query = newest_first(query, suppressions.c.id, limit=limit, after=after)
    if address is not None:
        query = query.where(suppressions.c.address == fold(address))
    if tag is not None:
        query = query.where(suppressions.c.tag == tag)
    if reasons:
        query = query.where(suppressions.c.reason.in_([reason.value for reason in reasons]))
    return [_suppression(row) for row in (await connection.execute(query)).mappings()]


async def delete(
    connection: AsyncConnection, *, tenant_id: str, suppression_id: str
) -> Suppression:
    """Delete a suppression and return it; raise NotFound."""
    conditions = (suppressions.c.tenant_id == tenant_id, suppressions.c.id == suppression_id)
    query = select(suppressions).where(*conditions).with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound("suppression", suppression_id)
    await connection.execute(delete_from(suppressions).where(*conditions))
    return _suppression(row)


async def apply(
    connection: AsyncConnection, *, message_ids: Sequence[str], now: datetime
) -> list[str]:
    """Suppress recipients of these messages, which the caller has locked.

    Returns the ids of messages with a suppressed recipient. Does not finish messages that have no
    recipient left.
    """
    rows = await connection.execute(_APPLY, {"message_ids": message_ids, "now": now})
    places = [(row.message_id, row.position) for row in rows]
    await events.append_recipient_events(connection, places, _SUPPRESSED, now)
    return list(dict.fromkeys(message_id for message_id, _ in places))


_SUPPRESSED: Final = next_status(RecipientStatus.QUEUED, RecipientEvent.SUPPRESS)
_IS_TAGGED: Final = (
    exists()
    .where(
        message_tags.c.tenant_id == recipients.c.tenant_id,
        message_tags.c.tag == suppressions.c.tag,
        message_tags.c.message_id == recipients.c.message_id,
    )
    .correlate(recipients, suppressions)
)
_IS_SUPPRESSED: Final = (
    exists()
    .where(
        suppressions.c.tenant_id == recipients.c.tenant_id,
        suppressions.c.address == folded_address,
        or_(suppressions.c.tag == "", _IS_TAGGED),
    )
    .correlate(recipients)
)
_APPLY: Final = (
    update(recipients)
    .where(any_of(recipients.c.message_id, "message_ids"), IS_TO_SEND, _IS_SUPPRESSED)
    .values(
        status=_SUPPRESSED.value,
        next_attempt_at=None,
        classification="suppressed",
        updated_at=bindparam("now"),
        finished_at=bindparam("now"),
    )
    .returning(recipients.c.message_id, recipients.c.position)
)


def _row(suppression: Suppression) -> dict[str, Any]:
    return to_row(suppression, suppressions) | {"tag": suppression.tag or ""}


def _suppression(row: RowMapping) -> Suppression:
    reason = SuppressionReason(row["reason"])
    return from_row(Suppression, row, tag=row["tag"] or None, reason=reason)
