"""Read messages with their recipients and attempts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from app.domain.address.parse import format_named_address
from app.domain.delivery.status import TO_SEND
from app.domain.inbound.bounce_parser import ReportKind
from app.domain.trace_context import read_trace_id
from app.domain.types import (
    Guarantee,
    MessageSource,
    MessageStatus,
    NamedAddress,
    Priority,
    RecipientKind,
    RecipientStatus,
)
from app.store.db.rows import from_row


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientView:
    """A recipient with its current status."""

    address: str
    name: str
    kind: RecipientKind
    status: RecipientStatus
    attempts: int
    next_attempt_at: datetime | None
    reply_code: int | None
    reply_enhanced_code: str | None
    reply_text: str | None
    classification: str | None
    sent_to: str | None
    erased_at: datetime | None
    report: ReportKind | None
    report_code: str | None
    report_text: str | None
    reported_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """A message with its current status and its recipients, as to, cc, bcc.

    The subject of a sensitive message is not kept. A worker looks at the message again at `due_at`:
    at its turn or, while the message is leased, at the end of the lease.
    """

    id: str
    status: MessageStatus
    profile_id: str
    profile_name: str
    sender: NamedAddress
    subject: str
    recipients: tuple[RecipientView, ...]
    message_id_header: str
    size_bytes: int
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    priority: Priority
    guarantee: Guarantee
    is_sensitive: bool
    content_wiped_at: datetime | None
    due_at: datetime | None
    destination: int
    created_at: datetime
    updated_at: datetime
    send_at: datetime | None
    expires_at: datetime
    finished_at: datetime | None
    retry_of: str | None
    source: MessageSource | None
    key_id: str | None
    request_id: str | None
    traceparent: str | None
    client_address: str | None

    @property
    def trace_id(self) -> str | None:
        return read_trace_id(self.traceparent)

    def format_recipients(self, kind: RecipientKind) -> list[str]:
        """Return the recipients of a header field, with names, without erased ones."""
        return [
            format_named_address(NamedAddress(recipient.address, recipient.name))
            for recipient in self.recipients
            if recipient.kind is kind and recipient.erased_at is None
        ]

    def status_at(self, now: datetime) -> MessageStatus:
        """Return the status: a queued message is `scheduled` until `send_at`."""
        if self.status is MessageStatus.QUEUED and self.send_at is not None and self.send_at > now:
            return MessageStatus.SCHEDULED
        return self.status

    @property
    def is_unfinished(self) -> bool:
        """Whether Heloise still sends the message by itself."""
        return self.status in {MessageStatus.QUEUED, MessageStatus.SENDING}

    def has_worker(self, now: datetime) -> bool:
        """Whether a worker leases the message."""
        is_leased = self.status is MessageStatus.SENDING
        return is_leased and self.due_at is not None and self.due_at > now


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """An attempt to send a message; `recipients` has an entry for each recipient in it.

    `transcript` has the format of `smtp.transcript`; None if not kept or not requested.
    """

    id: str
    profile_id: str
    started_at: datetime
    duration_ms: float
    host: str | None
    port: int | None
    remote_address: str | None
    ehlo_name: str | None
    ehlo_source: str | None
    tls_version: str | None
    tls_cipher: str | None
    auth_mechanism: str | None
    stage: str
    scope: str | None
    verdict: str
    classification: str
    reply_code: int | None
    reply_enhanced_code: str | None
    reply_text: str | None
    detail: str | None
    outcome_unknown: bool
    provider_message_id: str | None
    recipients: Sequence[Mapping[str, Any]]
    transcript: str | None


def build_view(
    row: RowMapping, recipient_rows: Iterable[RowMapping], tags: tuple[str, ...]
) -> MessageView:
    """Build a view from the rows of a message and its recipients, and its tags.

    A recipient is `sending` if its message is leased and it was due at the claim, whose time is
    `updated_at`. This is computed, never stored.
    """
    status = MessageStatus(row["status"])
    claimed_at = row["updated_at"] if status is MessageStatus.SENDING else None
    return from_row(
        MessageView,
        row,
        status=status,
        sender=NamedAddress(row["sender_address"], row["sender_name"]),
        recipients=tuple(_recipient(recipient_row, claimed_at) for recipient_row in recipient_rows),
        tags=tags,
        priority=Priority(row["priority"]),
        guarantee=Guarantee(row["guarantee"]),
        content_wiped_at=row["wiped_at"],
        source=row["source"] and MessageSource(row["source"]),
    )


def _is_sending(row: RowMapping, status: RecipientStatus, claimed_at: datetime) -> bool:
    """Whether a leased message is being sent to this recipient, or marked since the claim."""
    if status is RecipientStatus.UNCERTAIN:
        return bool(row["updated_at"] >= claimed_at)
    due_at = row["next_attempt_at"]
    return status in TO_SEND and (due_at is None or due_at <= claimed_at)


def _recipient(row: RowMapping, claimed_at: datetime | None) -> RecipientView:
    status = RecipientStatus(row["status"])
    if claimed_at is not None and _is_sending(row, status, claimed_at):
        status = RecipientStatus.SENDING
    return from_row(
        RecipientView,
        row,
        kind=RecipientKind(row["kind"]),
        status=status,
        report=row["report"] and ReportKind(row["report"]),
    )
