"""Show the URLs that take events of email providers, and change them."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.forms import Field, Form, list_choices, read_list
from app.console.page import Visit
from app.domain.inbound.provider import Provider
from app.domain.types import Scope

FIELDS: Final = (
    Field("name", "Name", is_required=True),
    Field("provider", "Provider", options=list_choices(Provider), default=Provider.SES),
    Field("topic_arn", "ARN of the SNS topic", hint="SES (required)."),
    Field("public_key", "Verification key", "textarea", hint="SendGrid (required)."),
    Field(
        "secret",
        "Secret",
        "password",
        hint="Mailgun (required): the HTTP webhook signing key. Postmark and Brevo: the password of"
        " basic authentication, or the bearer token. Heloise stores it encrypted. Empty in a"
        " change: it stays.",
    ),
    Field(
        "networks",
        "Networks of its posts",
        "lines",
        hint="One per line, such as 192.0.2.0/24. Empty: any.",
        default=(),
    ),
)
EDITED: Final = frozenset({"name", "secret", "networks"})


async def list_provider_webhooks(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List provider webhooks, their last posts and their counts."""
    page, _ = await read_list(visit, "/provider-webhooks")
    return visit.render("inbound/provider_webhooks.html", page=page)


async def show_new(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the form of a new provider webhook."""
    return _render_new(visit, Form.show(FIELDS))


async def create(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create a provider webhook, and show its path once."""
    form = Form.read(FIELDS, visit.form)
    made = await form.send(visit.api, "POST", "/provider-webhooks")
    if form.problem:
        return _render_new(visit, form)
    return _render_path(visit, made, f"The provider webhook {made['name']} is created")


def _render_new(visit: Visit, form: Form) -> Any:  # noqa: ANN401 - an ASGI response
    return form.render(
        visit,
        title="Create a provider webhook",
        submit="Create",
        hint="An email provider posts bounces and complaints to its URL.",
        back=visit.link("/provider-webhooks"),
    )


def _render_path(visit: Visit, webhook: Any, title: str) -> Any:  # noqa: ANN401 - an ASGI response
    return visit.render(
        "secret.html",
        title=title,
        label="Path of the URL",
        secret=webhook["path"],
        hint="Enter the public address of this service and this path in the provider's console. It"
        " contains a token. Anybody who knows it can post events.",
        back=visit.link("/provider-webhooks"),
    )


async def show_edit(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show a provider webhook as a form."""
    webhook = await visit.api.get(_find_path(visit))
    return _render_edit(visit, Form.show(_choose_fields(webhook), webhook))


async def edit(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Change a provider webhook."""
    webhook = await visit.api.get(_find_path(visit))
    form = Form.read(_choose_fields(webhook), visit.form)
    form.require_current(webhook)
    await form.send(visit.api, "PATCH", _find_path(visit))
    if form.problem:
        return _render_edit(visit, form)
    return visit.redirect("/provider-webhooks", "The provider webhook is changed.")


def _choose_fields(webhook: Mapping[str, Any]) -> list[Field]:
    """Return the fields that can change: the provider stays, and so does what it does not use."""
    return [
        field
        for field in FIELDS
        if field.name in EDITED or (field.name != "provider" and webhook[field.name] is not None)
    ]


def _render_edit(visit: Visit, form: Form) -> Any:  # noqa: ANN401 - an ASGI response
    return form.render(
        visit,
        title="Edit the provider webhook",
        submit="Save",
        back=visit.link("/provider-webhooks"),
    )


async def rotate(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create a new path, and show it once."""
    made = await visit.api.call("POST", f"{_find_path(visit)}/rotate")
    return _render_path(visit, made, "For a day, the previous URL works too")


async def delete(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Delete a provider webhook; its URL no longer works."""
    await visit.api.call("DELETE", _find_path(visit))
    return visit.redirect("/provider-webhooks", "The provider webhook is deleted.")


def _find_path(visit: Visit) -> str:
    return f"/provider-webhooks/{visit.request.path_params['provider_webhook']}"


PAGES: Final = (
    ("GET", "/t/{tenant}/provider-webhooks", list_provider_webhooks),
    ("GET", "/t/{tenant}/provider-webhooks/new", show_new),
    ("POST", "/t/{tenant}/provider-webhooks/new", create),
    ("GET", "/t/{tenant}/provider-webhooks/{provider_webhook}", show_edit),
    ("POST", "/t/{tenant}/provider-webhooks/{provider_webhook}", edit),
    ("POST", "/t/{tenant}/provider-webhooks/{provider_webhook}/rotate", rotate),
    ("POST", "/t/{tenant}/provider-webhooks/{provider_webhook}/delete", delete),
)
TABS: Final = (("/provider-webhooks", "Provider webhooks", Scope.SUPPRESSIONS_MANAGE),)
