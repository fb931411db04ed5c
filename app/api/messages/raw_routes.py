"""Serve `POST /messages/raw`: send a complete RFC 5322 message."""

from functools import partial
from typing import Annotated, Final

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from app.accept.draft import Draft
from app.api.auth.dependencies import Sender
from app.api.http.fields import Address, Instant, Text
from app.api.messages.examples import QUEUED, RAW
from app.api.messages.idempotency import IdempotencyKey, respond_once
from app.api.messages.openapi import KEYED_PROBLEMS, accept_responses
from app.api.messages.responses import MessageRead
from app.api.messages.schemas import MAX_TAGS, ReturnPath, Tag
from app.api.messages.service import prepare_raw
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.api.requests.media_types import RFC822, require_media_type
from app.api.services import ReadyServices
from app.domain.types import MAX_RECIPIENTS, Guarantee, Priority

router = Router("Messages")

ENVELOPE: Final = "The recipients, with or without names. Heloise ignores those in the header."


class Envelope(BaseModel, extra="forbid"):
    """Whom a message goes to, and how."""

    to: list[Address] = Field(min_length=1, max_length=MAX_RECIPIENTS, description=ENVELOPE)
    return_path: ReturnPath | None = Field(
        default=None,
        description="The address for bounces (MAIL FROM). Default: From. Empty: no bounces.",
    )
    verp: bool = Field(default=False, description="As in POST /messages.")
    profile: Text | None = Field(
        default=None, max_length=100, description="The profile's id or name."
    )
    tag: list[Tag] = Field(default_factory=list, max_length=MAX_TAGS)
    send_at: Instant | None = Field(default=None, description="When to send the message.")
    expires_at: Instant | None = Field(default=None, description="When to give up.")
    priority: Priority = Field(default=Priority.NORMAL, description="As in POST /messages.")
    guarantee: Guarantee = Field(
        default=Guarantee.AT_LEAST_ONCE, description="As in POST /messages."
    )
    sensitive: bool = Field(default=False, description="As in POST /messages.")

    def to_draft(self) -> Draft:
        """Convert to the draft that `accept` prepares."""
        return Draft(
            sender=None,
            to=tuple(self.to),
            return_path=self.return_path,
            has_verp=self.verp,
            headers={},
            metadata={},
            tags=tuple(self.tag),
            send_at=self.send_at,
            expires_at=self.expires_at,
            priority=self.priority,
            guarantee=self.guarantee,
            is_sensitive=self.sensitive,
        )


@router.post(
    "/messages/raw",
    status_code=202,
    response_model=MessageRead,
    summary="Send a raw message",
    response_description="The message is stored durably. Heloise will send it.",
    responses=accept_responses(QUEUED),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The message in RFC 5322 format.",
            "content": {
                RFC822: {
                    "schema": {"type": "string", "format": "binary"},
                    "examples": {"message": {"summary": "A message", "value": RAW}},
                }
            },
        }
    },
)
@problems(*KEYED_PROBLEMS, "message-too-large")
async def send_raw_message(
    envelope: Annotated[Envelope, Query()],
    caller: Sender,
    services: ReadyServices,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send a complete message, byte by byte, to the recipients of the envelope.

    Heloise keeps the bytes, signatures included. It adds a missing Date and Message-ID, signs
    messages without a DKIM-Signature, and converts line ends from LF to CRLF. It refuses messages
    with other errors. From and Sender must each be one plain address that the profile allows.
    Heloise also refuses the headers Resent-…, ARC-… and Authentication-Results, and signatures of
    other domains. The header may have at most 64 KiB.
    """
    require_media_type(request, "the message", RFC822)
    content = await request.body()
    draft, profile = envelope.to_draft(), envelope.profile
    make = partial(prepare_raw, services, caller, content, draft, profile)
    return await respond_once(request, services, caller, idempotency_key, make)
