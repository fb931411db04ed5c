"""Show webhooks with the answers of their servers, change them, and post events again."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.api_client import ApiError
from app.console.forms import ANY, Field, Form, list_choices, read_list
from app.console.page import Visit
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
SECRET: Final[Mapping[str, Any]] = {
    "label": "Signing secret",
    "hint": "Verify the signature of each post with it, as Standard Webhooks describes.",
}


async def list_webhooks(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List webhooks and how they are."""
    page, _ = await read_list(visit, "/webhooks")
    return visit.render("webhooks/list.html", page=page)


async def show_new(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the form of a new webhook."""
    return _render_new(visit, Form.show(FIELDS))


async def create(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create a webhook, and show its secret once."""
    form = Form.read(FIELDS, visit.form)
    made = await form.send(visit.api, "POST", "/webhooks")
    if form.problem:
        return _render_new(visit, form)
    return _render_secret(visit, made, f"The webhook {made['name']} is created")


def _render_new(visit: Visit, form: Form) -> Any:  # noqa: ANN401 - an ASGI response
    return form.render(
        visit, title="Create a webhook", submit="Create", back=visit.link("/webhooks")
    )


def _render_secret(visit: Visit, webhook: Any, title: str) -> Any:  # noqa: ANN401 - an ASGI response
    return visit.render(
        "secret.html",
        title=title,
        secret=webhook["secret"],
        back=visit.link(f"/webhooks/{webhook['id']}"),
        **SECRET,
    )


async def show(visit: Visit, error: ApiError | None = None) -> Any:  # noqa: ANN401 - an ASGI response
    """Show a webhook and its deliveries, with the answers of its server."""
    path = _find_path(visit)
    webhook = await visit.api.get(path)
    page, filters = await read_list(visit, f"{path}/deliveries", FILTERS)
    return visit.render(
        "webhooks/part.html" if visit.is_live else "webhooks/webhook.html",
        status=error.status if error else filters.status,
        problem=error and error.detail,
        webhook=webhook,
        page=page,
        filters=filters,
    )


async def show_edit(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show a webhook as a form."""
    return _render_edit(visit, Form.show(EDITED, await visit.api.get(_find_path(visit))))


async def edit(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Change a webhook."""
    form = Form.read(EDITED, visit.form)
    form.require_current(await visit.api.get(_find_path(visit)))
    await form.send(visit.api, "PATCH", _find_path(visit))
    if form.problem:
        return _render_edit(visit, form)
    return visit.redirect(_find_path(visit), "The webhook is changed.")


def _render_edit(visit: Visit, form: Form) -> Any:  # noqa: ANN401 - an ASGI response
    return form.render(
        visit, title="Edit the webhook", submit="Save", back=visit.link(_find_path(visit))
    )


async def enable(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Post events again, or let them wait."""
    body = {"enabled": bool(visit.form.get("enabled"))}
    try:
        webhook = await visit.api.call("PATCH", _find_path(visit), body=body)
    except ApiError as error:
        return await show(visit, error)
    notice = "Heloise posts its events." if webhook["enabled"] else "Its events wait."
    return visit.redirect(_find_path(visit), notice)


async def rotate(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create a new secret, and show it once."""
    made = await visit.api.call("POST", f"{_find_path(visit)}/rotate")
    title = "For a day, Heloise signs with the previous secret too"
    return _render_secret(visit, made, title)


async def delete(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Delete a webhook with what waits for it."""
    await visit.api.call("DELETE", _find_path(visit))
    return visit.redirect("/webhooks", "The webhook is deleted.")


async def show_replay(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the form of a replay."""
    return await _render_replay(visit, Form.read(REPLAY, visit.request.query_params))


async def replay(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Post events again, at most a thousand at once."""
    form = Form.read(REPLAY, visit.form)
    cursor = visit.form.get("cursor") or None
    result = await form.send(visit.api, "POST", f"{_find_path(visit)}/replay", cursor=cursor)
    if form.problem or result["next_cursor"]:
        return await _render_replay(visit, form, result)
    return visit.redirect(_find_path(visit), f"Events to post again: {result['replayed']}.")


async def _render_replay(visit: Visit, form: Form, result: Any = None) -> Any:  # noqa: ANN401 - an ASGI response
    webhook = await visit.api.get(_find_path(visit))
    return visit.render(
        "webhooks/replay.html",
        status=form.status,
        webhook=webhook,
        form=form,
        result=result,
        back=visit.link(_find_path(visit)),
    )


def _find_path(visit: Visit) -> str:
    return f"/webhooks/{visit.request.path_params['webhook']}"


PAGES: Final = (
    ("GET", "/t/{tenant}/webhooks", list_webhooks),
    ("GET", "/t/{tenant}/webhooks/new", show_new),
    ("POST", "/t/{tenant}/webhooks/new", create),
    ("GET", "/t/{tenant}/webhooks/{webhook}", show),
    ("GET", "/t/{tenant}/webhooks/{webhook}/edit", show_edit),
    ("POST", "/t/{tenant}/webhooks/{webhook}/edit", edit),
    ("POST", "/t/{tenant}/webhooks/{webhook}/enable", enable),
    ("POST", "/t/{tenant}/webhooks/{webhook}/rotate", rotate),
    ("POST", "/t/{tenant}/webhooks/{webhook}/delete", delete),
    ("GET", "/t/{tenant}/webhooks/{webhook}/replay", show_replay),
    ("POST", "/t/{tenant}/webhooks/{webhook}/replay", replay),
)
TABS: Final = (("/webhooks", "Webhooks", Scope.WEBHOOKS_MANAGE),)
