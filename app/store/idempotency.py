"""Store used idempotency keys."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db.delete_old import delete_oldest
from app.store.db.rows import to_row
from app.store.db.uniqueness import build_inserts
from app.store.tables.core import idempotency_keys

_INSERT: Final = build_inserts(
    idempotency_keys,
    lambda insert: insert.on_conflict_do_nothing().returning(idempotency_keys.c.message_id),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """A request with a key, the message that it made, and its response.

    Stores only the hash of the key, which may contain personal data. `sealed_fingerprint`
    identifies the body. `response` is None after its deletion.
    """

    tenant_id: str
    key_hash: str
    message_id: str
    sealed_fingerprint: bytes = field(repr=False)
    response: str | None = field(repr=False)
    created_at: datetime


async def find(
    connection: AsyncConnection, *, tenant_id: str, hashes: Sequence[str]
) -> dict[str, KeyedRequest]:
    """Return the first requests with these keys, by key hash."""
    query = select(idempotency_keys).where(
        idempotency_keys.c.tenant_id == tenant_id, idempotency_keys.c.key_hash.in_(hashes)
    )
    rows = (await connection.execute(query)).mappings()
    return {row["key_hash"]: KeyedRequest(**row) for row in rows}


async def claim(
    connection: AsyncConnection, requests: Sequence[KeyedRequest]
) -> dict[str, KeyedRequest]:
    """Insert new keys; return the earlier requests with the others, by new message id.

    Waits for a concurrent insert of the same key. Inserts in one order, so that two groups cannot
    deadlock.
    """
    if not requests:
        return {}
    sorted_requests = sorted(requests, key=lambda request: (request.tenant_id, request.key_hash))
    rows = [to_row(request, idempotency_keys) for request in sorted_requests]
    inserted = await connection.execute(_INSERT[connection.dialect.name], rows)
    if len(inserted.all()) == len(rows):
        return {}
    pairs = [(request.tenant_id, request.key_hash) for request in sorted_requests]
    query = select(idempotency_keys).where(
        tuple_(idempotency_keys.c.tenant_id, idempotency_keys.c.key_hash).in_(pairs)
    )
    first_by_key = {
        (row["tenant_id"], row["key_hash"]): KeyedRequest(**row)
        for row in (await connection.execute(query)).mappings()
    }
    first_by_message_id = {
        request.message_id: first_by_key[request.tenant_id, request.key_hash]
        for request in requests
    }
    return {
        message_id: first_request
        for message_id, first_request in first_by_message_id.items()
        if first_request.message_id != message_id
    }


async def release(connection: AsyncConnection, requests: Sequence[KeyedRequest]) -> None:
    """Delete the claimed keys of messages that were refused."""
    if requests:
        ids = [request.message_id for request in requests]
        await connection.execute(
            delete(idempotency_keys).where(idempotency_keys.c.message_id.in_(ids))
        )


async def delete_old(connection: AsyncConnection, *, before: datetime, limit: int) -> int:
    """Delete up to `limit` keys used before a moment, oldest first; return how many."""
    created_at = idempotency_keys.c.created_at
    return await delete_oldest(
        connection, idempotency_keys, created_at < before, order=created_at, limit=limit
    )
