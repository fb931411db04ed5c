"""Show a message, its recipients' timelines and its content, and act on it."""

from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from app.api.http.threads import run_in_thread_if_large
from app.console.api_client import ApiError
from app.console.errors import PageError
from app.console.forms import parse_number
from app.console.html_frame import respond_with_html
from app.console.page import Visit
from app.domain.mime.contents import Contents, read_contents
from app.domain.mime.header_reader import TooComplexError

MAX_SHOWN_BYTES: Final = 200_000
MAX_ATTEMPTS: Final = 200
MAX_DELIVERIES: Final = 200
VIEWS: Final = ("dialogue", "headers", "text", "html", "files", "raw")
RETRIED: Final = frozenset({"bounced", "expired", "cancelled"})
CANCELLED: Final = frozenset({"scheduled", "queued", "sending"})
# What Heloise does next with a recipient that does not wait.
NEXT: Final[Mapping[str, str]] = {
    "sending": "Heloise is sending the message.",
    "sent": "The server accepted the message. A report may follow.",
    "bounced": "Heloise does not try again.",
    "expired": "Heloise gave up, and does not try again.",
    "suppressed": "The address is suppressed, so Heloise did not send the message.",
    "cancelled": "The message was cancelled for this recipient.",
    "uncertain": "The server may have accepted the message. Heloise does not send it again: you"
    " decide.",
}
CONCLUSIONS: Final[Mapping[str, str]] = {
    "delivered": "The server accepted the message.",
    "defer": "A temporary failure: Heloise tries again.",
    "bounce": "A permanent failure: Heloise does not try again.",
    "again": "The server would accept the recipient, but not in this transaction.",
}
EHLO_SOURCES: Final[Mapping[str | None, str]] = {
    "profile": "set in the profile",
    "tenant": "set in the tenant",
    "service": "set in HELOISE_EHLO_NAME",
    "hostname": "the machine's host name",
    "address_literal": "the machine's address, since no name is set",
}
SOURCES: Final[Mapping[str | None, str]] = {
    "api": "over the HTTP API",
    "smtp": "over SMTP",
    "resend": "over the Resend-compatible API",
    "cli": "by the command line",
    None: "in a way that Heloise did not record",
}
FILE_POLICY: Final = "sandbox; default-src 'none'"


def _path_of(visit: Visit) -> str:
    return f"/messages/{visit.request.path_params['message']}"


async def show_message(visit: Visit) -> Response:
    """Show a message with a timeline for each recipient."""
    return await _show_timeline(visit)


async def _show_timeline(visit: Visit, error: ApiError | None = None) -> Response:
    path = _path_of(visit)
    message = await visit.api.get(path)
    page = await visit.api.get(f"{path}/attempts", {"limit": MAX_ATTEMPTS})
    events = []
    if visit.can("events:read"):
        event_page = await visit.api.get(
            "/events", {"message": message["id"], "limit": MAX_ATTEMPTS}
        )
        events = event_page["items"]
    deliveries, webhook_names = await _load_deliveries(visit, path)
    statuses = {recipient["status"] for recipient in message["recipients"]}
    is_kept = not message["sensitive"] and message["content_wiped_at"] is None
    return visit.render(
        "messages/message.html",
        error=error,
        view="timeline",
        message=message,
        timelines=[
            (recipient, _find_attempts(recipient, page["items"]))
            for recipient in message["recipients"]
        ],
        has_more_attempts=page["next_cursor"] is not None,
        events=events,
        deliveries=deliveries,
        webhook_names=webhook_names,
        conclusions=CONCLUSIONS,
        next_steps=NEXT,
        ehlo_sources=EHLO_SOURCES,
        sources=SOURCES,
        can_cancel=message["status"] in CANCELLED,
        can_retry=is_kept and bool(statuses & RETRIED),
        once=token_urlsafe(),
        errors={} if error is None else error.field_errors,
        given=visit.form,
    )


async def _load_deliveries(visit: Visit, path: str) -> tuple[list[Any], Mapping[str, str]]:
    """Load what webhooks were told of the message, and the names of webhooks by id."""
    if not visit.can("webhooks:manage"):
        return [], {}
    try:
        page = await visit.api.get(f"{path}/webhook-deliveries", {"limit": MAX_DELIVERIES})
    except ApiError as error:
        if error.slug != "key-is-bound":
            raise
        return [], {}
    if not page["items"]:
        return [], {}
    webhooks = await visit.api.get("/webhooks", {"limit": MAX_DELIVERIES})
    return page["items"], {webhook["id"]: webhook["name"] for webhook in webhooks["items"]}


