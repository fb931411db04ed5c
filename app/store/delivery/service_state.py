"""Read the state of the whole service: its workers, its database, its retention."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.frozen_dataclass import frozen_dataclass
from app.store.db.column_types import EPOCH
from app.store.db.database import load_size_bytes
from app.store.db.rows import from_row
from app.store.delivery.queue import MAX_MESSAGES
from app.store.delivery.workers import is_alive
from app.store.tables.core import UNFINISHED, messages, purges, workers


@frozen_dataclass(kw_only=True)
class LiveWorker:
    """A delivering process, with the number of messages that it leases and the last lease's end."""

    id: str
    hostname: str
    pid: int
    started_at: datetime
    seen_at: datetime
    leased: int
    leased_until: datetime | None


@frozen_dataclass(kw_only=True)
class ServiceState:
    """The live workers, the size of the database, and the oldest last purge of a tenant."""

    workers: Sequence[LiveWorker]
    database_bytes: int
    purged_at: datetime | None


async def load_service_state(connection: AsyncConnection, *, alive_since: datetime) -> ServiceState:
    """Load the state; leases are those of the oldest `MAX_MESSAGES` unfinished messages."""
    return ServiceState(
        workers=await _load_workers(connection, alive_since),
        database_bytes=await load_size_bytes(connection),
        purged_at=await load_oldest_purge(connection),
    )


async def load_oldest_purge(connection: AsyncConnection) -> datetime | None:
    """Load when the tenant was purged that was purged longest ago; None if none ever was."""
    # A new tenant has nothing to purge yet.
    query = select(func.min(purges.c.purged_at)).where(purges.c.purged_at > EPOCH)
    purged_at: datetime | None = (await connection.execute(query)).scalar_one()
    return purged_at


async def _load_workers(connection: AsyncConnection, alive_since: datetime) -> list[LiveWorker]:
    unfinished = (
        select(messages.c.lease_owner, messages.c.due_at)
        .where(UNFINISHED)
        .order_by(messages.c.tenant_id, messages.c.id)
        .limit(MAX_MESSAGES)
        .subquery()
    )
    leases = (
        select(
            unfinished.c.lease_owner,
            func.count().label("leased"),
            func.max(unfinished.c.due_at).label("leased_until"),
        )
        .where(unfinished.c.lease_owner.is_not(None))
        .group_by(unfinished.c.lease_owner)
        .subquery()
    )
    query = (
        select(workers, func.coalesce(leases.c.leased, 0).label("leased"), leases.c.leased_until)
        .outerjoin(leases, leases.c.lease_owner == workers.c.id)
        .where(is_alive(since=alive_since))
        .order_by(workers.c.id)
    )
    return [from_row(LiveWorker, row) for row in (await connection.execute(query)).mappings()]
