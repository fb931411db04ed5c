"""What the outbox has to do, in memory and in the plainest words."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from app.domain.types import MessageStatus, NewMessage, Priority, RecipientStatus
from app.store.outbox.claims import ClaimedMessage
from app.store.outbox.results import RecipientUpdate, Settlement

OWNERS: Final = ("wrk_1", "wrk_2")
LEASE: Final = timedelta(seconds=60)
LATER: Final = timedelta(seconds=45)
FINAL: Final = {"sent", "bounced", "expired", "cancelled"}
OPEN: Final = {"queued", "deferred"}
SAID: Final = {"deliver": "sent", "bounce": "bounced", "defer": "deferred"}
HEAD_START: Final = {Priority.HIGH: 10, Priority.NORMAL: 1, Priority.LOW: 0}


@dataclass
class Recipient:
    """One recipient's row."""

    status: str = "queued"
    attempts: int = 0
    next_attempt_at: datetime | None = None

    def end(self, status: str) -> None:
        self.status, self.next_attempt_at = status, None


@dataclass
class Row:
    """One message's row."""

    turn_at: datetime
    expires_at: datetime
    recipients: list[Recipient]
    due_at: datetime | None = field(init=False)
    status: str = "queued"
    owner: str | None = None

    def __post_init__(self) -> None:
        self.due_at = self.turn_at


def status_of(statuses: Iterable[str]) -> str | None:
    """A message's status from its recipients'; None while one is to be sent."""
    distinct = set(statuses)
    if distinct & OPEN:
        return None
    if "uncertain" in distinct:
        return "held"
    if "sent" in distinct:
        return "sent" if len(distinct) == 1 else "partially_sent"
    return "cancelled" if distinct == {"cancelled"} else "failed"


def settlement_of(claimed: ClaimedMessage, verdicts: Sequence[str], now: datetime) -> Settlement:
    """What an owner writes by what it read at the claim: those who were open have their verdict."""
    updates = tuple(
        RecipientUpdate(
            position=recipient.position,
            status=RecipientStatus(SAID[verdict]),
            attempts=recipient.attempts + 1,
            next_attempt_at=now + LATER if verdict == "defer" else None,
            reply=None,
            classification="said",
        )
        for recipient, verdict in zip(claimed.recipients, verdicts, strict=False)
        if recipient.is_open and verdict != "nothing"
    )
    after: dict[int, tuple[str, datetime | None]] = {
        recipient.position: (recipient.status.value, recipient.next_attempt_at)
        for recipient in (*claimed.recipients, *updates)
    }
    status = status_of(status for status, _ in after.values())
    due = [next_at or now for status, next_at in after.values() if status in OPEN]
    return Settlement(
        message_id=claimed.id,
        recipients=updates,
        status=None if status is None else MessageStatus(status),
        due_at=min(due, default=None),
        attempts=(),
    )


class Model:
    """The outbox of one profile."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.rows: dict[str, Row] = {}

    def dump_rows(self) -> dict[str, Any]:
        """Every row, as the test reads them from the database."""
        return {
            message: (
                row.status,
                row.owner,
                row.due_at,
                [
                    (recipient.status, recipient.attempts, recipient.next_attempt_at)
                    for recipient in row.recipients
                ],
            )
            for message, row in self.rows.items()
        }

    def accept(self, message: NewMessage) -> None:
        self.rows[message.id] = Row(
            turn_at=message.created_at - timedelta(minutes=HEAD_START[message.priority]),
            expires_at=message.expires_at,
            recipients=[Recipient() for _ in message.recipients],
        )

    def accept_leased(self, message: NewMessage, owner: str) -> None:
        self.accept(message)
        row = self.rows[message.id]
        row.status, row.owner, row.due_at = "sending", owner, self.now + LEASE

    def claim(self, owner: str, limit: int) -> list[tuple[str, str | None]]:
        due = sorted(
            (row.due_at, message)
            for message, row in self.rows.items()
            if row.due_at is not None and row.due_at <= self.now
        )
        claimed = [(message, self.rows[message].owner) for _, message in due[:limit]]
        for message, _ in claimed:
            row = self.rows[message]
            row.status, row.owner, row.due_at = "sending", owner, self.now + LEASE
        return claimed

    def owned(self, owner: str, ids: Iterable[str]) -> set[str]:
        return {id_ for id_ in ids if self.rows[id_].owner == owner}

    def renew(self, owner: str, held: Iterable[str]) -> set[str]:
        message_ids = self.owned(owner, held)
        for message_id in message_ids:
            self.rows[message_id].due_at = self.now + LEASE
        return message_ids

    def release(self, owner: str, held: Iterable[str]) -> None:
        for message_id in self.owned(owner, held):
            row = self.rows[message_id]
            row.status, row.owner, row.due_at = "queued", None, row.turn_at

    def release_all(self) -> int:
        owned = [row for row in self.rows.values() if row.owner is not None]
        for row in owned:
            row.due_at = row.turn_at
        return len(owned)

    def mark(self, owner: str, message: str, positions: Collection[int]) -> bool:
        row = self.rows[message]
        if row.owner != owner:
            return False
        for position, recipient in enumerate(row.recipients):
            if position in positions and recipient.status in OPEN:
                recipient.end("uncertain")
        return True

    def settle(self, owner: str, ended: Settlement) -> set[str]:
        row = self.rows[ended.message_id]
        if row.owner != owner:
            return set()
        for recipient in ended.recipients:
            row.recipients[recipient.position] = Recipient(
                recipient.status.value, recipient.attempts, recipient.next_attempt_at
            )
        row.owner, row.due_at = None, ended.due_at
        row.status = "queued" if ended.status is None else ended.status.value
        return {ended.message_id}

    def free(self) -> list[str]:
        """What is unfinished, and nobody's or of an ended lease."""
        return [
            message
            for message, row in self.rows.items()
            if row.due_at is not None and (row.owner is None or row.due_at <= self.now)
        ]

    def expire(self) -> int:
        overdue = [
            message_id for message_id in self.free() if self.rows[message_id].expires_at <= self.now
        ]
        for message_id in overdue:
            self.finish_open(message_id, "expired")
        return len(overdue)

    def finish_open(self, message: str, status: str) -> None:
        for recipient in self.rows[message].recipients:
            if recipient.status in OPEN:
                recipient.end(status)
        self.close(message)

    def close(self, message: str) -> None:
        row = self.rows[message]
        status = status_of(recipient.status for recipient in row.recipients)
        if status is not None:
            row.status, row.owner, row.due_at = status, None, None

    def resolve(self, message: str, position: int | None, status: str) -> bool:
        row = self.rows[message]
        uncertain = [
            n for n, recipient in enumerate(row.recipients) if recipient.status == "uncertain"
        ]
        positions = uncertain if position is None else [position]
        if row.status == "sending" or not set(positions) <= set(uncertain):
            return False
        for place in positions:
            row.recipients[place].end(status)
        if status == "queued" and positions:
            row.status, row.due_at = "queued", row.turn_at
        self.close(message)
        return True
