"""Match reports to recipients, and store them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Row, RowMapping, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.address.folding import fold
from app.domain.events import NewEvent, report_event_type
from app.domain.ids import new_id
from app.domain.inbound.bounce_parser import Report, ReportedRecipient, ReportKind
from app.domain.mime.build import parse_message_id
from app.domain.suppressions import build_key
from app.domain.types import Suppression, SuppressionReason
from app.store import events, suppressions
from app.store.db.bulk import Bulk, Write
from app.store.db.delete_old import delete_oldest
from app.store.db.uniqueness import build_inserts
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
    return bool(await record_digests(connection, tenant_id=tenant_id, digests=[digest], now=now))


async def record_digests(
    connection: AsyncConnection, *, tenant_id: str, digests: Collection[bytes], now: datetime
) -> set[bytes]:
    """Record the hashes of reports; return those that are new."""
    if not digests:
        return set()
    rows = [{"tenant_id": tenant_id, "digest": digest, "created_at": now} for digest in digests]
    statement = _INSERT_DIGESTS[connection.dialect.name]
    return set((await connection.execute(statement, rows)).scalars())


_INSERT_DIGESTS: Final = build_inserts(
    inbound_reports,
    lambda insert: insert.on_conflict_do_nothing().returning(inbound_reports.c.digest),
)


async def receive(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    report: Report,
    now: datetime,
    is_new: bool = True,
) -> list[MatchedReport]:
    """Store a report like `receive_all`. Writes nothing unless `is_new`."""
    [received] = await receive_all(
        connection, tenant_id=tenant_id, reports=[report], now=now, is_new=is_new
    )
    return received


async def receive_all(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    reports: Sequence[Report],
    now: datetime,
    is_new: bool = True,
) -> list[list[MatchedReport]]:
    """Store reports in their order, and suppress recipients as they require.

    Hard bounces suppress only if the tenant wants that. Writes nothing unless `is_new`. Returns a
    match for each recipient of each report.
    """
    if not reports:
        return []
    candidates = await _load_candidates(connection, tenant_id, reports)
    query = select(tenants.c.suppresses_hard_bounces).where(tenants.c.id == tenant_id)
    suppresses_hard_bounces = bool((await connection.execute(query)).scalar_one())
    effects, received = _Effects(now), list[list[MatchedReport]]()
    for report, rows in zip(reports, candidates, strict=True):
        matches = list[MatchedReport]()
        for reported in report.recipients:
            row = _find_row(report, reported, rows)
            if row is None and reported.kind is ReportKind.UNSUBSCRIBED:
                row = await _load_last(connection, tenant_id, reported.addresses)
            if row is None:
                matches.append(MatchedReport(reported=reported))
                continue
            suppression = None
            if reported.kind is not ReportKind.BOUNCED_LATER or suppresses_hard_bounces:
                tag = await _find_tag(connection, tenant_id, report.tag, row)
                suppression = _suppression(tenant_id, tag, reported, row, now)
            effects.add(tenant_id, reported, row, suppression)
            matches.append(
                MatchedReport(
                    reported=reported,
                    message_id=row["message_id"],
                    address=None if row["erased_at"] else row["address"],
                    is_suppressed=suppression is not None,
                )
            )
        received.append(matches)
    if is_new:
        await effects.write(connection)
    return received


async def _load_candidates(
    connection: AsyncConnection, tenant_id: str, reports: Sequence[Report]
) -> list[list[RowMapping]]:
    """Load recipients of the messages that each report may be about, the likeliest first."""
    headers = {header for report in reports for header in report.message_ids[:MAX_IDS]}
    given_ids = await _load_given(connection, tenant_id, headers)
    provider_message_ids = {
        provider_message_id
        for report in reports
        for provider_message_id in report.provider_message_ids[:MAX_IDS]
    }
    accepted_ids = await _load_accepted(connection, tenant_id, provider_message_ids)
    ids_by_report = [_list_message_ids(report, given_ids, accepted_ids) for report in reports]
    ids = {message_id for message_ids in ids_by_report for message_id in message_ids}
    rows = dict[str, list[RowMapping]]()
    if ids:
        query = (
            select(*_COLUMNS)
            .join(messages, messages.c.id == recipients.c.message_id)
            .where(messages.c.tenant_id == tenant_id, messages.c.id.in_(sorted(ids)))
        )
        for row in (await connection.execute(query)).mappings():
            rows.setdefault(row["message_id"], []).append(row)
    for message_rows in rows.values():
        message_rows.sort(key=itemgetter("position"))
    return [
        [row for message_id in message_ids for row in rows.get(message_id, ())]
        for message_ids in ids_by_report
    ]


# The ids of messages by another id of theirs, newest first.
_Ids = Mapping[str, Sequence[str]]


def _list_message_ids(report: Report, given_ids: _Ids, accepted_ids: _Ids) -> list[str]:
    """List the messages that a report may be about, the likeliest first."""
    ids = [message_id for message_id, _ in report.places]
    ids += report.ids
    ids += filter(None, map(parse_message_id, report.message_ids))
    ids = list(dict.fromkeys(ids))[:MAX_IDS]
    for header in report.message_ids[:MAX_IDS]:
        ids += given_ids.get(header, ())
    for provider_message_id in report.provider_message_ids[:MAX_IDS]:
        ids += accepted_ids.get(provider_message_id, ())
    return list(dict.fromkeys(ids))


async def _load_given(
    connection: AsyncConnection, tenant_id: str, message_ids: Collection[str]
) -> _Ids:
    """Return messages with a Message-ID that was not made from their id, newest first."""
    if not message_ids:
        return {}
    query = (
        select(message_contents.c.given_message_id, message_contents.c.message_id)
        .join(messages, messages.c.id == message_contents.c.message_id)
        .where(
            messages.c.tenant_id == tenant_id,
            message_contents.c.given_message_id.is_not(None),
            message_contents.c.given_message_id.in_(sorted(message_ids)),
        )
        .order_by(message_contents.c.message_id.desc())
        .limit(MAX_SAME_MESSAGE_ID * len(message_ids))
    )
    return _group_ids((await connection.execute(query)).all())


async def _load_accepted(
    connection: AsyncConnection, tenant_id: str, provider_message_ids: Collection[str]
) -> _Ids:
    """Return messages that a provider accepted with one of these ids, newest first.

    In SQL, the order would make PostgreSQL read attempts by their message.
    """
    if not provider_message_ids:
        return {}
    query = (
        select(attempts.c.provider_message_id, attempts.c.message_id)
        .where(
            attempts.c.tenant_id == tenant_id,
            HAS_PROVIDER_MESSAGE_ID,
            attempts.c.provider_message_id.in_(sorted(provider_message_ids)),
        )
        .limit(MAX_SAME_MESSAGE_ID * len(provider_message_ids))
    )
    pairs = (await connection.execute(query)).all()
    return _group_ids(sorted(pairs, key=itemgetter(1), reverse=True))


def _group_ids(pairs: Iterable[Row[str | None, str]]) -> _Ids:
    ids = dict[str, list[str]]()
    for other_id, message_id in pairs:
        ids.setdefault(other_id or "", []).append(message_id)
    return {other_id: group[:MAX_SAME_MESSAGE_ID] for other_id, group in ids.items()}


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


_WRITE: Final = Bulk(
    Write.update(
        recipients,
        keys=["message_id", "position"],
        values=["report", "report_code", "report_text", "reported_at"],
    ),
    events.APPEND,
)


@dataclass(slots=True)
class _Effects:
    """What reports change: the last report of each recipient, events and suppressions."""

    now: datetime
    rows: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    new_events: list[NewEvent] = field(default_factory=list)
    new_suppressions: list[Suppression] = field(default_factory=list)

    def add(
        self,
        tenant_id: str,
        reported: ReportedRecipient,
        row: RowMapping,
        suppression: Suppression | None,
    ) -> None:
        """Add a report about a recipient, after the earlier ones."""
        place = (row["message_id"], row["position"])
        text = None if row["erased_at"] is not None else reported.text
        former = self.rows[place]["report"] if place in self.rows else row["report"]
        is_less = former is not None and ReportKind(former).is_final
        if reported.kind.is_final or not is_less:
            self.rows[place] = {
                "message_id": row["message_id"],
                "position": row["position"],
                "report": reported.kind.value,
                "report_code": reported.code,
                "report_text": text,
                "reported_at": self.now,
            }
        data: dict[str, Any] = {"enhanced_code": reported.code, "text": text}
        event = NewEvent(
            report_event_type(reported.kind),
            self.now,
            tenant_id,
            row["profile_id"],
            row["message_id"],
            row["position"],
            {key: value for key, value in data.items() if value},
        )
        self.new_events.append(event)
        if suppression is not None:
            self.new_suppressions.append(suppression)

    async def write(self, connection: AsyncConnection) -> None:
        """Write everything, in one statement but for the suppressions."""
        if self.new_events:
            event_rows = events.build_rows(self.new_events)
            await _WRITE.execute(connection, list(self.rows.values()), event_rows)
            await suppressions.add(connection, new_suppressions=self.new_suppressions)


async def delete_old(connection: AsyncConnection, *, before: datetime, limit: int) -> int:
    """Delete up to `limit` old digests of reports; return how many."""
    created_at = inbound_reports.c.created_at
    return await delete_oldest(
        connection, inbound_reports, created_at < before, order=created_at, limit=limit
    )
