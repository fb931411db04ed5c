"""Define the JSON of messages, recipients and attempts in responses."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from pydantic import Field
from pydantic_core import to_json

from app.api.http.fields import (
    CLIENT_ADDRESS,
    KEY_ID,
    REQUEST_ID,
    SOURCE,
    TRACE_ID,
    ResponseModel,
)
from app.api.http.pagination import Page
from app.api.messages.examples import ATTEMPT, MESSAGE
from app.domain.address.parse import format_named_address
from app.domain.delivery.status import TO_SEND
from app.domain.delivery.waiting import LaneFacts, NextAttempt, Waiting, WaitReason, explain_wait
from app.domain.ehlo import EhloSource
from app.domain.inbound.bounce_parser import ReportKind
from app.domain.outcome.dialogue_lines import parse_dialogue
from app.domain.outcome.outcome import FailureScope, Stage, Verdict
from app.domain.trace_context import read_trace_id
from app.domain.types import (
    Guarantee,
    MessageSource,
    MessageStatus,
    NewMessage,
    Priority,
    Profile,
    RecipientKind,
    RecipientStatus,
)
from app.store.messages.views import AttemptView, MessageView, RecipientView


class LastReply(ResponseModel):
    """The server's last reply and its classification."""

    code: int | None
    enhanced_code: str | None
    text: str | None
    classification: str | None


class ReportRead(ResponseModel):
    """A report that arrived by mail or from an email provider."""

    kind: ReportKind = Field(
        description="`bounced_later`: a later server returned the message. Of several reports,"
        " Heloise shows the most serious, and the newest of equally serious ones."
    )
    code: str | None = Field(description="The enhanced status code (RFC 3463).")
    text: str | None
    at: datetime


class WaitingRead(ResponseModel):
    """Why a message or a recipient waits."""

    reason: WaitReason = Field(
        description="`scheduled`: until `send_at`. `profile_paused`: you paused the profile."
        " `no_worker`: no process delivers. `profile_failing`: the profile does not work, or its"
        " server is silent. `backoff`: until the next attempt after a temporary failure. `quota`:"
        " the tenant's rate limit is used up. `rate_limited`: the profile's rate limit is used up."
        " `destination_limited`: a limit of the recipients' destination, or the profile's ramp, is"
        " used up. `in_turn`: other messages of the profile go first, or a worker is about to take"
        " it. If several apply, Heloise shows the first of this list."
    )
    code: str | None = Field(
        description="A stable code: the profile's `failing_code`, or the `classification` of the"
        " last reply. Null for other reasons."
    )
    detail: str = Field(description="What holds it up, with the server's reply if there was one.")
    until: datetime | None = Field(
        description="When Heloise tries next. Null if that is not known."
    )


class RecipientRead(ResponseModel):
    """A recipient and its status."""

    address: str | None = Field(description="Null after an erasure.")
    name: str
    kind: RecipientKind
    status: RecipientStatus
    attempts: int = Field(description="The number of attempts.")
    next_attempt_at: datetime | None
    last_reply: LastReply | None
    sent_to: str | None = Field(
        description="The address to which `redirect_all_to` sent the message. Null: `address`."
    )
    report: ReportRead | None = Field(
        description="The report about this recipient, by mail or from an email provider."
        " Null if there is none."
    )
    waiting: WaitingRead | None = Field(
        description="Why the recipient waits. Null if it does not wait."
    )

    @classmethod
    def of(cls, view: RecipientView, waiting: Waiting | None = None) -> Self:
        reply = None
        if view.reply_code is not None or view.classification is not None:
            reply = LastReply(
                code=view.reply_code,
                enhanced_code=view.reply_enhanced_code,
                text=view.reply_text,
                classification=view.classification,
            )
        return cls.build(
            view,
            address=view.address if view.erased_at is None else None,
            last_reply=reply,
            report=_read_report(view),
            waiting=waiting,
        )


