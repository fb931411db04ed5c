"""Show API keys; create, rotate and revoke them. A new key is shown once, with what to paste."""

from typing import Any, Final

from starlette.responses import Response

from app.console.forms import Field, Form, read_list
from app.console.page import Visit
from app.domain.types import Scope

OVERLAPS: Final = (
    ("86400", "for a day"),
    ("3600", "for an hour"),
    ("604800", "for a week"),
    ("0", "not at all"),
)


async def list_keys(visit: Visit) -> Response:
    """List the tenant's keys, revoked ones included."""
    page, _ = await read_list(visit, "/keys")
    now = visit.services.now().isoformat()
    return visit.render("keys/keys.html", page=page, now=now, overlaps=OVERLAPS)


async def show_form(visit: Visit) -> Response:
    """Show the form of a new key."""
    return _render_form(visit, Form.show(_list_fields(visit)))


async def create_key(visit: Visit) -> Response:
    """Create a key, and show it."""
    form = Form.read(_list_fields(visit), visit.form)
    key = await form.send(visit.api, "POST", "/keys")
    return _render_form(visit, form) if form.problem else _render_key(visit, key)


def _list_fields(visit: Visit) -> list[Field]:
    """List the fields of a new key, with the scopes that the user has."""
    return [
        Field("name", "Name", hint="The program that uses the key.", is_required=True),
        Field(
            "scopes",
            "Scopes",
            "choices",
            options=[(scope, scope) for scope in Scope if visit.can(scope)],
            default=(),
        ),
        Field(
            "profiles",
            "Profiles",
            "words",
            hint="Names, separated by spaces. Empty: all.",
            default=(),
        ),
        Field(
            "allowed_from",
            "Senders",
            "words",
            hint="Addresses or patterns such as *@example.com, separated by spaces. Empty: any.",
            default=(),
        ),
        Field(
            "networks",
            "Networks",
            "words",
            hint="Networks from which the key works, such as 192.0.2.0/24. Empty: any.",
            default=(),
        ),
        Field("expires_at", "Expires at", hint="Empty: never.", placeholder="2027-01-15T09:00:00Z"),
    ]


def _render_form(visit: Visit, form: Form) -> Response:
    return form.render(visit, title="New key", submit="Create key", back=visit.link("/keys"))


async def rotate_key(visit: Visit) -> Response:
    """Replace a key, and show the new one."""
    path = f"/keys/{visit.request.path_params['key']}/rotate"
    overlap = visit.form.get("overlap", "")
    seconds = int(overlap) if overlap in dict(OVERLAPS) else int(OVERLAPS[0][0])
    key = await visit.api.call("POST", path, body={"overlap_seconds": seconds})
    return _render_key(visit, key)


async def revoke_key(visit: Visit) -> Response:
    """Revoke a key."""
    await visit.api.call("DELETE", f"/keys/{visit.request.path_params['key']}")
    return visit.redirect("/keys", "The key is revoked.")


def _render_key(visit: Visit, key: Any) -> Response:  # noqa: ANN401 - JSON
    """Show a new key, which is nowhere else: neither in a cookie nor in the log."""
    url = visit.request.url
    base = f"{url.scheme}://{url.netloc}{visit.link('').partition(visit.config.path)[0]}"
    return visit.render("keys/key.html", key=key, base=base, host=url.hostname)


PAGES: Final = (
    ("GET", "/t/{tenant}/keys", list_keys),
    ("GET", "/t/{tenant}/keys/new", show_form),
    ("POST", "/t/{tenant}/keys/new", create_key),
    ("POST", "/t/{tenant}/keys/{key}/rotate", rotate_key),
    ("POST", "/t/{tenant}/keys/{key}/revoke", revoke_key),
)
TABS: Final = (("/keys", "Keys", Scope.KEYS_MANAGE),)
