"""Show statistics with charts, and the use of quotas."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from app.console.api_client import ApiError
from app.console.page import Visit
from app.domain.types import Scope

# What each bar of a chart consists of: statuses and reports, by the word for them.
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "sent": ("sent",),
    "waiting": ("queued", "deferred", "uncertain"),
    "not sent": ("bounced", "expired", "suppressed", "cancelled"),
}
SPANS: Final = {"1": "hour", "7": "day", "30": "day", "90": "day"}
DEFAULT_SPAN: Final = "30"
SPAN_NAMES: Final = [("1", "24 hours"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days")]
GROUPS: Final = [("profile", "profile"), ("domain", "recipients' domain"), ("tag", "tag")]
CHART_WIDTH: Final = 720
CHART_HEIGHT: Final = 160
GAP: Final = 0.1  # of a column's width, on each side
PERIODS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def show_statistics(visit: Visit) -> Response:
    """Show recipients by time and by group."""
    query_params = visit.request.query_params
    params = {name: query_params.get(name, "").strip() for name in ("days", "by", "profile", "tag")}
    days = params["days"] if params["days"] in SPANS else DEFAULT_SPAN
    by = params["by"] if params["by"] in dict(GROUPS) else GROUPS[0][0]
    before = visit.services.now()
    after = before - timedelta(days=int(days))
    query = {
        "profile": params["profile"],
        "tag": params["tag"],
        "created_after": after.isoformat(),
        "created_before": before.isoformat(),
    }
    keys = list_keys(after, before, PERIODS[SPANS[days]])
    times: list[Any] = []
    groups: list[Any] = []
    problem = None
    try:
        times = await _load_rows(visit, query | {"by": SPANS[days]})
        groups = await _load_rows(visit, query | {"by": by})
    except ApiError as error:
        if error.slug not in {"invalid-request", "profile-not-found"}:
            raise
        problem = error.detail
    return visit.render(
        "statistics/statistics.html",
        params=params | {"days": days, "by": by},
        problem=problem,
        spans=SPAN_NAMES,
        group_names=GROUPS,
        times=times,
        groups=groups,
        chart=draw(times, keys),
        first=keys[0],
        last=keys[-1],
        unit=SPANS[days],
        parts=list(PARTS),
    )


async def show_usage(visit: Visit) -> Response:
    """Show the limits of the tenant's quota, and how much of each is used."""
    usage = await visit.api.get("/usage")
    return visit.render("statistics/usage.html", limits=usage["limits"])


async def _load_rows(visit: Visit, query: Mapping[str, str]) -> list[dict[str, Any]]:
    return [summarize(group) for group in (await visit.api.get("/stats", query))["groups"]]


def summarize(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a group: its key, its recipients, and how many are of each part."""
    counts = {
        part: sum(group["statuses"][status] for status in statuses)
        for part, statuses in PARTS.items()
    }
    return {
        "key": group["key"],
        "recipients": group["recipients"],
        "counts": counts,
        "bounced": group["statuses"]["bounced"] + group["reports"]["bounced_later"],
        "complained": group["reports"]["complained"],
    }


def draw(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """Return the bars of a chart, in the units of its view box: a column for each key."""
    most = max((row["recipients"] for row in rows), default=0)
    columns = {key: number for number, key in enumerate(keys)}
    width = CHART_WIDTH / max(1, len(keys))
    bars = []
    for row in rows:
        left, bottom = columns[row["key"]] * width, float(CHART_HEIGHT)
        for part, count in row["counts"].items():
            height = CHART_HEIGHT * count / most
            bottom -= height
            if count:
                bars.append(
                    {
                        "part": part.replace(" ", "-"),
                        "x": round(left + width * GAP, 2),
                        "y": round(bottom, 2),
                        "width": round(width * (1 - 2 * GAP), 2),
                        "height": round(height, 2),
                        "title": f"{row['key']}: {count} {part}",
                    }
                )
    return {"width": CHART_WIDTH, "height": CHART_HEIGHT, "most": most, "bars": bars}


def list_keys(after: datetime, before: datetime, period: timedelta) -> list[str]:
    """List the keys of all hours or days, as the API writes them."""
    start = after - (after - EPOCH) % period
    count = -(-(before - start) // period)
    return [(start + number * period).strftime("%Y-%m-%dT%H:%M:%SZ") for number in range(count)]


PAGES: Final = (
    ("GET", "/t/{tenant}/statistics", show_statistics),
    ("GET", "/t/{tenant}/usage", show_usage),
)
TABS: Final = (
    ("/statistics", "Statistics", Scope.MESSAGES_READ),
    ("/usage", "Usage", Scope.MESSAGES_READ),
)
