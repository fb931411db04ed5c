"""Find due messages by the queue of their destination, and let them wait there."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Integer, Select, bindparam, cast
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db.array_params import unnest
from app.store.db.bulk import Bulk, Write
from app.store.outbox.claims import DUE_COLUMNS, build_due_query
from app.store.tables.core import messages


async def find_due(
    connection: AsyncConnection,
    *,
    profile_id: str,
    numbers: Sequence[int],
    limit: int,
    now: datetime,
    only_known_outcomes: bool = False,
    is_clock_checked: bool = False,
) -> list[Any]:
    """Lock and return up to `limit` due messages of each of these queues, soonest first.

    Options as of `queries.claim`. `queries.lease_rows` leases the rows.
    """
    if not numbers or limit == 0:
        return []
    statement = _build_due_query(
        connection.dialect.name,
        only_known_outcomes=only_known_outcomes,
        is_clock_checked=is_clock_checked,
    )
    parameters = {
        "profile_id": profile_id,
        "numbers": list(map(str, numbers)),
        "limit": limit,
        "now": now,
    }
    rows = (await connection.execute(statement, parameters)).all()
    return sorted(rows, key=lambda row: (row.due_at, row.id))


_NUMBERS: Final = unnest("numbers")


@cache
def _build_due_query(
    dialect: str, *, only_known_outcomes: bool, is_clock_checked: bool
) -> Select[Any]:
    """Build the query for the first due messages of each queue of a profile."""
    return build_due_query(
        dialect,
        _NUMBERS,
        profile_id=bindparam("profile_id"),
        destination=cast(_NUMBERS.c.value, Integer),
        columns=(*DUE_COLUMNS, "destination"),
        only_known_outcomes=only_known_outcomes,
        is_clock_checked=is_clock_checked,
    )


async def move(connection: AsyncConnection, numbers: Mapping[str, int]) -> None:
    """Move locked messages to the queues of their destinations, where they keep their turn."""
    rows = [{"id": message_id, "destination": number} for message_id, number in numbers.items()]
    await _MOVE.execute(connection, rows)


async def delay(connection: AsyncConnection, moments: Mapping[str, datetime]) -> None:
    """Let locked messages wait until a moment; no attempt is used."""
    rows = [{"id": message_id, "due_at": due_at} for message_id, due_at in moments.items()]
    await _DELAY.execute(connection, rows)


_MOVE: Final = Bulk(Write.update(messages, keys=["id"], values=["destination"]))
_DELAY: Final = Bulk(Write.update(messages, keys=["id"], values=["due_at"]))
