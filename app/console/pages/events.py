"""Show the events of a tenant, as webhooks and the event stream tell them."""

from datetime import timedelta
from typing import Final

from starlette.responses import Response

from app.console.forms import ANY, Field, list_choices, read_list
from app.console.page import Visit
from app.domain.events import EventType
from app.domain.types import Scope

SHOWN: Final = 100
RECENT: Final = timedelta(hours=1)
KINDS: Final = sorted({event_type.partition(".")[0] for event_type in EventType})
ORDERS: Final = (("desc", "newest first"), ("asc", "oldest first"))
FILTERS: Final = (
    Field(
        "type",
        "Type",
        options=[ANY, *((f"{kind}.*", f"{kind}.*") for kind in KINDS), *list_choices(EventType)],
    ),
    Field("message", "Message id"),
    Field("profile", "Profile"),
    Field("created_after", "Later than"),
    Field("order", "Order", options=ORDERS, default="desc"),
)


async def list_events(visit: Visit) -> Response:
    """List events, newest first; without a choice those of the last hour."""
    if not visit.request.query_params:
        since = (visit.services.now() - RECENT).isoformat(timespec="seconds")
        return visit.redirect("/events", created_after=since.replace("+00:00", "Z"))
    page, filters = await read_list(visit, "/events", FILTERS, limit=SHOWN)
    # In the order in which they happened, the API always returns a cursor, for later events.
    if filters.values["order"] == "asc" and len(page["items"]) < SHOWN:
        page["next_cursor"] = None
    return visit.render("events.html", status=filters.status, page=page, filters=filters)


PAGES: Final = (("GET", "/t/{tenant}/events", list_events),)
TABS: Final = (("/events", "Events", Scope.EVENTS_READ),)