def _find_attempts(
    recipient: Mapping[str, Any], attempts: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the attempts that concern a recipient, each with the recipient's outcome.

    An attempt that ended before RCPT has one outcome for all.
    """
    addresses = {recipient["address"], recipient["sent_to"]} - {None}
    pairs = list[tuple[dict[str, Any], dict[str, Any]]]()
    for attempt in attempts:
        outcomes = attempt["recipients"]
        if not outcomes:
            pairs.append((attempt, attempt))
        pairs += [(attempt, outcome) for outcome in outcomes if outcome["address"] in addresses]
    return pairs


async def show_view(visit: Visit) -> Response:
    """Show the dialogue or the content of a message."""
    view = visit.request.path_params["view"]
    if view not in VIEWS:
        raise PageError(404, "No such page", "Choose one of the tabs of the message.")
    path = _path_of(visit)
    message = await visit.api.get(path)
    values: dict[str, Any] = {"attempts": [], "contents": None, "raw": "", "absence": None}
    if view == "dialogue":
        page = await visit.api.get(
            f"{path}/attempts", {"transcript": "true", "limit": MAX_ATTEMPTS}
        )
        values["attempts"] = page["items"]
    else:
        try:
            raw = await visit.api.read(f"{path}/raw")
            if view == "raw":
                values["raw"] = raw[:MAX_SHOWN_BYTES].decode("utf-8", "replace")
                values["is_cut"] = len(raw) > MAX_SHOWN_BYTES
            else:
                values["contents"] = await run_in_thread_if_large(len(raw), read_contents, raw)
        except ApiError as error:
            if error.slug not in {"content-wiped", "content-sensitive"}:
                raise
            values["absence"] = error.detail
        except TooComplexError as error:
            values["absence"] = f"The message is too complex to show: {error}. Download it."
    is_remote = visit.request.query_params.get("remote") == "1"
    return visit.render(
        "messages/view.html", view=view, message=message, is_remote=is_remote, **values
    )


async def _read(visit: Visit) -> Contents:
    """Read the content of the page's message; raises ApiError or PageError."""
    raw = await visit.api.read(f"{_path_of(visit)}/raw")
    try:
        return await run_in_thread_if_large(len(raw), read_contents, raw)
    except TooComplexError as error:
        raise PageError(422, "Too complex", f"{error}. Download the message.") from None


async def show_document(visit: Visit) -> Response:
    """Return the HTML of a message, to be framed: it runs no script and loads nothing.

    With `?remote=1` it loads images.
    """
    is_remote = visit.request.query_params.get("remote") == "1"
    return respond_with_html((await _read(visit)).html or "", allow_remote=is_remote)


async def download_file(visit: Visit) -> Response:
    """Return a file of a message as a download."""
    files = (await _read(visit)).files
    number = parse_number(visit.request.path_params["number"])
    if not isinstance(number, int) or number >= len(files):
        raise PageError(404, "No such file", "The message has no such file.")
    file = files[number]
    return _build_download(file.content, file.name)


async def download_message(visit: Visit) -> Response:
    """Return the message in RFC 5322 format as a download."""
    content = await visit.api.read(f"{_path_of(visit)}/raw")
    return _build_download(content, f"{visit.request.path_params['message']}.eml")


def _build_download(content: bytes, name: str) -> Response:
    return Response(
        content,
        media_type="application/octet-stream",
        headers={
            "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "content-security-policy": FILE_POLICY,
        },
    )


async def cancel(visit: Visit) -> Response:
    """Cancel a message."""
    return await _change(visit, "cancel", "The message is cancelled.")


async def retry(visit: Visit) -> Response:
    """Send the content again to failed recipients, in a new message."""
    headers = {"idempotency-key": visit.form.get("once", "")}
    try:
        new = await visit.api.call("POST", f"{_path_of(visit)}/retry", body={}, headers=headers)
    except ApiError as error:
        return await _show_timeline(visit, error)
    return visit.redirect(f"/messages/{new['id']}", "This new message has the same content.")


async def resolve(visit: Visit) -> Response:
    """Set the outcome of an uncertain recipient."""
    body = {"recipients": visit.form.get("recipient", ""), "as": visit.form.get("as", "")}
    return await _change(visit, "resolve", "The recipient is resolved.", body)


async def reschedule(visit: Visit) -> Response:
    """Change the time of a scheduled message."""
    # An empty field is a mistake: only the button sends now.
    is_now = visit.form.get("now") == "1"
    body = {"send_at": None if is_now else visit.form.get("send_at", "").strip()}
    return await _change(visit, "", "The message has a new time.", body)


async def _change(
    visit: Visit, operation: str, notice: str, body: Mapping[str, Any] | None = None
) -> Response:
    path = _path_of(visit)
    try:
        if operation:
            await visit.api.call("POST", f"{path}/{operation}", body=body)
        else:
            await visit.api.call("PATCH", path, body=body)
    except ApiError as error:
        return await _show_timeline(visit, error)
    return visit.redirect(path, notice)


_MESSAGE: Final = "/t/{tenant}/messages/{message}"
PAGES: Final = (
    ("GET", _MESSAGE, show_message),
    ("GET", f"{_MESSAGE}/document", show_document),
    ("GET", f"{_MESSAGE}/download", download_message),
    ("GET", f"{_MESSAGE}/files/{{number}}", download_file),
    ("GET", f"{_MESSAGE}/{{view}}", show_view),
    ("POST", f"{_MESSAGE}/cancel", cancel),
    ("POST", f"{_MESSAGE}/retry", retry),
    ("POST", f"{_MESSAGE}/resolve", resolve),
    ("POST", f"{_MESSAGE}/reschedule", reschedule),
)
TABS: Final = ()
