"""Serve `POST /inbound/{provider}/{token}`: events of email providers."""

from typing import Annotated, Any, Final

from fastapi import Path, Request
from pydantic import Field

from app.api.auth.visitors import get_provider_visitor
from app.api.http.fields import ResponseModel
from app.api.inbound.provider_event_service import receive_post
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.domain.inbound.provider import Provider

router = Router("Suppressions")

EXAMPLE: Final[dict[str, Any]] = {"events": 1, "repeated": 0, "unmatched": 0, "ignored": 0}
POSTMARK_BOUNCE: Final[dict[str, Any]] = {
    "RecordType": "Bounce",
    "ID": 42,
    "Type": "HardBounce",
    "TypeCode": 1,
    "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
    "Metadata": {"heloise-id": "msg_0198c5a2d3f07b6e8a4c1d2e3f405162"},
    "Details": "smtp;550 5.1.1 The email account does not exist.",
    "Email": "ann@example.org",
    "BouncedAt": "2026-01-15T09:31:00Z",
}
ProviderInPath = Annotated[
    str,
    Path(
        description="The email provider.",
        json_schema_extra={"enum": list(Provider)},
    ),
]
TokenInPath = Annotated[str, Path(description="The token, from the provider webhook's `path`.")]


class ProviderEventsRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """What Heloise did with the events of a post."""

    events: int = Field(description="How many events were new reports.")
    repeated: int = Field(description="How many events Heloise has already processed.")
    unmatched: int = Field(description="How many of the new reports name no message.")
    ignored: int = Field(description="How many events say nothing about delivery, such as clicks.")


@router.post(
    "/inbound/{provider}/{token}",
    summary="Receive an email provider's events",
    response_description="How many events the post contains, by what Heloise did with them.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The provider's JSON, with any Content-Type. SNS sends text/plain.",
            "content": {
                "application/json": {
                    "schema": {},
                    "examples": {"bounce": {"summary": "Postmark", "value": POSTMARK_BOUNCE}},
                }
            },
        }
    },
)
@problems(
    *("unauthenticated", "network-not-allowed", "too-many-auth-failures"),
    *("signature-invalid", "provider-not-found", "provider-unreachable"),
)
async def receive_provider_events(
    provider: ProviderInPath,
    token: TokenInPath,  # noqa: ARG001 - the visitor has read it, before the body
    request: Request,
    services: ReadyServices,
) -> ProviderEventsRead:
    """Process bounces, complaints, delays and deliveries like `POST /inbound/bounces`.

    The provider posts here; you do not. Heloise checks the token, then the provider's signature:
    of SNS (with its certificate), SendGrid (ECDSA) or Mailgun (HMAC). Postmark and Brevo present
    the webhook's secret. Heloise confirms a subscription of SNS by itself. It finds messages by
    the Message-ID, the provider's id from the SMTP reply, or the return path. Heloise counts
    events without a message and answers 200, so that the provider does not repeat them.
    """
    addressed = await get_provider_visitor(request, provider).identify()
    counts = await receive_post(services, addressed, request.headers, await request.body())
    return ProviderEventsRead(**counts)
