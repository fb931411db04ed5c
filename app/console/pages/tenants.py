"""Show tenants; create, change and delete them. Only for admins."""

from typing import Any, Final

from starlette.responses import Response

from app.console.api_client import ApiError
from app.console.forms import INVALID, Field, Form, read_list
from app.console.page import Visit

EHLO_NAME: Final = Field("ehlo_name", "EHLO name", hint="For profiles that set none.")
NEW: Final = (
    Field("slug", "Slug", hint="A short name for URLs: a-z, 0-9 and hyphens.", is_required=True),
    Field("name", "Name", hint="A display name. Empty: the slug."),
    EHLO_NAME,
)
SETTINGS: Final = (
    Field("name", "Name", is_required=True),
    EHLO_NAME,
    Field(
        "allowed_from",
        "Senders",
        "lines",
        hint="Addresses or patterns such as *@example.com, one per line. Empty: any.",
        default=(),
    ),
    Field("redirect_all_to", "Redirect all messages to", hint="For test tenants."),
    Field(
        "allowed_recipient_domains",
        "Recipient domains",
        "lines",
        hint="One per line. Empty: any.",
        default=(),
    ),
    Field("suppresses_hard_bounces", "Suppress recipients that a server does not know", "checkbox"),
)
QUOTA: Final = (
    Field("quota.requests_per_second", "Requests per second", "number"),
    Field("quota.messages_per_day", "Messages per day", "number"),
    Field("quota.messages_per_month", "Messages per month", "number"),
    Field("quota.queued_messages", "Queued messages", "number"),
    Field("quota.recipients_per_message", "Recipients per message", "number"),
    Field("quota.message_bytes", "Bytes per message", "number"),
    Field("quota.profiles", "Profiles", "number"),
    Field("quota.stored_bytes", "Stored bytes", "number"),
)
RETENTION: Final = (
    Field("retention.content_days", "Content", "number"),
    Field("retention.recipient_days", "Recipients' addresses", "number"),
    Field("retention.attempt_days", "Attempts", "number"),
    Field("retention.message_days", "Messages", "number"),
    Field("retention.event_days", "Events", "number"),
)
FIELDS: Final = (*SETTINGS, *QUOTA, *RETENTION)


async def list_tenants(visit: Visit) -> Response:
    """List all tenants, each with a link to its pages."""
    return await _render_list(visit, Form.show(NEW))


async def create_tenant(visit: Visit) -> Response:
    """Create a tenant."""
    form = Form.read(NEW, visit.form)
    tenant = await form.send(visit.api, "POST", _path(visit))
    if form.problem:
        return await _render_list(visit, form)
    return visit.redirect(f"/tenants/{tenant['slug']}", "The tenant is created.")


async def show_tenant(visit: Visit) -> Response:
    """Show a tenant's settings, and the form that deletes it."""
    tenant = await visit.api.get(_path_of_tenant(visit))
    return _render(visit, tenant, Form.show(FIELDS, tenant))


async def update_tenant(visit: Visit) -> Response:
    """Change a tenant."""
    path = _path_of_tenant(visit)
    tenant = await visit.api.get(path)
    form = Form.read(FIELDS, visit.form)
    form.require_current(tenant)
    await form.send(visit.api, "PATCH", path)
    if form.problem:
        return _render(visit, tenant, form)
    return visit.redirect(f"/tenants/{tenant['slug']}", "The changes are saved.")


async def delete_tenant(visit: Visit) -> Response:
    """Delete a tenant whose slug is typed."""
    path = _path_of_tenant(visit)
    tenant = await visit.api.get(path)
    form = Form.show(FIELDS, tenant)
    refusal, form.status = f"Type {tenant['slug']} to delete this tenant.", INVALID
    if visit.form.get("typed", "").strip() == tenant["slug"]:
        try:
            await visit.api.call("DELETE", path)
        except ApiError as error:
            refusal, form.status = error.detail, error.status
        else:
            return visit.redirect("/tenants", f"The tenant {tenant['slug']} is deleted.")
    return _render(visit, tenant, form, refusal)


def _path(visit: Visit) -> str:
    return f"{visit.services.admin_prefix}/tenants"


def _path_of_tenant(visit: Visit) -> str:
    return f"{_path(visit)}/{visit.request.path_params['slug']}"


async def _render_list(visit: Visit, form: Form) -> Response:
    page, _ = await read_list(visit, _path(visit))
    return visit.render("tenants/tenants.html", status=form.status, page=page, form=form)


def _render(visit: Visit, tenant: Any, form: Form, refusal: str = "") -> Response:  # noqa: ANN401 - JSON
    return visit.render(
        "tenants/tenant.html",
        status=form.status,
        tenant=tenant,
        form=form,
        refusal=refusal,
        settings=SETTINGS,
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
