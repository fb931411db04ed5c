"""Store signing domains and their keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import RowMapping, func, select
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import Conflict
from app.domain.ids import is_id
from app.domain.mime.dkim import DkimAlgorithm, DkimKey, SendingDomain
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, get_row, group_rows, to_row
from app.store.db.uniqueness import conflict_on_duplicate
from app.store.tables.core import UNFINISHED, messages
from app.store.tables.domains import dkim_keys, sending_domains


class SealedKey(NamedTuple):
    """A key that signs for a domain."""

    domain: str
    key_id: str
    selector: str
    algorithm: DkimAlgorithm
    sealed_private_key: bytes


async def insert(connection: AsyncConnection, *, domain: SendingDomain) -> None:
    """Insert a domain without keys; raise Conflict if the tenant has it already."""
    conflict = Conflict(
        "domain-exists", f"The domain {domain.domain} exists already; get it, or rotate its keys."
    )
    async with conflict_on_duplicate(connection, conflict):
        values = to_row(domain, sending_domains)
        await connection.execute(insert_into(sending_domains).values(values))


async def insert_key(
    connection: AsyncConnection, *, domain_id: str, key: DkimKey, sealed_private_key: bytes
) -> None:
    """Insert a key of a domain."""
    values = to_row(key, dkim_keys) | {"domain_id": domain_id}
    await connection.execute(
        insert_into(dkim_keys).values(values | {"sealed_private_key": sealed_private_key})
    )


async def count(connection: AsyncConnection, *, tenant_id: str) -> int:
    """Count the tenant's domains."""
    query = select(func.count()).where(sending_domains.c.tenant_id == tenant_id)
    return int((await connection.execute(query)).scalar_one())


async def page(
    connection: AsyncConnection, *, tenant_id: str, limit: int, after: str | None = None
) -> list[SendingDomain]:
    """Return a page of the tenant's domains with their keys, newest first."""
    query = select(sending_domains).where(sending_domains.c.tenant_id == tenant_id)
    query = newest_first(query, sending_domains.c.id, limit=limit, after=after)
    rows = (await connection.execute(query)).mappings().all()
    keys = await _load_keys(connection, [row["id"] for row in rows])
    return [SendingDomain(**row, keys=keys.get(row["id"], ())) for row in rows]


async def get(
    connection: AsyncConnection, *, tenant_id: str, domain: str, for_update: bool = False
) -> SendingDomain:
    """Return a domain by id or name, locked with `for_update`; raise NotFound."""
    table = sending_domains.c
    column = table.id if is_id(domain, "dom") else table.domain
    query = select(sending_domains).where(table.tenant_id == tenant_id, column == domain)
    row = await get_row(connection, query, "domain", domain, for_update=for_update)
    keys = await _load_keys(connection, [row["id"]])
    return SendingDomain(**row, keys=keys.get(row["id"], ()))


async def load_signing_keys(connection: AsyncConnection, *, tenant_id: str) -> Sequence[SealedKey]:
    """Load the tenant's keys whose DNS records exist, oldest first."""
    query = (
        select(
            sending_domains.c.domain,
            dkim_keys.c.id,
            dkim_keys.c.selector,
            dkim_keys.c.algorithm,
            dkim_keys.c.sealed_private_key,
        )
        .join(dkim_keys, dkim_keys.c.domain_id == sending_domains.c.id)
        .where(
            sending_domains.c.tenant_id == tenant_id,
            dkim_keys.c.found_at.is_not(None),
            dkim_keys.c.retired_at.is_(None),
        )
        .order_by(dkim_keys.c.id)
    )
    rows = (await connection.execute(query)).all()
    return [
        SealedKey(row.domain, row.id, row.selector, DkimAlgorithm(row.algorithm), row[-1])
        for row in rows
    ]


async def update_keys(connection: AsyncConnection, *, domain: SendingDomain, now: datetime) -> None:
    """Store the state of a domain's keys; delete the private key of retired ones."""
    for key in domain.keys:
        values = {
            "found_at": key.found_at,
            "checked_at": key.checked_at,
            "problem": key.problem,
            "retired_at": key.retired_at,
            "record_needed_until": key.record_needed_until,
        }
        if key.retired_at is not None:
            values["sealed_private_key"] = None
        await connection.execute(
            update_rows(dkim_keys)
            .where(dkim_keys.c.domain_id == domain.id, dkim_keys.c.id == key.id)
            .values(values)
        )
    await connection.execute(
        update_rows(sending_domains)
        .where(sending_domains.c.tenant_id == domain.tenant_id, sending_domains.c.id == domain.id)
        .values(updated_at=now)
    )


async def load_last_expiry(connection: AsyncConnection, *, tenant_id: str) -> datetime | None:
    """Return when the tenant's last unfinished message expires, or None."""
    query = select(func.max(messages.c.expires_at)).where(
        messages.c.tenant_id == tenant_id, UNFINISHED
    )
    expires_at: datetime | None = (await connection.execute(query)).scalar_one()
    return expires_at


async def delete_retired_keys(
    connection: AsyncConnection, *, domain: SendingDomain, now: datetime
) -> None:
    """Delete the retired keys whose records are no longer needed."""
    await connection.execute(
        delete_from(dkim_keys).where(
            dkim_keys.c.domain_id == domain.id, dkim_keys.c.record_needed_until < now
        )
    )


async def delete(connection: AsyncConnection, *, domain: SendingDomain) -> None:
    """Delete a domain with its keys."""
    await connection.execute(
        delete_from(sending_domains).where(
            sending_domains.c.tenant_id == domain.tenant_id, sending_domains.c.id == domain.id
        )
    )


async def _load_keys(
    connection: AsyncConnection, domain_ids: Sequence[str]
) -> dict[str, tuple[DkimKey, ...]]:
    query = (
        select(dkim_keys)
        .where(dkim_keys.c.domain_id.in_(domain_ids))
        .order_by(dkim_keys.c.domain_id, dkim_keys.c.id.desc())
    )
    return await group_rows(connection, query, "domain_id", _key)


def _key(row: RowMapping) -> DkimKey:
    return from_row(DkimKey, row, algorithm=DkimAlgorithm(row["algorithm"]))
