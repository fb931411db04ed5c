"""Show the events of a tenant, as webhooks and the event stream tell them."""

from datetime import timedelta
from typing import Any, Final

from app.console.forms import ANY, Field, list_choices, read_list
from app.console.page import Visit
from app.domain.events import EventType
from app.domain.types import Scope

SHOWN: Final = 200
MAX_FOLLOWED: Final = 10
RECENT: Final = timedelta(hours=1)
KINDS: Final = sorted({event_type.partition(".")[0] for event_type in EventType})
FILTERS: Final = (
    Field(
        "type",
        "Type",
        options=[ANY, *((f"{kind}.*", f"{kind}.*") for kind in KINDS), *list_choices(EventType)],
    ),
    Field("message", "Message id"),
    Field("profile", "Profile"),
    Field("created_after", "Later than"),
)


async def list_events(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List the latest events, newest first; without a choice those of the last hour.

    With `order=oldest`, list them in the order in which they happened, page by page.
    """
    query = visit.request.query_params
    if not query:
        since = (visit.services.now() - RECENT).isoformat(timespec="seconds")
        return visit.redirect("/events", created_after=since.replace("+00:00", "Z"))
    page, filters = await read_list(visit, "/events", FILTERS, limit=SHOWN)
    events, is_cut = page["items"], False
    is_latest = query.get("order") != "oldest"
    if is_latest:
        # The API lists the oldest first.
        for _ in range(MAX_FOLLOWED):
            if len(page["items"]) < SHOWN:
                break
            params = {name: text.strip() for name, text in filters.values.items()}
            page = await visit.api.get(
                "/events", {**params, "cursor": page["next_cursor"], "limit": SHOWN}
            )
            is_cut = is_cut or bool(page["items"])
            events = [*events, *page["items"]][-SHOWN:]
        events = events[::-1]
    # The API always returns a cursor, since later events may follow.
    next_cursor = page["next_cursor"] if len(page["items"]) == SHOWN else None
    return visit.render(
        "events/part.html" if visit.is_live else "events/list.html",
        status=filters.status,
        events=events,
        is_cut=is_cut,
        is_latest=is_latest,
        next_cursor=next_cursor,
        filters=filters,
    )


PAGES: Final = (("GET", "/t/{tenant}/events", list_events),)
TABS: Final = (("/events", "Events", Scope.EVENTS_READ),)
