"""Store suppressions, and apply them to messages."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, and_, func, join, null, select, tuple_
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.status import RecipientEvent, next_status
from app.domain.errors import Conflict
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.ids import is_id, new_id
from app.domain.suppressions import build_key, list_keys
from app.domain.types import RecipientStatus, Suppression, SuppressionReason
from app.store import events
from app.store.db.array_params import unnest_pairs
from app.store.db.bulk import Bulk, Write
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, get_row, to_row
from app.store.db.uniqueness import conflict_on_duplicate
from app.store.tables.core import recipients, suppressions, tenants

_ADD: Final = Bulk(Write.insert(suppressions, is_repeatable=True))


async def insert(connection: AsyncConnection, *, suppression: Suppression) -> None:
    """Insert a suppression; raise Conflict if the address and tag have one."""
    conflict = Conflict(
        "suppression-exists",
        f"{suppression.address} is suppressed already; to change the suppression, delete it first.",
    )
    async with conflict_on_duplicate(connection, conflict):
        await connection.execute(insert_into(suppressions).values(_row(suppression)))


async def add(connection: AsyncConnection, *, new_suppressions: Sequence[Suppression]) -> int:
    """Insert the suppressions that do not exist yet; return how many."""
    if not new_suppressions:
        return 0
    query = (
        select(func.count())
        .select_from(suppressions)
        .where(suppressions.c.id.in_([suppression.id for suppression in new_suppressions]))
    )
    await _ADD.execute(connection, [_row(suppression) for suppression in new_suppressions])
    return int((await connection.execute(query)).scalar_one())


async def add_bounced(
    connection: AsyncConnection, bounced: Sequence[tuple[str, int]], now: datetime
) -> None:
    """Suppress bounced recipients, by message and position, if their tenants want that."""
    if not bounced:
        return
    query = (
        select(
            recipients.c.tenant_id,
            recipients.c.address,
            recipients.c.reply_code,
            recipients.c.reply_enhanced_code,
        )
        .join(tenants, tenants.c.id == recipients.c.tenant_id)
        .where(
            tenants.c.suppresses_hard_bounces,
            recipients.c.erased_at.is_(None),
            tuple_(recipients.c.message_id, recipients.c.position).in_(bounced),
        )
    )
    new_suppressions = [
        Suppression(
            id=new_id("sup"),
            tenant_id=row.tenant_id,
            address=build_key(row.address),
            tag=None,
            reason=SuppressionReason.HARD_BOUNCE,
            detail=f"the server answered {row.reply_code} {row.reply_enhanced_code}",
            created_at=now,
        )
        for row in await connection.execute(query)
    ]
    await add(connection, new_suppressions=new_suppressions)


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    after: str | None = None,
    before: str | None = None,
    address: str | None = None,
    recipient: str | None = None,
    tag: str | None = None,
    reasons: Sequence[SuppressionReason] = (),
) -> list[Suppression]:
    """Return a page of the tenant's matching suppressions, newest first.

    `address` is as stored; `recipient` is an address that the suppressions cover.
    """
    query = select(suppressions).where(suppressions.c.tenant_id == tenant_id)
    if address is not None:
        query = query.where(suppressions.c.address == address)
    if recipient is not None:
        query = query.where(suppressions.c.address.in_(list_keys(recipient)))
    if tag is not None:
        query = query.where(suppressions.c.tag == tag)
    if reasons:
        query = query.where(suppressions.c.reason.in_([reason.value for reason in reasons]))
    query = newest_first(query, suppressions.c.id, limit=limit, after=after, before=before)
    return [_suppression(row) for row in (await connection.execute(query)).mappings()]


async def find(
    connection: AsyncConnection, *, tenant_id: str, suppression: str
) -> Suppression | None:
    """Return the suppression with this id, or the one of all messages to this address.

    An address is as stored.
    """
    has_name = suppressions.c.id == suppression
    if not is_id(suppression, "sup"):
        has_name = and_(suppressions.c.address == suppression, suppressions.c.tag == "")
    query = select(suppressions).where(suppressions.c.tenant_id == tenant_id, has_name)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _suppression(row)


async def delete(
    connection: AsyncConnection, *, tenant_id: str, suppression_id: str
) -> Suppression:
    """Delete a suppression and return it; raise NotFound."""
    conditions = (suppressions.c.tenant_id == tenant_id, suppressions.c.id == suppression_id)
    query = select(suppressions).where(*conditions)
    row = await get_row(connection, query, "suppression", suppression_id, for_update=True)
    await connection.execute(delete_from(suppressions).where(*conditions))
    return _suppression(row)


@frozen_dataclass
class Addressee:
    """A recipient that a message waits to be sent to."""

    tenant_id: str
    message_id: str
    position: int
    address: str


async def apply(
    connection: AsyncConnection, *, addressees: Sequence[Addressee], now: datetime
) -> list[str]:
    """Suppress open recipients of messages that the caller has locked.

    Returns the ids of messages with a suppressed recipient. Does not finish messages that have no
    recipient left.
    """
    suppressed = await _find_suppressed(connection, addressees)
    rows = [
        {
            "message_id": addressee.message_id,
            "position": addressee.position,
            "status": _SUPPRESSED.value,
            "classification": "suppressed",
            "updated_at": now,
            "finished_at": now,
        }
        for addressee in suppressed
    ]
    await _SUPPRESS.execute(connection, rows)
    places = [(addressee.message_id, addressee.position) for addressee in suppressed]
    await events.append_recipient_events(connection, places, _SUPPRESSED, now)
    return list(dict.fromkeys(message_id for message_id, _ in places))


async def _find_suppressed(
    connection: AsyncConnection, addressees: Sequence[Addressee]
) -> list[Addressee]:
    """Return the addressees that a suppression covers, if only for a tag of their message."""
    keys = collect_keys((addressee.tenant_id, addressee.address) for addressee in addressees)
    rows = await connection.execute(_FIND, {"keys_by_tenant": keys})
    tags_by_key = dict[tuple[str, str], set[str]]()
    for row in rows:
        tags_by_key.setdefault((row.tenant_id, row.address), set()).add(row.tag)
    if not tags_by_key:
        return []
    message_ids = {addressee.message_id for addressee in addressees}
    tags_by_message = await events.load_tags(connection, message_ids)

    def is_suppressed(addressee: Addressee) -> bool:
        tags = {"", *tags_by_message.get(addressee.message_id, ())}
        return any(
            not tags.isdisjoint(tags_by_key.get((addressee.tenant_id, key), ()))
            for key in list_keys(addressee.address)
        )

    return list(filter(is_suppressed, addressees))


def collect_keys(addressed: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Collect what covers the addresses of tenants, as `COVERING`'s parameter `keys_by_tenant`."""
    keys_by_tenant = dict[str, list[str]]()
    for tenant_id, address in addressed:
        keys_by_tenant.setdefault(tenant_id, []).extend(list_keys(address))
    return keys_by_tenant


_SUPPRESSED: Final = next_status(RecipientStatus.QUEUED, RecipientEvent.SUPPRESS)
_SUPPRESS: Final = Bulk(
    Write.update(
        recipients,
        keys=["message_id", "position"],
        values=["status", "classification", "updated_at", "finished_at"],
        next_attempt_at=null(),
    )
)
_KEYS: Final = unnest_pairs("keys_by_tenant")
# Joins the suppressions with these keys: one probe of the index for each.
COVERING: Final = join(
    _KEYS,
    suppressions,
    (suppressions.c.tenant_id == _KEYS.c.first) & (suppressions.c.address == _KEYS.c.second),
)
_FIND: Final = select(
    suppressions.c.tenant_id, suppressions.c.address, suppressions.c.tag
).select_from(COVERING)


def _row(suppression: Suppression) -> dict[str, Any]:
    return to_row(suppression, suppressions) | {"tag": suppression.tag or ""}


def _suppression(row: RowMapping) -> Suppression:
    reason = SuppressionReason(row["reason"])
    return from_row(Suppression, row, tag=row["tag"] or None, reason=reason)
