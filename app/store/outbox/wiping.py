"""Delete content and recipients of messages that stay."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.outbox import address_masking
from app.store.tables.core import (
    attempts,
    has_address,
    idempotency_keys,
    message_contents,
    messages,
    recipients,
    tenant_usage,
)
from app.store.tables.events import events, webhook_attempts, webhook_deliveries, webhooks

ERASED: Final = ""
# Its ids, its status, and what to delete once it is final.
LockedMessage = Row[*tuple[Any, ...]]


async def apply_end_actions(
    connection: AsyncConnection, finished: Sequence[LockedMessage], now: datetime
) -> None:
    """Delete the content of finished messages, or all that names recipients, as their rows say."""
    erased_ids = [row.id for row in finished if row.erases_recipients]
    if wiped_ids := [row.id for row in finished if row.wipes_content or row.erases_recipients]:
        await wipe_contents(connection, message_ids=wiped_ids, now=now)
    if erased_ids:
        await erase_recipients(connection, message_ids=erased_ids, now=now)


async def wipe_contents(
    connection: AsyncConnection, *, message_ids: Sequence[str], now: datetime
) -> None:
    """Delete bytes, key, subject and the client's address; the caller has locked the rows."""
    await release_stored_bytes(connection, message_ids=message_ids)
    await connection.execute(
        update(message_contents)
        .where(*_is_not_wiped(message_ids))
        .values(mime=b"", sealed_key=None, subject="", client_address=None, wiped_at=now)
    )


async def erase_recipients(
    connection: AsyncConnection,
    *,
    message_ids: Sequence[str],
    now: datetime,
    address: str | None = None,
    keep_content_of: Collection[str] = (),
) -> None:
    """Delete everything that names the recipients, or the one with this address.

    Deletes address, name and server replies; and of the message its content, metadata, attempts,
    and tags with the address. Keeps the recipients' status, and the content of messages in
    `keep_content_of`, which still go to others. The caller has locked the rows.
    """
    conditions: list[ColumnElement[bool]] = [recipients.c.message_id.in_(message_ids)]
    if address is None:
        await address_masking.delete_address_tags(connection, message_ids=message_ids)
    else:  # the caller has removed its tags from all messages of the tenant
        conditions.append(has_address(address))
        await address_masking.mask_address_in_messages(
            connection, message_ids=message_ids, address=address
        )
    await connection.execute(
        update(recipients)
        .where(*conditions, recipients.c.erased_at.is_(None))
        .values(
            address=ERASED,
            folded_address=None,
            name=ERASED,
            reply_text=None,
            report_text=None,
            sent_to=None,
            erased_at=now,
        )
    )
    wiped_ids = [message_id for message_id in message_ids if message_id not in keep_content_of]
    await wipe_contents(connection, message_ids=wiped_ids, now=now)
    await connection.execute(
        update(message_contents)
        .where(message_contents.c.message_id.in_(message_ids))
        .values(metadata={})
    )
    await connection.execute(delete(attempts).where(attempts.c.message_id.in_(message_ids)))
    await erase_replies(connection, message_ids=message_ids)
    await connection.execute(
        update(idempotency_keys)
        .where(idempotency_keys.c.message_id.in_(message_ids))
        .values(response=None)
    )


async def erase_replies(connection: AsyncConnection, *, message_ids: Sequence[str]) -> None:
    """Delete server replies and new destinations from events of these messages.

    Also deletes the answers of webhook receivers, which may repeat what they received.
    """
    numbers = select(events.c.number).where(events.c.message_id.in_(message_ids))
    of_events = webhook_deliveries.c.event_number.in_(numbers)
    errors = (
        select(webhook_deliveries.c.webhook_id, webhook_attempts.c.error)
        .join(webhook_attempts, webhook_attempts.c.delivery_id == webhook_deliveries.c.id)
        .where(of_events, webhook_attempts.c.error.is_not(None))
    )
    await connection.execute(
        update(webhooks)
        .where(tuple_(webhooks.c.id, webhooks.c.last_error).in_(errors))
        .values(last_error=None, last_error_at=None)
    )
    delivery_ids = select(webhook_deliveries.c.id).where(of_events)
    await connection.execute(
        update(webhook_attempts)
        .where(webhook_attempts.c.delivery_id.in_(delivery_ids))
        .values(response=None, error=None)
    )
    await connection.execute(
        update(events)
        .where(events.c.message_id.in_(message_ids), events.c.data.is_not(None))
        .values(data=None)
    )


async def release_stored_bytes(connection: AsyncConnection, *, message_ids: Sequence[str]) -> None:
    """Subtract content to be deleted from the stored bytes of its tenants."""
    query = (
        select(messages.c.tenant_id, func.sum(message_contents.c.size_bytes).label("size_bytes"))
        .join(messages, messages.c.id == message_contents.c.message_id)
        .where(*_is_not_wiped(message_ids))
        .group_by(messages.c.tenant_id)
        .order_by(messages.c.tenant_id)
    )
    rows: Sequence[Any] = (await connection.execute(query)).all()
    for row in rows:
        await connection.execute(
            update(tenant_usage)
            .where(tenant_usage.c.tenant_id == row.tenant_id)
            .values(stored_bytes=tenant_usage.c.stored_bytes - row.size_bytes)
        )


def _is_not_wiped(message_ids: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions for unwiped content of these messages."""
    return message_contents.c.message_id.in_(message_ids), message_contents.c.wiped_at.is_(None)
