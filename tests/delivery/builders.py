"""Claimed messages and replies to judge."""

from datetime import UTC, datetime, timedelta

from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.outcome.replies import Reply
from app.domain.types import Guarantee, Priority, RecipientStatus
from app.store.outbox.claims import ClaimedMessage, ClaimedRecipient

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
OK = Reply(250, "Ok: queued as 4XyZ", "2.0.0")


def claimed_message(
    *recipients: ClaimedRecipient, guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
) -> ClaimedMessage:
    """A message that was just claimed, and expires in a day."""
    return ClaimedMessage(
        id="msg_1",
        tenant_id="ten_1",
        profile_id="prf_1",
        envelope_from="billing@example.com",
        priority=Priority.NORMAL,
        guarantee=guarantee,
        former_owner=None,
        sendable_at=NOW,
        expires_at=NOW + timedelta(days=1),
        recipients=recipients or (queued_recipient(0, "ann@example.org"),),
        mime=b"Subject: x\r\n\r\nx\r\n",
    )


def queued_recipient(position: int, address: str) -> ClaimedRecipient:
    """A recipient that was never tried."""
    return recipient(position, address, RecipientStatus.QUEUED)


def recipient(
    position: int,
    address: str,
    status: RecipientStatus,
    *,
    attempts: int = 0,
    next_attempt_at: datetime | None = None,
) -> ClaimedRecipient:
    """A recipient as it stands."""
    return ClaimedRecipient(
        position=position,
        address=address,
        status=status,
        attempts=attempts,
        next_attempt_at=next_attempt_at,
    )


def refusal(stage: Stage, code: int, text: str, enhanced_code: str | None = None) -> Failure:
    """A failure by the server's reply."""
    return Failure(stage, reply=Reply(code, text, enhanced_code))


def lost_connection(stage: Stage) -> Failure:
    """A connection that ended at this stage."""
    return Failure(stage, fault=Fault.DISCONNECTED, detail="the server closed the connection")
