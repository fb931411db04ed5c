"""Show tenants; create, change and delete them. Only for admins."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.api_client import ApiError
from app.console.forms import parse_number
from app.console.page import Visit

SENT_ERRORS: Final = frozenset({"invalid-request", "tenant-exists", "tenant-not-empty"})
QUOTA: Final = (
    ("requests_per_second", "Requests per second"),
    ("messages_per_day", "Messages per day"),
    ("messages_per_month", "Messages per month"),
    ("queued_messages", "Queued messages"),
    ("recipients_per_message", "Recipients per message"),
    ("message_bytes", "Bytes per message"),
    ("profiles", "Profiles"),
    ("stored_bytes", "Stored bytes"),
)
RETENTION: Final = (
    ("content_days", "Content"),
    ("recipient_days", "Recipients' addresses"),
    ("attempt_days", "Attempts"),
    ("message_days", "Messages"),
    ("event_days", "Events"),
)


async def list_tenants(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List all tenants, each with a link to its pages."""
    cursor = visit.request.query_params.get("cursor")
    page = await visit.api.get(_path(visit), {"cursor": cursor})
    return _render_list(visit, page)


async def create_tenant(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create a tenant."""
    body = {name: visit.form.get(name, "").strip() for name in ("slug", "name", "ehlo_name")}
    try:
        tenant = await visit.api.call(
            "POST", _path(visit), body={name: text for name, text in body.items() if text}
        )
    except ApiError as error:
        _require_shown(error)
        return _render_list(visit, await visit.api.get(_path(visit)), error)
    return visit.site_redirect(f"/tenants/{tenant['slug']}", "The tenant is created.")


async def show_tenant(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show a tenant's settings, and the form that deletes it."""
    return _render(visit, await visit.api.get(_path_of_tenant(visit)))


async def update_tenant(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Change a tenant."""
    form, path = visit.form, _path_of_tenant(visit)
    body = {
        "name": form.get("name", ""),
        "ehlo_name": form.get("ehlo_name", "").strip() or None,
        "allowed_from": form.get("allowed_from", "").split(),
        "redirect_all_to": form.get("redirect_all_to", "").strip() or None,
        "allowed_recipient_domains": form.get("allowed_recipient_domains", "").split(),
        "suppresses_hard_bounces": form.get("suppresses_hard_bounces") == "true",
        "quota": _read_numbers(form, "quota", QUOTA),
        "retention": _read_numbers(form, "retention", RETENTION),
    }
    try:
        tenant = await visit.api.call("PATCH", path, body=body)
    except ApiError as error:
        _require_shown(error)
        return _render(visit, await visit.api.get(path), error, form=form)
    return visit.site_redirect(f"/tenants/{tenant['slug']}", "The changes are saved.")


async def delete_tenant(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Delete a tenant whose slug is typed."""
    path = _path_of_tenant(visit)
    tenant = await visit.api.get(path)
    if visit.form.get("typed", "").strip() != tenant["slug"]:
        return _render(visit, tenant, typed=f"Type {tenant['slug']} to delete this tenant.")
    try:
        await visit.api.call("DELETE", path)
    except ApiError as error:
        _require_shown(error)
        return _render(visit, tenant, typed=error.detail)
    return visit.site_redirect("/tenants", f"The tenant {tenant['slug']} is deleted.")


def _path(visit: Visit) -> str:
    return f"{visit.services.admin_prefix}/tenants"


def _path_of_tenant(visit: Visit) -> str:
    return f"{_path(visit)}/{visit.request.path_params['slug']}"


def _require_shown(error: ApiError) -> None:
    """Raise an error that no field of a form explains."""
    if error.slug not in SENT_ERRORS:
        raise error


def _read_numbers(
    form: Mapping[str, str], group: str, fields: tuple[tuple[str, str], ...]
) -> dict[str, object]:
    """Return the numbers of a group; the API refuses what is none."""
    numbers = {name: parse_number(form.get(f"{group}.{name}", "")) for name, _ in fields}
    return {name: number for name, number in numbers.items() if number is not None}


def _write_numbers(
    tenant: Any,  # noqa: ANN401 - JSON
    group: str,
    fields: tuple[tuple[str, str], ...],
) -> dict[str, object]:
    """Return the numbers of a group for the form; a missing one is empty."""
    numbers = {name: tenant[group][name] for name, _ in fields}
    return {f"{group}.{name}": "" if value is None else value for name, value in numbers.items()}


def _render_list(visit: Visit, page: Any, error: ApiError | None = None) -> Any:  # noqa: ANN401 - JSON, and an ASGI response
    return visit.render(
        "tenants/tenants.html",
        status=200 if error is None else 422,
        tenants=page["items"],
        next_cursor=page["next_cursor"],
        values=visit.form,
        errors=error.field_errors if error else {},
        problem=error.detail if error else "",
    )


def _render(
    visit: Visit,
    tenant: Any,  # noqa: ANN401 - JSON
    error: ApiError | None = None,
    *,
    form: Mapping[str, str] | None = None,
    typed: str = "",
) -> Any:  # noqa: ANN401 - an ASGI response
    values = {
        **{name: tenant[name] or "" for name in ("name", "ehlo_name", "redirect_all_to")},
        "allowed_from": "\n".join(tenant["allowed_from"]),
        "allowed_recipient_domains": "\n".join(tenant["allowed_recipient_domains"]),
        "suppresses_hard_bounces": str(tenant["suppresses_hard_bounces"]).lower(),
        **_write_numbers(tenant, "quota", QUOTA),
        **_write_numbers(tenant, "retention", RETENTION),
    }
    if form is not None:
        values |= {"suppresses_hard_bounces": "false", **form}
    return visit.render(
        "tenants/tenant.html",
        status=200 if error is None and not typed else 422,
        tenant=tenant,
        values=values,
        errors=error.field_errors if error else {},
        problem=error.detail if error else "",
        typed_problem=typed,
        quota=QUOTA,
        retention=RETENTION,
    )


PAGES: Final = (
    ("GET", "/tenants", list_tenants),
    ("POST", "/tenants", create_tenant),
    ("GET", "/tenants/{slug}", show_tenant),
    ("POST", "/tenants/{slug}", update_tenant),
    ("POST", "/tenants/{slug}/delete", delete_tenant),
)
TABS: Final = ()
