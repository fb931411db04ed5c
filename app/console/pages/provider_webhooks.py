"""Show the URLs that take events of email providers, and change them."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from app.console.forms import Field, list_choices
from app.console.page import Visit
from app.console.resource import EditableResource
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


def _render_path(visit: Visit, webhook: Any, title: str) -> Response:  # noqa: ANN401 - JSON
    return visit.render(
        "secret.html",
        title=title,
        label="Path of the URL",
        secret=webhook["path"],
        hint="Enter the public address of this service and this path in the provider's console. It"
        " contains a token. Anybody who knows it can post events.",
        back=visit.link("/provider-webhooks"),
    )


def _choose_fields(webhook: Mapping[str, Any]) -> list[Field]:
    """Return the fields that can change: the provider stays, and so does what it does not use."""
    return [
        field
        for field in FIELDS
        if field.name in EDITED or (field.name != "provider" and webhook[field.name] is not None)
    ]


PROVIDER_WEBHOOKS: Final = EditableResource(
    path="/provider-webhooks",
    noun="provider webhook",
    template="provider_webhooks.html",
    fields=FIELDS,
    show_secret=_render_path,
    choose_fields=_choose_fields,
    hint="An email provider posts bounces and complaints to its URL.",
)


async def rotate(visit: Visit) -> Response:
    """Create a new path, and show it once."""
    made = await visit.api.call("POST", f"{PROVIDER_WEBHOOKS.find_path(visit)}/rotate")
    return _render_path(visit, made, "For a day, the previous URL works too")


PAGES: Final = (
    *PROVIDER_WEBHOOKS.list_routes(),
    PROVIDER_WEBHOOKS.route("POST", "/rotate", rotate),
)
TABS: Final = (("/provider-webhooks", "Provider webhooks", Scope.SUPPRESSIONS_MANAGE),)
