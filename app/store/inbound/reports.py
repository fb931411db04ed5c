"""Match reports to recipients, and store them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Insert, RowMapping, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.address.folding import fold
from app.domain.events import NewEvent, report_event_type
from app.domain.ids import new_id
from app.domain.inbound.bounce_parser import Report, ReportedRecipient, ReportKind
from app.domain.mime.build import parse_message_id
from app.domain.suppressions import build_key
from app.domain.types import Suppression, SuppressionReason
from app.store import events, suppressions
from app.store.db import delete_old as aging
from app.store.tables.core import (
    HAS_PROVIDER_MESSAGE_ID,
    attempts,
    has_address,
    inbound_reports,
    message_contents,
    message_tags,
    messages,
    recipients,
    tenants,
)

# Retries share a Message-ID.
MAX_SAME_MESSAGE_ID: Final = 20
MAX_IDS: Final = 20

_READ: Final[Mapping[str, Insert]] = {
    "postgresql": postgresql.insert(inbound_reports).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(inbound_reports).on_conflict_do_nothing(),
}
_COLUMNS: Final = (
    recipients.c.message_id,
    recipients.c.position,
    recipients.c.address,
    recipients.c.sent_to,
    recipients.c.report,
    recipients.c.erased_at,
    messages.c.profile_id,
    messages.c.recipient_count,
)
REASONS: Final = {
    ReportKind.BOUNCED_LATER: SuppressionReason.HARD_BOUNCE,
    ReportKind.COMPLAINED: SuppressionReason.COMPLAINT,
    ReportKind.UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedReport:
    """A report about one recipient, and its match; None without a message."""

    reported: ReportedRecipient
    message_id: str | None = None
    address: str | None = None
    is_suppressed: bool = False


async def record_digest(
    connection: AsyncConnection, *, tenant_id: str, digest: bytes, now: datetime
) -> bool:
    """Record a report's hash; return whether it is new."""
    row = {"tenant_id": tenant_id, "digest": digest, "created_at": now}
    return bool((await connection.execute(_READ[connection.dialect.name], row)).rowcount)


async def receive(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    report: Report,
    now: datetime,
    is_new: bool = True,
) -> list[MatchedReport]:
    """Store a report, and suppress recipients as it requires.

    Hard bounces suppress only if the tenant wants that. Writes nothing unless `is_new`. Returns a
    match for each recipient of the report.
    """
    candidates = await _load_candidates(connection, tenant_id, report)
    query = select(tenants.c.suppresses_hard_bounces).where(tenants.c.id == tenant_id)
    suppresses_hard_bounces = bool((await connection.execute(query)).scalar_one())
    received = list[MatchedReport]()
    for reported in report.recipients:
        row = _find_row(report, reported, candidates)
        if row is None and reported.kind is ReportKind.UNSUBSCRIBED:
            row = await _load_last(connection, tenant_id, reported.addresses)
        if row is None:
            received.append(MatchedReport(reported=reported))
            continue
        suppression = None
        if reported.kind is not ReportKind.BOUNCED_LATER or suppresses_hard_bounces:
            tag = await _find_tag(connection, tenant_id, report.tag, row)
            suppression = _suppression(tenant_id, tag, reported, row, now)
        if is_new:
            await _note(connection, tenant_id, reported, row, now)
            await suppressions.add(
                connection, new_suppressions=[suppression] if suppression else []
            )
        received.append(
            MatchedReport(
                reported=reported,
                message_id=row["message_id"],
                address=None if row["erased_at"] else row["address"],
                is_suppressed=suppression is not None,
            )
        )
    return received


async def _load_candidates(
    connection: AsyncConnection, tenant_id: str, report: Report
) -> list[RowMapping]:
    """Load recipients of the messages that a report may be about, the likeliest first."""
    ids = [message_id for message_id, _ in report.places]
    ids += report.ids
    ids += filter(None, map(parse_message_id, report.message_ids))
    ids = list(dict.fromkeys(ids))[:MAX_IDS]
    ids += await _load_given(connection, tenant_id, report.message_ids[:MAX_IDS])
    ids += await _load_accepted(connection, tenant_id, report.provider_message_ids[:MAX_IDS])
    if not ids:
        return []
    query = (
        select(*_COLUMNS)
        .join(messages, messages.c.id == recipients.c.message_id)
        .where(messages.c.tenant_id == tenant_id, messages.c.id.in_(ids))
    )
    rows = (await connection.execute(query)).mappings().all()
    return sorted(rows, key=lambda row: (ids.index(row["message_id"]), row["position"]))


async def _load_given(
    connection: AsyncConnection, tenant_id: str, message_ids: Collection[str]
) -> Sequence[str]:
    """Return messages with a Message-ID that was not made from their id, newest first."""
    query = (
        select(message_contents.c.message_id)
        .join(messages, messages.c.id == message_contents.c.message_id)
        .where(
            messages.c.tenant_id == tenant_id,
            message_contents.c.given_message_id.is_not(None),
            message_contents.c.given_message_id.in_(message_ids),
        )
        .order_by(message_contents.c.message_id.desc())
        .limit(MAX_SAME_MESSAGE_ID)
    )
    return (await connection.execute(query)).scalars().all()


