"""Mask an erased address in a tenant's free texts."""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Column, ColumnElement, Text, cast, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.address.free_text import Mention
from app.store.tables.core import (
    audit_log,
    lanes,
    message_tags,
    notices,
    profiles,
    recipients,
    suppressions,
)
from app.store.tables.events import events, webhooks
from app.store.tables.inbound import mailboxes

BATCH_SIZE: Final = 500

_Columns = tuple[Column[str], ...]


async def mask_address(connection: AsyncConnection, *, tenant_id: str, address: str) -> None:
    """Mask an address in replies, reasons and the audit log, and delete its tags.

    `wiping` handles texts of messages; settings of the tenant stay.
    """
    mention = Mention(address)
    profile_ids = select(profiles.c.id).where(profiles.c.tenant_id == tenant_id)
    places: list[tuple[_Columns, ColumnElement[bool]]] = [
        (
            (audit_log.c.object_id, audit_log.c.request_id, audit_log.c.changes),
            audit_log.c.tenant_id == tenant_id,
        ),
        ((suppressions.c.detail,), suppressions.c.tenant_id == tenant_id),
        ((lanes.c.reason,), lanes.c.profile_id.in_(profile_ids)),
        ((notices.c.reason,), notices.c.tenant_id == tenant_id),
        ((mailboxes.c.reason,), mailboxes.c.tenant_id == tenant_id),
        ((webhooks.c.disabled_reason, webhooks.c.last_error), webhooks.c.tenant_id == tenant_id),
        ((events.c.data,), (events.c.tenant_id == tenant_id) & events.c.message_id.is_(None)),
    ]
    for columns, of_tenant in places:
        await _mask(connection, mention, columns, of_tenant)
    await _delete_tags(connection, tenant_id, mention)


async def _mask(
    connection: AsyncConnection, mention: Mention, columns: _Columns, of_tenant: ColumnElement[bool]
) -> None:
    table = columns[0].table
    [key] = table.primary_key.columns
    query = (
        select(key, *columns).where(of_tenant, _may_name(columns)).order_by(key).limit(BATCH_SIZE)
    )
    rows = (await connection.execute(query)).mappings().all()
    while rows:
        for row in rows:
            values = {column.name: mention.mask(row[column.name]) for column in columns}
            if any(values[name] != row[name] for name in values):
                await connection.execute(update(table).where(key == row[key.name]).values(values))
        next_query = query.where(key > rows[-1][key.name])
        rows = (await connection.execute(next_query)).mappings().all()


async def _delete_tags(connection: AsyncConnection, tenant_id: str, mention: Mention) -> None:
    query = select(message_tags.c.tag).where(
        message_tags.c.tenant_id == tenant_id, _may_name([message_tags.c.tag])
    )
    tags = (await connection.execute(query.distinct())).scalars().all()
    for tag in filter(mention.is_in, tags):
        await connection.execute(
            delete(message_tags).where(
                message_tags.c.tenant_id == tenant_id, message_tags.c.tag == tag
            )
        )


async def mask_address_in_messages(
    connection: AsyncConnection, *, message_ids: Sequence[str], address: str
) -> None:
    """Mask an address in the replies about these messages' other recipients."""
    mention, texts = Mention(address), (recipients.c.reply_text, recipients.c.report_text)
    key_columns = (recipients.c.message_id, recipients.c.position)
    query = select(*key_columns, *texts).where(
        recipients.c.message_id.in_(message_ids), _may_name(texts)
    )
    for row in (await connection.execute(query)).mappings().all():
        values = {text.name: mention.mask(row[text.name]) for text in texts}
        statement = update(recipients).where(
            *(column == row[column.name] for column in key_columns)
        )
        await connection.execute(statement.values(values))


async def delete_address_tags(connection: AsyncConnection, *, message_ids: Sequence[str]) -> None:
    """Delete the tags of these messages that name one of their recipients."""
    query = (
        select(message_tags.c.message_id, message_tags.c.tag, recipients.c.address)
        .join(recipients, recipients.c.message_id == message_tags.c.message_id)
        .where(message_tags.c.message_id.in_(message_ids), _may_name([message_tags.c.tag]))
    )
    rows = (await connection.execute(query)).all()
    for row in rows:
        if row.address and Mention(row.address).is_in(row.tag):
            await connection.execute(
                delete(message_tags).where(
                    message_tags.c.message_id == row.message_id, message_tags.c.tag == row.tag
                )
            )


def _may_name(columns: Iterable[Column[str]]) -> ColumnElement[bool]:
    """Build the condition that a text contains an @, perhaps URL-encoded."""
    texts = [cast(column, Text) for column in columns]
    return or_(*(text.contains(sign, autoescape=True) for text in texts for sign in ("@", "%40")))
