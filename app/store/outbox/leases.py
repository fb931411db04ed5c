"""Renew, release and end the leases of messages; `results` settles them."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import Update, and_, bindparam, null, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.types import MessageStatus
from app.store.db.array_params import any_of
from app.store.db.column_types import EPOCH, Instant
from app.store.tables.core import UNFINISHED, messages

QUEUED: Final = MessageStatus.QUEUED.value
SENDING: Final = MessageStatus.SENDING.value


@frozen_dataclass(kw_only=True)
class Lease:
    """The owner of these messages, and until when it owns them."""

    owner: str
    until: datetime
    message_ids: frozenset[str]

    def __len__(self) -> int:
        return len(self.message_ids)


NO_LEASE: Final = Lease(owner="", until=EPOCH, message_ids=frozenset())


async def renew(
    connection: AsyncConnection, *, owner: str, message_ids: Sequence[str], lease_until: datetime
) -> set[str]:
    """Extend the leases of messages; return the ids that the owner still has."""
    parameters = {"ids": message_ids, "owner": owner, "lease_until": lease_until}
    return set((await connection.execute(_RENEW, parameters)).scalars())


_OWNED: Final = messages.alias("owned")
# Locked in the order of settlements: otherwise both could deadlock.
_IS_HELD: Final = messages.c.id.in_(
    select(_OWNED.c.id)
    .where(any_of(_OWNED.c.id, "ids"), _OWNED.c.lease_owner == bindparam("owner"))
    .order_by(_OWNED.c.id)
    .with_for_update()
)
_RENEW: Final = (
    update(messages)
    .where(_IS_HELD)
    .values(due_at=bindparam("lease_until"))
    .returning(messages.c.id)
)


async def release(
    connection: AsyncConnection, *, owner: str, message_ids: Sequence[str], now: datetime
) -> None:
    """Return messages to the queue, due at once."""
    await connection.execute(_RELEASE, {"ids": message_ids, "owner": owner, "now": now})


# A message without an attempt keeps its place in the queue.
_RELEASE: Final = (
    update(messages)
    .where(_IS_HELD)
    .values(
        status=QUEUED,
        lease_owner=null(),
        due_at=messages.c.turn_at,
        updated_at=bindparam("now"),
    )
)


async def release_all(connection: AsyncConnection) -> int:
    """End the leases of dead workers; return how many messages this frees.

    Only for the sole delivering process of a database, before its first claim.
    """
    result = await connection.execute(
        update(messages)
        .where(UNFINISHED, messages.c.lease_owner.is_not(None))
        .values(due_at=messages.c.turn_at)
    )
    return result.rowcount


async def end_leases(
    connection: AsyncConnection, *, owner: str, now: datetime, latest: datetime
) -> int:
    """End the leases of a worker that is gone; return how many messages this frees.

    They keep their places in the queue, and their owner's name for the takeover. Costs an index
    probe per queue, and reads what is due from `now` to `latest`, when every lease has ended.
    """
    parameters = {"owner": owner, "now": now, "latest": latest}
    return (await connection.execute(_build_end_leases(), parameters)).rowcount


@cache
def _build_end_leases() -> Update:
    """Build the statement, which finds every queue by one probe of the index of due messages."""
    place = (messages.c.profile_id, messages.c.destination)
    queues = (
        select(*place)
        .where(messages.c.due_at.is_not(None))
        .order_by(*place)
        .limit(1)
        .cte("queues", recursive=True)
    )
    later = messages.alias("later")
    later_place = (later.c.profile_id, later.c.destination)
    next_queue = (
        select(*later_place)
        .where(later.c.due_at.is_not(None), tuple_(*later_place) > tuple_(*queues.c))
        .order_by(*later_place)
        .limit(1)
        .lateral("next_queue")
    )
    queues = queues.union_all(select(*next_queue.c).select_from(queues.join(next_queue, true())))
    leased = (
        select(_OWNED.c.id)
        .join_from(
            queues,
            _OWNED,
            and_(
                _OWNED.c.profile_id == queues.c.profile_id,
                _OWNED.c.destination == queues.c.destination,
                _OWNED.c.due_at > bindparam("now", type_=Instant()),
                _OWNED.c.due_at <= bindparam("latest", type_=Instant()),
            ),
        )
        .where(_OWNED.c.lease_owner == bindparam("owner"))
        .order_by(_OWNED.c.id)
        .with_for_update(of=_OWNED)
    )
    return update(messages).where(messages.c.id.in_(leased)).values(due_at=messages.c.turn_at)
