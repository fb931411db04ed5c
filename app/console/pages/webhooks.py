"""Show webhooks with the answers of their servers, change them, and post events again."""

from typing import Any, Final

from starlette.responses import Response

from app.console.api_client import ApiError
from app.console.forms import ANY, Field, Form, list_choices, read_list
from app.console.page import Visit
from app.console.resource import EditableResource
from app.domain.types import Scope
from app.domain.webhooks import DeliveryStatus, WebhookFormat

STATUSES: Final = [ANY, *list_choices(DeliveryStatus)]
FIELDS: Final = (
    Field("name", "Name", is_required=True),
    Field("url", "URL", hint="https:// without a port.", is_required=True),
    Field(
        "events",
        "Events",
        "lines",
        hint="One type per line, such as recipient.bounced or message.*. Empty: all.",
        default=(),
    ),
    Field("profiles", "Profiles", "lines", hint="One per line. Empty: all.", default=()),
    Field("tags", "Tags", "lines", hint="One per line. Empty: all messages.", default=()),
    Field("format", "Format", options=list_choices(WebhookFormat), default=WebhookFormat.HELOISE),
    Field("first_deferral_only", "Only the first deferral of each recipient", "checkbox"),
    Field("ordered", "Post the events of a message in order", "checkbox"),
    Field("enabled", "Post events", "checkbox", default=True),
)
EDITED: Final = (
    *FIELDS,
    Field(
        "secret",
        "Secret",
        "password",
        hint="Needed to change the URL: the current secret or a new one. A new one replaces all"
        " previous ones at once.",
    ),
)
FILTERS: Final = (Field("status", "Status", options=STATUSES), Field("event", "Event id"))
REPLAY: Final = (
    Field("status", "Only deliveries with the status", options=STATUSES),
    Field("created_after", "Only events since", hint="For example 2026-01-15T09:00:00Z."),
    Field("created_before", "Only events before"),
    Field("events", "Or these events", "lines", hint="One id per line."),
)


def _render_secret(visit: Visit, webhook: Any, title: str) -> Response:  # noqa: ANN401 - JSON
    return visit.render(
        "secret.html",
        title=title,
        label="Signing secret",
        secret=webhook["secret"],
        hint="Verify the signature of each post with it, as Standard Webhooks describes.",
        back=visit.link(f"/webhooks/{webhook['id']}"),
    )


WEBHOOKS: Final = EditableResource(
    path="/webhooks",
    noun="webhook",
    template="webhooks/list.html",
    fields=FIELDS,
    show_secret=_render_secret,
    choose_fields=lambda _: EDITED,
    has_page=True,
)


async def show(visit: Visit, error: ApiError | None = None) -> Response:
    """Show a webhook and its deliveries, with the answers of its server."""
    path = WEBHOOKS.find_path(visit)
    webhook = await visit.api.get(path)
    page, filters = await read_list(visit, f"{path}/deliveries", FILTERS)
    return visit.render(
        "webhooks/webhook.html",
        status=filters.status,
        error=error,
        webhook=webhook,
        page=page,
        filters=filters,
    )


async def enable(visit: Visit) -> Response:
    """Post events again, or let them wait."""
    body = {"enabled": bool(visit.form.get("enabled"))}
    try:
        webhook = await visit.api.call("PATCH", WEBHOOKS.find_path(visit), body=body)
    except ApiError as error:
        return await show(visit, error)
    notice = "Heloise posts its events." if webhook["enabled"] else "Its events wait."
    return visit.redirect(WEBHOOKS.find_path(visit), notice)


async def rotate(visit: Visit) -> Response:
    """Create a new secret, and show it once."""
    made = await visit.api.call("POST", f"{WEBHOOKS.find_path(visit)}/rotate")
    title = "For a day, Heloise signs with the previous secret too"
    return _render_secret(visit, made, title)


async def show_replay(visit: Visit) -> Response:
    """Show the form of a replay."""
    return await _render_replay(visit, Form.read(REPLAY, visit.request.query_params))


async def replay(visit: Visit) -> Response:
    """Post events again, at most a thousand at once."""
    form = Form.read(REPLAY, visit.form)
    cursor = visit.form.get("cursor") or None
    result = await form.send(
        visit.api, "POST", f"{WEBHOOKS.find_path(visit)}/replay", cursor=cursor
    )
    if form.problem or result["next_cursor"]:
        return await _render_replay(visit, form, result)
    return visit.redirect(WEBHOOKS.find_path(visit), f"Events to post again: {result['replayed']}.")


async def _render_replay(visit: Visit, form: Form, result: Any = None) -> Response:  # noqa: ANN401 - JSON
    webhook = await visit.api.get(WEBHOOKS.find_path(visit))
    return visit.render(
        "webhooks/replay.html",
        status=form.status,
        webhook=webhook,
        form=form,
        result=result,
        back=visit.link(WEBHOOKS.find_path(visit)),
    )


PAGES: Final = (
    *WEBHOOKS.list_routes(),
    WEBHOOKS.route("GET", "", show),
    WEBHOOKS.route("POST", "/enable", enable),
    WEBHOOKS.route("POST", "/rotate", rotate),
    WEBHOOKS.route("GET", "/replay", show_replay),
    WEBHOOKS.route("POST", "/replay", replay),
)
TABS: Final = (("/webhooks", "Webhooks", Scope.WEBHOOKS_MANAGE),)
