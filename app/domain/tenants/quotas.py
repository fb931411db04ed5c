"""Define quotas and compute what they still allow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from app.domain.tenants.optional_fields import OptionalFields


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota(OptionalFields):
    """A tenant's limits; None means no limit. Days and months are in UTC.

    `requests_per_second` applies per process, all others to the whole service.
    """

    requests_per_second: int | None = None
    messages_per_day: int | None = None
    messages_per_month: int | None = None
    queued_messages: int | None = None
    recipients_per_message: int | None = None
    message_bytes: int | None = None
    profiles: int | None = None
    stored_bytes: int | None = None

    @property
    def is_counted(self) -> bool:
        """Whether accepted messages must be counted."""
        limits = (self.messages_per_day, self.messages_per_month, self.stored_bytes)
        return any(limit is not None for limit in (*limits, self.queued_messages))


NO_QUOTA: Final = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A tenant's usage: messages of a day and of its month, and stored bytes."""

    day: date
    day_messages: int = 0
    month_messages: int = 0
    stored_bytes: int = 0

    def at(self, now: datetime) -> "Usage":
        """Return the usage as of now: a new day or month starts at zero.

        A lagging clock does not start yesterday again.
        """
        today = now.astimezone(UTC).date()
        if today <= self.day:
            return self
        is_same_month = (today.year, today.month) == (self.day.year, self.day.month)
        month_messages = self.month_messages if is_same_month else 0
        return replace(self, day=today, day_messages=0, month_messages=month_messages)


@dataclass(frozen=True, slots=True)
class Exceeded:
    """An exceeded limit, its value, and when it resets, if it does."""

    limit: str
    value: int
    resets_at: datetime | None = None


def admit(
    quota: Quota, usage: Usage, *, queued: int, units: Sequence[Sequence[int]], now: datetime
) -> tuple[Usage, list[Exceeded | None]]:
    """Decide which units of messages, by their bytes, the quota admits, in order.

    Admits all messages of a unit or none. Returns the new usage, and for each unit the exceeded
    limit or None.
    """
    usage, verdicts = usage.at(now), list[Exceeded | None]()
    for sizes in units:
        count = len(sizes)
        new_usage = replace(
            usage,
            day_messages=usage.day_messages + count,
            month_messages=usage.month_messages + count,
            stored_bytes=usage.stored_bytes + sum(sizes),
        )
        verdicts.append(_find_exceeded(quota, new_usage, queued + count, now))
        if verdicts[-1] is None:
            queued, usage = queued + count, new_usage
    return usage, verdicts


def _find_exceeded(quota: Quota, usage: Usage, queued: int, now: datetime) -> Exceeded | None:
    amounts = (
        ("messages_per_day", usage.day_messages),
        ("messages_per_month", usage.month_messages),
        ("queued_messages", queued),
        ("stored_bytes", usage.stored_bytes),
    )
    for name, amount in amounts:
        limit: int | None = getattr(quota, name)
        if limit is not None and amount > limit:
            return Exceeded(name, limit, resets_at(name, now))
    return None


def resets_at(limit: str, now: datetime) -> datetime | None:
    """Return when a limit resets, or None."""
    match limit:
        case "messages_per_day":
            return day_start(now) + timedelta(days=1)
        case "messages_per_month":
            return (month_start(now) + timedelta(days=31)).replace(day=1)
        case _:
            return None


def day_start(now: datetime) -> datetime:
    """Return the start of the day in UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def month_start(now: datetime) -> datetime:
    """Return the start of the month in UTC."""
    return day_start(now).replace(day=1)
