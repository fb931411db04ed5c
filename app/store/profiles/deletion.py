"""Delete a profile: erase its credentials, keep its name for its messages."""

from datetime import datetime
from typing import Final

from sqlalchemy import delete as delete_rows
from sqlalchemy import exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.status import RecipientEvent
from app.domain.errors import Conflict, NotFound
from app.store.outbox import results as outcomes
from app.store.profiles.rows import SEALED_COLUMNS, is_live, write
from app.store.tables.core import messages, oauth_tokens, profiles
from app.store.tenants import queries as tenants

# Messages per statement, well below SQLite's 32,766 bound parameters.
CANCEL_BATCH: Final = 500


async def delete(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    profile_id: str,
    now: datetime,
    cancel_pending: bool,
) -> None:
    """Delete a profile and its credentials; what it sent stays readable.

    Raises NotFound, or Conflict while it has unfinished messages. `cancel_pending` cancels these,
    except messages in transmission, which end normally.
    """
    await tenants.lock(connection, tenant_id=tenant_id)
    # Waits for messages that are being accepted, so that the next query sees them.
    query = select(profiles.c.id).where(*is_live(tenant_id), profiles.c.id == profile_id)
    if (await connection.execute(query.with_for_update())).scalar_one_or_none() is None:
        raise NotFound("profile", profile_id)
    if cancel_pending:
        await _cancel_pending(connection, tenant_id, profile_id, now)
    elif await _has_pending(connection, tenant_id, profile_id):
        raise Conflict(
            "profile-has-pending-messages",
            "The profile has unfinished messages; wait, or delete it with ?cancel_pending=true to"
            " cancel them.",
        )
    values = {
        "deleted_at": now,
        "updated_at": now,
        "revision": profiles.c.revision + 1,
        "is_default": False,
        **dict.fromkeys(SEALED_COLUMNS),
    }
    await write(connection, tenant_id=tenant_id, profile_id=profile_id, values=values)
    await connection.execute(
        delete_rows(oauth_tokens).where(oauth_tokens.c.profile_id == profile_id)
    )


async def _has_pending(connection: AsyncConnection, tenant_id: str, profile_id: str) -> bool:
    is_pending = exists().where(
        messages.c.tenant_id == tenant_id,
        messages.c.profile_id == profile_id,
        messages.c.due_at.is_not(None),
    )
    return bool((await connection.execute(select(is_pending))).scalar_one())


async def _cancel_pending(
    connection: AsyncConnection, tenant_id: str, profile_id: str, now: datetime
) -> None:
    """Cancel unleased messages; locked rows are being claimed or settled."""
    place = tuple_(messages.c.destination, messages.c.due_at, messages.c.id)
    query = (
        select(messages.c.destination, messages.c.due_at, messages.c.id)
        .where(
            messages.c.tenant_id == tenant_id,
            messages.c.profile_id == profile_id,
            messages.c.due_at.is_not(None),
            or_(messages.c.lease_owner.is_(None), messages.c.due_at <= now),
        )
        .order_by(messages.c.destination, messages.c.due_at, messages.c.id)
        .limit(CANCEL_BATCH)
        .with_for_update(skip_locked=True)
    )
    batch = query
    while rows := (await connection.execute(batch)).all():
        await outcomes.finish_open(
            connection, message_ids=[row.id for row in rows], event=RecipientEvent.CANCEL, now=now
        )
        last_row = rows[-1]
        batch = query.where(place > (last_row.destination, last_row.due_at, last_row.id))
