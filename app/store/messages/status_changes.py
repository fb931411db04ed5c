"""Cancel messages, hold them after a restore, and resolve uncertain recipients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.address.folding import fold
from app.domain.delivery.priority import compute_turn
from app.domain.delivery.status import FINAL, TO_SEND, RecipientEvent, next_status
from app.domain.errors import Conflict, NotFound
from app.domain.events import EventType, NewEvent
from app.domain.types import MessageStatus, Priority, RecipientStatus
from app.store import events
from app.store.outbox.claims import ClaimedRecipient, load_recipients
from app.store.outbox.results import close, finish_open
from app.store.tables.core import messages, recipients


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to send a message, when to give up, and its priority."""

    send_at: datetime
    expires_at: datetime
    priority: Priority


async def cancel(
    connection: AsyncConnection, *, tenant_id: str, message_id: str, now: datetime
) -> None:
    """Cancel all open recipients of a message.

    Raises NotFound, or Conflict if the message is in transmission or has no open recipient.
    """
    await _lock_free(connection, tenant_id, message_id)
    message_recipients = (await load_recipients(connection, [message_id]))[message_id]
    if not any(recipient.is_open for recipient in message_recipients):
        raise Conflict(
            "nothing-to-cancel",
            "No recipient is waiting for the message; GET it to see the status of each recipient.",
        )
    await finish_open(connection, message_ids=[message_id], event=RecipientEvent.CANCEL, now=now)


async def reschedule(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    message_id: str,
    changes: Callable[[Schedule], Schedule],
    now: datetime,
) -> None:
    """Change the schedule or the priority of a scheduled message.

    Raises NotFound, Conflict if `send_at` has passed, and what `changes` raises.
    """
    await _lock_free(connection, tenant_id, message_id)
    query = select(
        messages.c.status,
        messages.c.send_at,
        messages.c.expires_at,
        messages.c.priority,
        messages.c.profile_id,
    ).where(messages.c.id == message_id)
    row = (await connection.execute(query)).one()
    if row.status != MessageStatus.QUEUED or row.send_at is None or row.send_at <= now:
        raise Conflict(
            "message-not-scheduled",
            "This message is not scheduled. Cancel it if it still waits, and send a new one.",
        )
    new_schedule = changes(Schedule(row.send_at, row.expires_at, Priority(row.priority)))
    turn = compute_turn(new_schedule.send_at, new_schedule.priority, now)
    await connection.execute(
        update(messages)
        .where(messages.c.id == message_id)
        .values(
            send_at=new_schedule.send_at,
            expires_at=new_schedule.expires_at,
            priority=new_schedule.priority.value,
            turn_at=turn.turn_at,
            due_at=turn.due_at,
            updated_at=now,
        )
    )
    if new_schedule.send_at <= now:
        event = NewEvent(EventType.MESSAGE_QUEUED, now, tenant_id, row.profile_id, message_id)
        await events.append(connection, [event])


async def _lock_free(connection: AsyncConnection, tenant_id: str, message_id: str) -> None:
    """Lock the message; raise NotFound, or Conflict while Heloise sends it."""
    query = (
        select(messages.c.status)
        .where(messages.c.tenant_id == tenant_id, messages.c.id == message_id)
        .with_for_update()
    )
    status = (await connection.execute(query)).scalar_one_or_none()
    if status is None:
        raise NotFound("message", message_id)
    if status == MessageStatus.SENDING:
        raise Conflict(
            "message-in-transmission",
            "Heloise is sending the message; repeat the request when its status has changed.",
        )


async def hold(connection: AsyncConnection, *, now: datetime, limit: int) -> int:
    """Make the open recipients of up to `limit` messages uncertain; return how many messages.

    For unfinished messages of all tenants, leased ones too.
    """
    query = (
        select(messages.c.id).where(messages.c.due_at.is_not(None)).limit(limit).with_for_update()
    )
    message_ids = list((await connection.execute(query)).scalars())
    await finish_open(connection, message_ids=message_ids, event=RecipientEvent.MARK, now=now)
    return len(message_ids)


async def resolve(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    message_id: str,
    addresses: Sequence[str] | None,
    event: RecipientEvent,
    now: datetime,
) -> None:
    """Decide uncertain recipients: those at `addresses`, or all with None.

    Raises NotFound, or Conflict if the message is in transmission or an address is not uncertain.
    """
    await _lock_free(connection, tenant_id, message_id)
    message_recipients = (await load_recipients(connection, [message_id]))[message_id]
    positions = _find_uncertain(message_recipients, addresses)
    if not positions:
        return
    status = next_status(RecipientStatus.UNCERTAIN, event)
    await connection.execute(
        update(recipients)
        .where(recipients.c.message_id == message_id, recipients.c.position.in_(positions))
        .values(
            status=status.value,
            unknown_outcomes=None,
            updated_at=now,
            finished_at=now if status in FINAL else None,
        )
    )
    places = [(message_id, position) for position in positions]
    await events.append_recipient_events(connection, places, status, now)
    if status in TO_SEND:
        await connection.execute(
            update(messages)
            .where(messages.c.id == message_id)
            .values(
                status=MessageStatus.QUEUED.value,
                # A message that was held before its time still waits for it.
                due_at=case(
                    (messages.c.send_at > now, messages.c.send_at), else_=messages.c.turn_at
                ),
                updated_at=now,
            )
        )
    await close(connection, message_ids=[message_id], now=now)


def _find_uncertain(
    recipients: Sequence[ClaimedRecipient], addresses: Sequence[str] | None
) -> list[int]:
    """Return the positions to resolve; raise Conflict if an address is not uncertain."""
    positions = {
        fold(recipient.address): recipient.position
        for recipient in recipients
        if recipient.status is RecipientStatus.UNCERTAIN
    }
    folded_addresses = list(positions) if addresses is None else list(map(fold, addresses))
    for address in folded_addresses:
        if address not in positions:
            raise Conflict(
                "recipient-not-uncertain",
                f"{address} is not an uncertain recipient of this message. Write"
                " addresses whose status is uncertain, or leave out `recipients`.",
            )
    return [positions[address] for address in folded_addresses]
