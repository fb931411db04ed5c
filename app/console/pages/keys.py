"""Show API keys; create, rotate and revoke them. A new key is shown once, with what to paste."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.api_client import ApiError
from app.console.page import Visit
from app.domain.types import Scope

SENT_ERRORS: Final = frozenset({"invalid-request", "scope-exceeds-caller", "key-inactive"})
OVERLAPS: Final = (
    ("86400", "for a day"),
    ("3600", "for an hour"),
    ("604800", "for a week"),
    ("0", "not at all"),
)
LISTS: Final = ("profiles", "networks", "allowed_from")


async def list_keys(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List the tenant's keys, revoked ones included."""
    cursor = visit.request.query_params.get("cursor")
    page = await visit.api.get("/keys", {"cursor": cursor})
    now = visit.services.now().isoformat()
    return visit.render(
        "keys/keys.html",
        keys=page["items"],
        next_cursor=page["next_cursor"],
        now=now,
        overlaps=OVERLAPS,
    )


async def show_form(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the form of a new key."""
    return _render_form(visit, {}, {})


async def create_key(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create a key, and show it."""
    form = visit.form
    body: dict[str, Any] = {
        "name": form.get("name", ""),
        "scopes": form.get("scopes", "").split("\n") if form.get("scopes") else [],
        **{name: form.get(name, "").replace(",", " ").split() for name in LISTS},
    }
    if form.get("expires_at", "").strip():
        body["expires_at"] = form["expires_at"].strip()
    try:
        key = await visit.api.call("POST", "/keys", body=body)
    except ApiError as error:
        if error.slug not in SENT_ERRORS:
            raise
        return _render_form(visit, form, error.errors_by_field, problem=error.detail)
    return _render_key(visit, key)


async def rotate_key(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Replace a key, and show the new one."""
    path = f"/keys/{visit.request.path_params['key']}/rotate"
    overlap = visit.form.get("overlap", "")
    seconds = int(overlap) if overlap in dict(OVERLAPS) else int(OVERLAPS[0][0])
    key = await visit.api.call("POST", path, body={"overlap_seconds": seconds})
    return _render_key(visit, key)


async def revoke_key(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Revoke a key."""
    await visit.api.call("DELETE", f"/keys/{visit.request.path_params['key']}")
    return visit.redirect("/keys", "The key is revoked.")


def _render_form(
    visit: Visit, values: Mapping[str, str], errors: dict[str, str], *, problem: str = ""
) -> Any:  # noqa: ANN401 - an ASGI response
    return visit.render(
        "keys/new_key.html",
        status=422 if problem else 200,
        values=values,
        errors=errors,
        problem=problem,
        scopes=[scope.value for scope in Scope if visit.can(scope)],
        chosen=values.get("scopes", "").split("\n"),
    )


def _render_key(visit: Visit, key: Any) -> Any:  # noqa: ANN401 - JSON, and an ASGI response
    """Show a new key, which is nowhere else: neither in a cookie nor in the log."""
    url = visit.request.url
    base = f"{url.scheme}://{url.netloc}{visit.link('').partition(visit.config.path)[0]}"
    return visit.render("keys/key.html", key=key, base=base, host=url.hostname)


PAGES: Final = (
    ("GET", "/t/{tenant}/keys", list_keys),
    ("POST", "/t/{tenant}/keys", create_key),
    ("GET", "/t/{tenant}/keys/new", show_form),
    ("POST", "/t/{tenant}/keys/{key}/rotate", rotate_key),
    ("POST", "/t/{tenant}/keys/{key}/revoke", revoke_key),
)
TABS: Final = (("/keys", "Keys", Scope.KEYS_MANAGE),)
