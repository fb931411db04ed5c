"""Update the time and priority of a scheduled message."""

from datetime import datetime

from app.accept.build import MAX_AGE, MAX_SCHEDULE_AHEAD
from app.api.messages.schemas import MessageUpdate
from app.domain.errors import InvalidRequest
from app.store.messages.status_changes import Schedule


def reschedule(before: Schedule, body: MessageUpdate, now: datetime) -> Schedule:
    """Apply an update to a schedule; raises InvalidRequest."""
    send_at = before.send_at
    if "send_at" in body.model_fields_set:
        send_at = max(now, body.send_at or now)
    if send_at > now + MAX_SCHEDULE_AHEAD:
        raise InvalidRequest.at("send_at", msg="write a time within the next year")
    expires_at = body.expires_at or send_at + (before.expires_at - before.send_at)
    if not send_at < expires_at <= send_at + MAX_AGE:
        raise InvalidRequest.at(
            "expires_at", msg="write a time in the future, at most 30 days after send_at"
        )
    return Schedule(send_at, expires_at, body.priority or before.priority)
