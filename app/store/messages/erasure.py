"""Erase a recipient (GDPR article 17)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.status import TO_SEND, RecipientEvent
from app.domain.types import MessageStatus, RecipientStatus
from app.store.outbox import results as outcomes
from app.store.outbox import wiping
from app.store.tables.core import has_address, messages, recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureResult:
    """How many messages no longer contain the address, and how many could not be changed.

    `sending` messages are in transmission; `uncertain` ones have an unknown outcome.
    `last_message_id` is the last message examined, or None.
    """

    erased: int = 0
    sending: int = 0
    uncertain: int = 0
    last_message_id: str | None = None

    def __add__(self, other: Self) -> Self:
        return replace(
            other,
            erased=self.erased + other.erased,
            sending=self.sending + other.sending,
            uncertain=self.uncertain + other.uncertain,
        )


NOTHING_ERASED: Final = ErasureResult()


async def erase(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    address: str,
    after: str | None,
    now: datetime,
    limit: int,
) -> ErasureResult:
    """Erase an address in up to `limit` messages of a tenant, ignoring case.

    Cancels the recipient if it is still open. A message with other open recipients keeps its
    content until it is final.
    """
    query = (
        select(messages.c.id, messages.c.status, recipients.c.status.label("recipient_status"))
        .join(messages, messages.c.id == recipients.c.message_id)
        .where(recipients.c.tenant_id == tenant_id, has_address(address))
        .order_by(recipients.c.message_id)
        .limit(limit)
        .with_for_update(of=messages)
    )
    if after is not None:
        query = query.where(recipients.c.message_id > after)
    rows = (await connection.execute(query)).all()
    being_sent = [row.id for row in rows if row.status == MessageStatus.SENDING]
    uncertain = [
        row.id
        for row in rows
        if row.recipient_status == RecipientStatus.UNCERTAIN and row.id not in being_sent
    ]
    skipped_ids = {*being_sent, *uncertain}
    free_rows = [row for row in rows if row.id not in skipped_ids]
    ids = [row.id for row in free_rows]
    await outcomes.finish_open(
        connection,
        message_ids=[row.id for row in free_rows if row.recipient_status in TO_SEND],
        event=RecipientEvent.CANCEL,
        now=now,
        address=address,
    )
    await _forget(connection, ids, address, now)
    return ErasureResult(
        erased=len(ids),
        sending=len(being_sent),
        uncertain=len(uncertain),
        last_message_id=rows[-1].id if rows else None,
    )


async def _forget(
    connection: AsyncConnection, message_ids: Sequence[str], address: str, now: datetime
) -> None:
    if not message_ids:
        return
    query = select(messages.c.id).where(
        messages.c.id.in_(message_ids), messages.c.finished_at.is_(None)
    )
    unfinished = set((await connection.execute(query)).scalars())
    await wiping.erase_recipients(
        connection, message_ids=message_ids, now=now, address=address, keep_content_of=unfinished
    )
    await connection.execute(
        update(messages).where(messages.c.id.in_(unfinished)).values(wipes_content=True)
    )
