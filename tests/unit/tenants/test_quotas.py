"""What a quota allows, and when it begins anew."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from app.domain.tenants.quotas import Exceeded, Quota, Usage, admit, resets_at

NOW = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
TODAY = NOW.date()


@pytest.mark.parametrize(
    ("quota", "usage", "queued", "sizes", "kept_out"),
    [
        (Quota(), Usage(day=TODAY), 0, [10] * 3, [None] * 3),
        (
            Quota(messages_per_day=2),
            Usage(day=TODAY),
            0,
            [10] * 3,
            [None, None, "messages_per_day"],
        ),
        (Quota(messages_per_day=2), Usage(day=TODAY, day_messages=2), 0, [1], ["messages_per_day"]),
        (Quota(messages_per_day=0), Usage(day=TODAY), 0, [1], ["messages_per_day"]),
        (
            Quota(messages_per_month=3),
            Usage(day=TODAY, month_messages=2),
            0,
            [1, 1],
            [None, "messages_per_month"],
        ),
        (Quota(queued_messages=5), Usage(day=TODAY), 4, [1, 1], [None, "queued_messages"]),
        (
            Quota(stored_bytes=100),
            Usage(day=TODAY, stored_bytes=50),
            0,
            [60, 50, 1],
            ["stored_bytes", None, "stored_bytes"],
        ),
    ],
)
def test_each_message_is_weighed_by_itself(
    quota: Quota, usage: Usage, queued: int, sizes: list[int], kept_out: list[str | None]
) -> None:
    """One that is too large keeps no smaller one out."""
    _, verdicts = admit(quota, usage, queued=queued, units=[[size] for size in sizes], now=NOW)
    assert [verdict and verdict.limit for verdict in verdicts] == kept_out


def test_what_is_kept_out_is_not_counted() -> None:
    """Nor does it use up what others may have."""
    quota = Quota(messages_per_day=1)
    usage, verdicts = admit(quota, Usage(day=TODAY), queued=0, units=[[7], [7]], now=NOW)
    assert usage == Usage(day=TODAY, day_messages=1, month_messages=1, stored_bytes=7)
    assert verdicts[1] == Exceeded("messages_per_day", 1, datetime(2026, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOW, (5, 9)),
        (NOW + timedelta(minutes=29, seconds=59), (5, 9)),
        (NOW + timedelta(minutes=30), (0, 0)),
        (NOW.astimezone(timezone(timedelta(hours=5))), (5, 9)),
        (NOW - timedelta(hours=1), (5, 9)),
        (NOW - timedelta(days=3), (5, 9)),  # a clock that lags behind
        (datetime(2027, 1, 31, tzinfo=UTC), (0, 0)),
    ],
)
def test_a_new_day_begins_with_nothing(now: datetime, expected: tuple[int, int]) -> None:
    """And a new month; both are those of UTC, and none begins twice."""
    usage = Usage(day=TODAY, day_messages=5, month_messages=9, stored_bytes=3).at(now)
    assert (usage.day_messages, usage.month_messages) == expected
    assert usage.stored_bytes == 3


def test_a_new_day_keeps_the_month() -> None:
    """Until that is over too."""
    usage = Usage(day=date(2026, 1, 30), day_messages=5, month_messages=9).at(NOW)
    assert (usage.day_messages, usage.month_messages) == (0, 9)


@pytest.mark.parametrize("month", range(1, 13))
def test_months_end_with_the_first_of_the_next(month: int) -> None:
    """Of whatever length, at the end of the year too."""
    now = datetime(2026, month, 28, 13, 5, 9, 7, tzinfo=UTC)
    expected = datetime(2026 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    assert resets_at("messages_per_month", now) == expected
    assert resets_at("messages_per_day", now) == datetime(2026, month, 28, tzinfo=UTC) + timedelta(
        days=1
    )


def test_a_unit_is_admitted_as_a_whole() -> None:
    """Its messages count together, and none counts if one has no room."""
    quota = Quota(messages_per_day=3)
    units = [[1], [1, 1, 1], [1, 1]]
    usage, verdicts = admit(quota, Usage(day=TODAY), queued=0, units=units, now=NOW)
    assert [verdict and verdict.limit for verdict in verdicts] == [None, "messages_per_day", None]
    assert (usage.day_messages, usage.stored_bytes) == (3, 3)
