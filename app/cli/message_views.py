"""Print messages and attempts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from app.api.messages.responses import AttemptRead, MessageRead, WaitingRead
from app.cli.terminal import format_age, print_fields, print_json, print_table, print_transcript

COLUMNS: Final = ("id", "accepted", "status", "profile", "to", "subject", "waits")
RECIPIENT_COLUMNS: Final = ("recipient", "status", "attempts", "waits", "last reply")
ATTEMPT_COLUMNS: Final = ("started", "ms", "server", "EHLO name", "stage", "verdict", "reply")
FIELDS: Final = (
    "id",
    "status",
    "profile",
    "sender",
    "subject",
    "tags",
    "created_at",
    "send_at",
    "expires_at",
    "finished_at",
    "retry_of",
    "source",
    "key_id",
    "request_id",
    "trace_id",
    "client_address",
)


def print_messages(reads: Sequence[MessageRead], now: datetime, *, as_json: bool) -> None:
    """Print a list of messages."""
    if as_json:
        print_json([read.model_dump(mode="json", by_alias=True) for read in reads])
        return
    print_table(COLUMNS, [_build_row(read, now) for read in reads])


def _build_row(read: MessageRead, now: datetime) -> tuple[object, ...]:
    first, *others = read.recipients
    to = f"{first.address or 'erased'}{f' and {len(others)} more' if others else ''}"
    waits = read.waiting and read.waiting.reason
    age = format_age(read.created_at, now)
    return read.id, age, read.status, read.profile, to, read.subject, waits


def print_message(read: MessageRead, now: datetime, *, as_json: bool) -> None:
    """Print a message with its recipients."""
    if as_json:
        print_json(read.model_dump(mode="json", by_alias=True))
        return
    fields = [("from" if name == "sender" else name, getattr(read, name)) for name in FIELDS]
    print_fields([*fields, ("waiting", _describe_wait(read.waiting, now))])
    print_table(
        RECIPIENT_COLUMNS,
        [
            (
                recipient.address or "erased",
                recipient.status,
                recipient.attempts,
                recipient.waiting and recipient.waiting.reason,
                recipient.last_reply
                and _join_reply(
                    recipient.last_reply.code,
                    recipient.last_reply.enhanced_code,
                    recipient.last_reply.text,
                ),
            )
            for recipient in read.recipients
        ],
    )


def _describe_wait(waiting: WaitingRead | None, now: datetime) -> str | None:
    if waiting is None:
        return None
    until = "" if waiting.until is None else f", next try {format_age(waiting.until, now)}"
    return f"{waiting.reason}{until}: {waiting.detail}"


def print_attempts(reads: Sequence[AttemptRead], now: datetime, *, as_json: bool) -> None:
    """Print attempts, with their dialogues if they were read."""
    if as_json:
        print_json(list(reads))
        return
    print_table(ATTEMPT_COLUMNS, [_build_attempt_row(read, now) for read in reads])
    for read in reads:
        print_transcript(read.transcript or ())


def _build_attempt_row(read: AttemptRead, now: datetime) -> tuple[object, ...]:
    server = f"{read.host}:{read.port}" if read.host else None
    reply = _join_reply(read.reply_code, read.reply_enhanced_code, read.reply_text)
    return (
        format_age(read.started_at, now),
        round(read.duration_ms, 1),
        server,
        read.ehlo_name,
        read.stage,
        read.verdict,
        reply or read.detail,
    )


def _join_reply(*parts: object) -> str:
    return " ".join(str(part) for part in parts if part is not None)
