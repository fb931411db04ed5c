"""Serve `POST /inbound/bounces`: process bounces, complaints and unsubscribe requests."""

import asyncio
from hashlib import sha256
from typing import Annotated, Any, Final, Self

from fastapi import Query, Request
from pydantic import BaseModel, Field

from app.api.auth.dependencies import SuppressionManager
from app.api.http.fields import Line, ResponseModel
from app.api.requests.json_limits import Router
from app.api.requests.media_types import RFC822, require_media_type
from app.api.services import ReadyServices
from app.domain.errors import InvalidRequest
from app.domain.inbound.bounce_parser import ReportKind, parse_report
from app.store.inbound import reports
from app.store.inbound.reports import MatchedReport

router = Router("Suppressions")

EXAMPLE: Final[dict[str, Any]] = {
    "new": True,
    "recipients": [
        {
            "kind": "bounced_later",
            "address": "ann@example.org",
            "code": "5.1.1",
            "text": "550 5.1.1 <ann@example.org>: user unknown",
            "message": "msg_0198c5a2d3f07b6e8a4c1d2e3f405162",
            "suppressed": True,
        }
    ],
}
DSN: Final = """\
From: MAILER-DAEMON@relay.example.com
To: bounces+0198c5a2d3f07b6e8a4c1d2e3f405162-0@example.com
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

ann@example.org: user unknown
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example.com

Final-Recipient: rfc822; ann@example.org
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <ann@example.org>: user unknown
--b--
"""


class InboundQuery(BaseModel, extra="forbid"):
    """How the mail came."""

    sent_to: Line | None = Field(
        default=None,
        max_length=320,
        description="The envelope recipient, if no header field names it.",
    )


class InboundRecipient(ResponseModel):
    """The report about one recipient."""

    kind: ReportKind
    address: str | None = Field(
        description="The recipient's address in the message, or the address in the report."
    )
    code: str | None = Field(description="The enhanced status code (RFC 3463).")
    text: str | None
    message: str | None = Field(description="The message's id. Null if Heloise found no message.")
    suppressed: bool = Field(description="Whether the address is now suppressed.")

    @classmethod
    def of(cls, received: MatchedReport) -> Self:
        reported = received.reported
        return cls(
            kind=reported.kind,
            address=received.address or next(iter(reported.addresses), None),
            code=reported.code,
            text=reported.text,
            message=received.message_id,
            suppressed=received.is_suppressed,
        )


class InboundRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """The content of a report."""

    new: bool = Field(
        description="False if Heloise has already processed this mail. Nothing changes then."
    )
    recipients: list[InboundRecipient]


@router.post(
    "/inbound/bounces",
    summary="Receive a bounce or complaint",
    response_description="What the report says about each recipient, and what Heloise did.",
    responses={200: {"content": {"application/json": {"example": EXAMPLE}}}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The mail as received (RFC 5322).",
            "content": {
                RFC822: {
                    "schema": {"type": "string", "format": "binary"},
                    "examples": {"bounce": {"summary": "A bounce", "value": DSN}},
                }
            },
        }
    },
)
async def receive_bounce(
    query: Annotated[InboundQuery, Query()],
    caller: SuppressionManager,
    services: ReadyServices,
    request: Request,
) -> InboundRead:
    """Process a bounce (RFC 3464, qmail, Exim), a complaint (RFC 5965) or an unsubscribe request.

    Heloise finds each recipient's message by its return path (`verp`), the envelope id (`dsn`) or
    the Message-ID. The report becomes an event and the recipient's `report`. Complaints and
    unsubscribe requests suppress the recipient. Bounces for unknown recipients suppress the
    recipient if the tenant has `suppresses_hard_bounces`. A mail with the subject `unsubscribe`, or
    without any text, suppresses its sender; a tag after `unsubscribe` limits that to messages with
    the tag. If you post the same mail again, nothing changes. Automatic feedback (`auth-failure`,
    `virus`, `fraud`) becomes `reported` and suppresses nobody. A report that Heloise cannot parse
    is 422.
    """
    require_media_type(request, "the mail", RFC822)
    content = await request.body()
    try:
        # Parsing time depends on the sender, so a thread parses the mail.
        report = await asyncio.to_thread(parse_report, content, sent_to=query.sent_to)
    except ValueError as error:
        raise InvalidRequest.at("report", msg=str(error)) from None
    now = services.now()
    async with services.database.transaction() as connection:
        is_new = await reports.record_digest(
            connection,
            tenant_id=caller.tenant_id,
            digest=sha256(content).digest(),
            now=now,
        )
        received = await reports.receive(
            connection, tenant_id=caller.tenant_id, report=report, now=now, is_new=is_new
        )
    return InboundRead(
        new=is_new, recipients=[InboundRecipient.of(recipient) for recipient in received]
    )