def _read_report(view: RecipientView) -> ReportRead | None:
    if view.report is None or view.reported_at is None:
        return None
    return ReportRead(
        kind=view.report, code=view.report_code, text=view.report_text, at=view.reported_at
    )


class MessageRead(ResponseModel, populate_by_name=True, json_schema_extra={"examples": [MESSAGE]}):
    """A message and the status of each recipient."""

    id: str
    status: MessageStatus
    profile: str = Field(description="The profile's name.")
    profile_id: str
    sender: str = Field(alias="from")
    subject: str | None = Field(
        description="Null for a sensitive message and after the content was deleted."
    )
    recipients: list[RecipientRead]
    message_id_header: str = Field(description="The header `Message-ID`, the same in all attempts.")
    size_bytes: int = Field(description="The size of the message on the wire.")
    tags: list[str]
    metadata: dict[str, str]
    priority: Priority
    guarantee: Guarantee
    sensitive: bool
    content_wiped_at: datetime | None = Field(description="When Heloise deleted the content.")
    created_at: datetime
    send_at: datetime | None = Field(description="The scheduled time. Null: at once.")
    expires_at: datetime = Field(description="When Heloise gives up.")
    updated_at: datetime
    finished_at: datetime | None = Field(
        description="When the last recipient reached a final status."
    )
    retry_of: str | None = Field(description="The message that this one retries.")
    source: MessageSource | None = Field(description=SOURCE)
    key_id: str | None = Field(description=KEY_ID)
    request_id: str | None = Field(description=REQUEST_ID)
    trace_id: str | None = Field(description=TRACE_ID)
    client_address: str | None = Field(description=CLIENT_ADDRESS)
    waiting: WaitingRead | None = Field(
        description="Why the message waits. Null if it does not wait, and in the answer to the"
        " request that sends it."
    )

    @classmethod
    def of(cls, view: MessageView, now: datetime, lane: LaneFacts | None) -> Self:
        """Build from a stored message; `lane` is needed for an unfinished one."""
        waits = [_explain_wait(view, recipient, now, lane) for recipient in view.recipients]
        return cls.build(
            view,
            status=view.status_at(now),
            profile=view.profile_name,
            sender=format_named_address(view.sender),
            subject=None if view.is_sensitive or view.content_wiped_at else view.subject,
            recipients=[
                RecipientRead.of(recipient, wait)
                for recipient, wait in zip(view.recipients, waits, strict=True)
            ],
            sensitive=view.is_sensitive,
            waiting=None if view.has_worker(now) else _find_first(view, waits),
        )


def _explain_wait(
    view: MessageView, recipient: RecipientView, now: datetime, lane: LaneFacts | None
) -> Waiting | None:
    """Explain why a recipient waits; a worker that leases the message sends to those due."""
    is_waiting = recipient.status in TO_SEND or (
        recipient.status is RecipientStatus.SENDING and not view.has_worker(now)
    )
    if lane is None or not view.is_unfinished or not is_waiting:
        return None
    reply = (recipient.reply_code, recipient.reply_enhanced_code, recipient.reply_text)
    attempt = NextAttempt(
        send_at=view.send_at,
        at=recipient.next_attempt_at,
        destination=view.destination,
        last_code=recipient.classification,
        last_reply=" ".join(str(part) for part in reply if part is not None),
    )
    return explain_wait(attempt, lane, now)


def _find_first(view: MessageView, waits: Sequence[Waiting | None]) -> Waiting | None:
    """Find the wait of the recipient that is due first."""
    waiting = [pair for pair in zip(view.recipients, waits, strict=True) if pair[1] is not None]
    first = min(waiting, key=lambda pair: pair[0].next_attempt_at or view.created_at, default=None)
    return first and first[1]


