"""List messages, and act on many of them."""

from collections import Counter
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from starlette.responses import Response

from app.console.api_client import ApiError, Forward
from app.console.errors import PageError
from app.console.forms import ANY, Field, Form, list_choices, parse_number, read_list
from app.console.page import Visit
from app.console.pages.inbox import can_practice
from app.domain.types import MessageSource, MessageStatus, Scope

FILTERS: Final = (
    Field("status", "Status", options=[ANY, *list_choices(MessageStatus)]),
    Field("recipient", "Recipient"),
    Field("subject", "Subject"),
    Field("profile", "Profile"),
    Field("tag", "Tag"),
    Field("metadata", "Metadata", placeholder="order:42"),
    Field("key", "Key", placeholder="key_…"),
    Field("source", "Source", options=[ANY, *list_choices(MessageSource)]),
    Field("message_id", "Message-ID"),
    Field("request_id", "Request", placeholder="req_…"),
    Field("created_after", "Created after", placeholder="2026-01-15T09:00:00Z"),
    Field("created_before", "Created before", placeholder="2026-01-15T09:00:00Z"),
)
MAIN_FILTERS: Final = 4
# `POST /messages/actions` does not search.
SEARCHES: Final = frozenset({"subject", "metadata"})
# Action, resolution, what the button says, and what was done.
ACTIONS: Final = {
    "cancel": ("cancel", None, "Cancel", "Cancelled"),
    "retry": ("retry", None, "Retry", "Retried"),
    "resolve-sent": ("resolve", "sent", "Mark uncertain recipients as sent", "Resolved"),
    "resolve-bounced": ("resolve", "bounced", "Mark uncertain recipients as bounced", "Resolved"),
    "resolve-retry": ("resolve", "retry", "Send to uncertain recipients once more", "Resolved"),
}
# A request acts this long; the page then offers to continue.
ACT_SECONDS: Final = 10.0
# Fields of the form that continue an action: what became of how many messages.
PROGRESS: Final = "progress."
DONE: Final = "done"


async def list_messages(visit: Visit) -> Response:
    """List messages with the API's filters."""
    page, filters = await read_list(visit, "/messages", FILTERS)
    depth = await visit.api.get("/queue/depth")
    is_empty = not page["items"] and not filters.filled
    return visit.render(
        "messages/list.html",
        page=page,
        filters=filters,
        main_filters=MAIN_FILTERS,
        can_act_on_all=bool(filters.filled) and not SEARCHES & filters.filled.keys(),
        can_practice=visit.config.has_inbox and is_empty and await can_practice(visit),
        counts=depth["messages"],
        is_counted=depth["is_complete"],
        statuses=list_choices(MessageStatus),
        actions=[(name, label) for name, (_, _, label, _) in ACTIONS.items()],
    )


async def act(visit: Visit) -> Response:
    """Count what an action would change, or act once the user has seen the count."""
    form = visit.form
    if form.get("do") not in ACTIONS:
        raise PageError(422, "No action chosen", "Choose what to do with the messages.")
    action, resolution, label, done_word = ACTIONS[form["do"]]
    counted_at = form.get("counted_at") or visit.services.now().isoformat()
    chosen = _read_choice(form, counted_at)
    body: dict[str, Any] = {"action": action, "filter": chosen}
    if resolution is not None:
        body["as"] = resolution
    progress = _read_progress(form)
    filters = Form.read(FILTERS, form).filled
    values: dict[str, Any] = {
        "label": label,
        "progress": progress,
        "filters": filters,
        "counted_at": counted_at,
        "back": visit.link("/messages", **filters),
    }
    try:
        if form.get("confirmed") != "yes":
            count = await visit.api.call("POST", "/messages/actions", body=body)
            return visit.render("messages/act.html", count=count["matched"], **values)
        cursor, problem = await _act(visit, body, progress)
    except ApiError as error:
        return visit.render(
            "messages/act.html", status=error.status, problem=error.detail, count=0, **values
        )
    values["summary"] = _describe(progress)
    if problem is not None:
        values |= {"problem": problem.detail, "status": problem.status}
    if cursor is not None:
        return visit.render("messages/act.html", count=0, cursor=cursor, **values)
    return visit.redirect("/messages", f"{done_word}: {values['summary']}", **filters)


def _read_progress(form: Mapping[str, str]) -> Counter[str]:
    """Return how many messages were done, and how many were skipped by slug."""
    numbers = {
        name.removeprefix(PROGRESS): parse_number(text)
        for name, text in form.items()
        if name.startswith(PROGRESS)
    }
    return Counter({name: number for name, number in numbers.items() if isinstance(number, int)})


def _describe(progress: Counter[str]) -> str:
    skipped = [
        f" Skipped {number}: {slug.replace('-', ' ')}."
        for slug, number in progress.items()
        if slug != DONE
    ]
    return f"{progress[DONE]}.{''.join(skipped)}"


def _read_choice(form: Mapping[str, str], counted_at: str) -> dict[str, Any]:
    """Return the filter for selected messages, or for all that match now."""
    if form.get("on") == "filter":
        filters = Form.read(FILTERS, form).filled
        # What arrives after the count is not meant.
        return {"created_before": counted_at, **filters} if filters else {}
    message_ids = form.get("id", "").split()
    if not message_ids:
        raise PageError(
            422, "No message selected", "Go back, and select messages before you choose an action."
        )
    return {"id": message_ids}


async def _act(
    visit: Visit, body: dict[str, Any], progress: Counter[str]
) -> tuple[str | None, ApiError | None]:
    """Act on one batch after the other; return where to continue, or None at the end.

    A problem after the first batch is returned too.
    """
    cursor: str | None = visit.form.get("cursor") or None
    ends_at = monotonic() + ACT_SECONDS
    while True:
        try:
            result = await visit.api.call(
                "POST", "/messages/actions", body={**body, "dry_run": False, "cursor": cursor}
            )
        except ApiError as error:
            if cursor is None:
                raise
            return cursor, error
        progress.update({DONE: result["done"], **result["skipped"]})
        cursor = result["next_cursor"]
        if cursor is None or monotonic() > ends_at:
            return cursor, None


async def stream_events(visit: Visit) -> Forward:
    """Stream the tenant's events, which tell open pages to load anew."""
    return visit.api.forward("/events/stream")


# Paths below `/t/{tenant}` belong to a tenant.
PAGES: Final = (
    ("GET", "/t/{tenant}/messages", list_messages),
    ("POST", "/t/{tenant}/messages/act", act),
    ("GET", "/t/{tenant}/live", stream_events),
)
TABS: Final = (("/messages", "Messages", Scope.MESSAGES_READ),)