async def _load_accepted(
    connection: AsyncConnection, tenant_id: str, provider_message_ids: Collection[str]
) -> Sequence[str]:
    """Return messages that a provider accepted with one of these ids, newest first.

    In SQL, the order would make PostgreSQL read attempts by their message.
    """
    if not provider_message_ids:
        return []
    query = (
        select(attempts.c.message_id)
        .where(
            attempts.c.tenant_id == tenant_id,
            HAS_PROVIDER_MESSAGE_ID,
            attempts.c.provider_message_id.in_(provider_message_ids),
        )
        .limit(MAX_SAME_MESSAGE_ID)
    )
    return sorted((await connection.execute(query)).scalars(), reverse=True)


def _find_row(
    report: Report, reported: ReportedRecipient, candidates: Sequence[RowMapping]
) -> RowMapping | None:
    """Find the recipient: by its place, its address, or as the only one."""
    if len(report.recipients) == 1:
        rows_by_place = {(row["message_id"], row["position"]): row for row in candidates}
        if placed_row := next(
            (rows_by_place[place] for place in report.places if place in rows_by_place), None
        ):
            return placed_row
    addresses = set(map(fold, reported.addresses))
    for row in candidates:
        if fold(row["address"]) in addresses or fold(row["sent_to"] or "") in addresses:
            return row
    # Forwarders report another address, and redacted complaints have none.
    sole_rows = [row for row in candidates if row["recipient_count"] == 1]
    return sole_rows[0] if sole_rows and len(report.recipients) == 1 else None


async def _load_last(
    connection: AsyncConnection, tenant_id: str, addresses: Iterable[str]
) -> RowMapping | None:
    """Load the last recipient with an address: unsubscribe requests name only the sender."""
    for address in addresses:
        query = (
            select(*_COLUMNS)
            .join(messages, messages.c.id == recipients.c.message_id)
            .where(recipients.c.tenant_id == tenant_id, has_address(address))
            .order_by(recipients.c.message_id.desc())
            .limit(1)
        )
        if (row := (await connection.execute(query)).mappings().one_or_none()) is not None:
            return row
    return None


async def _find_tag(
    connection: AsyncConnection, tenant_id: str, word: str | None, row: RowMapping
) -> str | None:
    """Return the tag to suppress; None, for all mail, if the word is no tag.

    A tag must exist in some message of the tenant or, ignoring case, in the last message: a
    suppression for another word would have no effect.
    """
    if word is None:
        return None
    of_tenant = message_tags.c.tenant_id == tenant_id
    query = select(message_tags.c.tag).where(of_tenant, message_tags.c.tag == word).limit(1)
    if (await connection.execute(query)).scalar_one_or_none() is not None:
        return word
    of_message = message_tags.c.message_id == row["message_id"]
    tags = await connection.execute(select(message_tags.c.tag).where(of_tenant, of_message))
    tags_by_word = {tag.casefold(): tag for tag in tags.scalars()}
    return tags_by_word.get(word.casefold())


def _suppression(
    tenant_id: str, tag: str | None, reported: ReportedRecipient, row: RowMapping, now: datetime
) -> Suppression | None:
    """Build the suppression that a report requires, or None."""
    reason = REASONS.get(reported.kind)
    is_soft = reported.kind is ReportKind.BOUNCED_LATER and not reported.is_hard_bounce
    if reason is None or is_soft or row["erased_at"] is not None:
        return None
    return Suppression(
        id=new_id("sup"),
        tenant_id=tenant_id,
        address=build_key(row["address"]),
        tag=tag,
        reason=reason,
        detail=f"of {row['message_id']}: {reported.text or reported.code or 'returned by mail'}",
        created_at=now,
    )


async def _note(
    connection: AsyncConnection,
    tenant_id: str,
    reported: ReportedRecipient,
    row: RowMapping,
    now: datetime,
) -> None:
    text = None if row["erased_at"] is not None else reported.text
    is_less = row["report"] is not None and ReportKind(row["report"]).is_final
    if reported.kind.is_final or not is_less:
        await connection.execute(
            update(recipients)
            .where(
                recipients.c.message_id == row["message_id"],
                recipients.c.position == row["position"],
            )
            .values(
                report=reported.kind.value,
                report_code=reported.code,
                report_text=text,
                reported_at=now,
            )
        )
    data: dict[str, Any] = {"enhanced_code": reported.code, "text": text}
    event = NewEvent(
        report_event_type(reported.kind),
        now,
        tenant_id,
        row["profile_id"],
        row["message_id"],
        row["position"],
        {key: value for key, value in data.items() if value},
    )
    await events.append(connection, [event])


async def delete_old(connection: AsyncConnection, *, before: datetime, limit: int) -> int:
    """Delete up to `limit` old digests of reports; return how many."""
    return await aging.delete_oldest(connection, inbound_reports, before=before, limit=limit)
