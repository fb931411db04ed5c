"""Show messages, and act on them."""

from typing import Any, Final

from app.console.api_client import ApiError
from app.console.page import Visit
from app.domain.types import MessageSource, MessageStatus, Scope

FILTERS: Final = (
    "status",
    "recipient",
    "subject",
    "profile",
    "tag",
    "metadata",
    "key",
    "source",
    "message_id",
    "created_after",
    "created_before",
)
MAIN_FILTERS: Final = 4
ANY: Final = ("", "any")


def _choices(values: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - an enumeration
    return [ANY, *((value.value, value.value.replace("_", " ")) for value in values)]


async def list_messages(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List messages with the API's filters."""
    given = visit.request.query_params
    params = {name: given.get(name, "").strip() for name in FILTERS}
    page: dict[str, Any] = {"items": [], "next_cursor": None}
    problem = None
    try:
        page = await visit.api.get("/messages", {**params, "cursor": given.get("cursor")})
    except ApiError as error:
        if error.slug != "invalid-request":
            raise
        problem = error.detail
    template = "messages_list.html" if visit.is_live else "messages.html"
    return visit.render(
        template,
        params=params,
        problem=problem,
        has_more=any(params[name] for name in FILTERS[MAIN_FILTERS:]),
        messages=page["items"],
        next_cursor=page["next_cursor"],
        statuses=_choices(MessageStatus),
        sources=_choices(MessageSource),
    )


async def show_message(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show a message with its recipients and attempts."""
    path = f"/messages/{visit.request.path_params['message']}"
    message = await visit.api.get(path)
    attempts = await visit.api.get(f"{path}/attempts")
    template = "message_part.html" if visit.is_live else "message.html"
    return visit.render(template, message=message, attempts=attempts["items"])


async def stream_events(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Stream the tenant's events, which tell open pages to load anew."""
    return visit.api.forward("/events/stream")


# Paths below `/t/{tenant}` belong to a tenant.
PAGES: Final = (
    ("GET", "/t/{tenant}/messages", list_messages),
    ("GET", "/t/{tenant}/messages/{message}", show_message),
    ("GET", "/t/{tenant}/live", stream_events),
)
TABS: Final = (("/messages", "Messages", Scope.MESSAGES_READ),)
