"""Define quotas and compute what they still allow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from app.domain.tenants.optional_fields import non_null_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a tenant may use; None is no limit. Days and months are those of UTC.

    `requests_per_second` holds in each process, all others over all of them together.
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
        """Whether what is accepted has to be counted."""
        limits = (self.messages_per_day, self.messages_per_month, self.stored_bytes)
        return any(limit is not None for limit in (*limits, self.queued_messages))

    def as_dict(self) -> dict[str, int]:
        """The limits that there are, by name."""
        return non_null_fields(self)


NO_QUOTA: Final = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a tenant has used: messages accepted on a day and in its month, bytes that are kept."""

    day: date
    day_messages: int = 0
    month_messages: int = 0
    stored_bytes: int = 0

    def at(self, now: datetime) -> "Usage":
        """The same as of now: a new day, or month, begins with nothing.

        A clock that lags behind another's does not begin yesterday again.
        """
        today = now.astimezone(UTC).date()
        if today <= self.day:
            return self
        is_same_month = (today.year, today.month) == (self.day.year, self.day.month)
        month_messages = self.month_messages if is_same_month else 0
        return replace(self, day=today, day_messages=0, month_messages=month_messages)


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Which limit allows no more, its value, and when it begins anew, if by itself."""

    limit: str
    value: int
    resets_at: datetime | None = None


def admit(
    quota: Quota, usage: Usage, *, queued: int, sizes: Sequence[int], now: datetime
) -> tuple[Usage, list[Exceeded | None]]:
    """Which of these messages, by their bytes, may be accepted, one after the other.

    Answers what will have been used then, and for each what keeps it out, if anything.
    """
    usage, verdicts = usage.at(now), list[Exceeded | None]()
    for size_bytes in sizes:
        verdicts.append(_find_exceeded(quota, usage, queued, size_bytes, now))
        if verdicts[-1] is None:
            queued += 1
            usage = replace(
                usage,
                day_messages=usage.day_messages + 1,
                month_messages=usage.month_messages + 1,
                stored_bytes=usage.stored_bytes + size_bytes,
            )
    return usage, verdicts


def _find_exceeded(
    quota: Quota, usage: Usage, queued: int, size_bytes: int, now: datetime
) -> Exceeded | None:
    amounts = (
        ("messages_per_day", usage.day_messages + 1),
        ("messages_per_month", usage.month_messages + 1),
        ("queued_messages", queued + 1),
        ("stored_bytes", usage.stored_bytes + size_bytes),
    )
    for name, amount in amounts:
        limit: int | None = getattr(quota, name)
        if limit is not None and amount > limit:
            return Exceeded(name, limit, resets_at(name, now))
    return None


def resets_at(limit: str, now: datetime) -> datetime | None:
    """When a limit begins anew by itself, if ever."""
    match limit:
        case "messages_per_day":
            return day_end(now)
        case "messages_per_month":
            return month_end(now)
        case _:
            return None


def day_start(now: datetime) -> datetime:
    """When the day of UTC began."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def day_end(now: datetime) -> datetime:
    """When the day of UTC is over."""
    return day_start(now) + timedelta(days=1)


def month_start(now: datetime) -> datetime:
    """When the month of UTC began."""
    return day_start(now).replace(day=1)


def month_end(now: datetime) -> datetime:
    """When the month of UTC is over."""
    return (month_start(now) + timedelta(days=31)).replace(day=1)