def dump_new_message(message: NewMessage, profile: Profile) -> str:
    """Return the JSON of a new message without reading it back.

    Skips validation, which would take four times as long.
    """
    status = MessageStatus.SCHEDULED if message.is_scheduled else MessageStatus.QUEUED
    read = {
        "id": message.id,
        "status": status,
        "profile": profile.name,
        "profile_id": profile.id,
        "from": format_named_address(message.sender),
        "subject": None if message.is_sensitive else message.subject,
        "recipients": [
            {
                "address": recipient.named_address.address,
                "name": recipient.named_address.name,
                "kind": recipient.kind,
                "status": RecipientStatus.QUEUED,
                "attempts": 0,
                "next_attempt_at": None,
                "last_reply": None,
                "sent_to": None,
                "report": None,
                "waiting": None,
            }
            for recipient in message.recipients
        ],
        "message_id_header": message.message_id_header,
        "size_bytes": len(message.mime),
        "tags": sorted(message.tags),
        "metadata": message.metadata,
        "priority": message.priority,
        "guarantee": message.guarantee,
        "sensitive": message.is_sensitive,
        "content_wiped_at": None,
        "created_at": message.created_at,
        "send_at": message.send_at,
        "expires_at": message.expires_at,
        "updated_at": message.created_at,
        "finished_at": None,
        "retry_of": message.retry_of,
        "source": message.origin.source,
        "key_id": message.origin.key_id,
        "request_id": message.origin.request_id,
        "trace_id": read_trace_id(message.origin.traceparent),
        "client_address": message.origin.client_address,
        "waiting": None,
    }
    return to_json(read).decode()


class MessagePage(Page[MessageRead]):
    """A page of messages, newest first."""


class AttemptRecipient(ResponseModel):
    """The outcome of an attempt for one recipient."""

    address: str
    stage: Stage
    verdict: Verdict
    classification: str
    reply_code: int | None
    reply_enhanced_code: str | None
    reply_text: str | None


class TranscriptLine(ResponseModel):
    """A line of a dialogue."""

    ms: float = Field(description="Milliseconds since the start of the connection.")
    stage: Stage
    by: str = Field(description="`client`, `server`, or `note` for a remark by Heloise.")
    text: str


class AttemptRead(ResponseModel, json_schema_extra={"examples": [ATTEMPT]}):
    """An attempt to send a message: its stage, outcome and replies."""

    id: str
    profile_id: str = Field(
        description="The profile that Heloise used: the message's profile or its fallback."
    )
    started_at: datetime
    duration_ms: float
    host: str | None
    port: int | None
    remote_address: str | None
    ehlo_name: str | None = Field(description="The EHLO name that Heloise sent.")
    ehlo_source: EhloSource | None
    tls_version: str | None = Field(description="Null if the connection was not encrypted.")
    tls_cipher: str | None
    auth_mechanism: str | None
    stage: Stage = Field(description="The stage at which the attempt ended.")
    scope: FailureScope | None = Field(
        description="What the failure affects. Null if there was none."
    )
    verdict: Verdict
    classification: str
    reply_code: int | None
    reply_enhanced_code: str | None
    reply_text: str | None
    detail: str | None
    outcome_unknown: bool = Field(description="Whether the server may have accepted the message.")
    provider_message_id: str | None = Field(
        description="The id in the reply of Amazon SES, SendGrid or Brevo, by which their webhooks"
        " name the message. Null for all other servers."
    )
    recipients: list[AttemptRecipient] = Field(description="The outcome of each recipient.")
    transcript: list[TranscriptLine] | None = Field(
        description="The dialogue without credentials and content. Null without"
        " `?transcript=true`, after HELOISE_TRANSCRIPT_RETENTION_DAYS, and with"
        " HELOISE_TRANSCRIPTS=failures for an attempt that delivered to every recipient."
    )

    @classmethod
    def of(cls, view: AttemptView) -> Self:
        lines = None if view.transcript is None else parse_dialogue(view.transcript)
        return cls.build(view, transcript=lines)


class AttemptPage(Page[AttemptRead]):
    """A page of attempts, oldest first."""
