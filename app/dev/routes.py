"""Serve `/inbox`: captured mails, only in dev mode."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.api.auth.dependencies import MessageReader
from app.api.http.page_query import ListQuery
from app.api.http.pagination import Page, make_page, parse_cursor
from app.api.openapi import open_problems, tenant_problems
from app.dev.inbox import Inbox, Mail
from app.domain.mime.header_reader import TooComplexError, decode_words
from app.domain.mime.part_reader import Part, read_message
from app.domain.networks import is_loopback

TAG: Final = {
    "name": "Inbox",
    "description": "Mail that the inbox of `heloise dev` captured. On loopback, no key is needed.",
}
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
EXAMPLE: Final[dict[str, Any]] = {
    "id": "cap_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "received_at": "2026-01-15T09:30:00Z",
    "ehlo_name": "mail.dev.example",
    "auth_user": "transactional",
    "mail_from": "billing@mail.dev.example",
    "rcpt_to": ["ann@example.org"],
    "subject": "Hello",
    "size_bytes": 402,
}

MAX_TEXT_BYTES: Final = 1_000_000

router = APIRouter(tags=["Inbox"])


class MailRead(BaseModel):
    """A captured mail: its session and envelope."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [EXAMPLE]})

    id: str
    received_at: datetime
    ehlo_name: str = Field(description="The client's EHLO name.")
    auth_user: str = Field(description="The user name of the login.")
    mail_from: str
    rcpt_to: list[str]
    subject: str
    size_bytes: int


class HeaderRead(BaseModel):
    """A header field, decoded."""

    name: str
    value: str


class MailFull(MailRead):
    """A captured mail with its content."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                EXAMPLE
                | {
                    "headers": [{"name": "Subject", "value": "Hello"}],
                    "text": "It works.\n",
                    "html": None,
                }
            ]
        }
    )

    headers: list[HeaderRead]
    text: str | None
    html: str | None


class MailPage(Page[MailRead]):
    """A page of mails, newest first."""


async def _get_inbox(request: Request) -> Inbox:
    inbox: Inbox = request.app.state.inbox
    return inbox


InboxDependency = Annotated[Inbox, Depends(_get_inbox)]


async def _get_mail(
    mail: Annotated[str, Path(description="The mail's id.", examples=[EXAMPLE["id"]])],
    inbox: InboxDependency,
) -> Mail:
    captured_mail = inbox.find(mail)
    if captured_mail is None:
        raise HTTPException(404)
    return captured_mail


MailDependency = Annotated[Mail, Depends(_get_mail)]


@router.get(
    "/inbox",
    operation_id="list_mails",
    summary="List captured mails",
    responses=open_problems("invalid-request"),
)
async def list_mails(paging: ListQuery, inbox: InboxDependency) -> MailPage:
    """List captured mails, newest first. Heloise keeps the newest 1000."""
    rows = inbox.page(limit=paging.limit + 1, after=parse_cursor(paging, "cap"))
    return make_page(paging, rows, MailPage, MailRead.model_validate)


@router.get(
    "/inbox/{mail}",
    operation_id="get_mail",
    summary="Get a captured mail",
    responses=open_problems("not-found"),
)
async def get_mail(mail: MailDependency, inbox: InboxDependency) -> MailFull:
    """Get a mail: envelope, headers and decoded text. If it is too complex, only the envelope."""
    try:
        message = read_message(inbox.content(mail))
    except TooComplexError:
        message = read_message(b"")
    fields = message.header.fields
    return MailFull(
        **MailRead.model_validate(mail).model_dump(),
        headers=[HeaderRead(name=name, value=decode_words(value)) for name, value in fields],
        text=_find_text(message, "text/plain"),
        html=_find_text(message, "text/html"),
    )


@router.get(
    "/inbox/{mail}/raw",
    operation_id="get_raw_mail",
    summary="Get a captured mail's raw content",
    response_class=Response,
    responses=open_problems("not-found")
    | {
        200: {
            "description": "The message.",
            "content": {"message/rfc822": {"schema": {"type": "string"}}},
        }
    },
)
async def get_raw_mail(mail: MailDependency, inbox: InboxDependency) -> Response:
    """Get the bytes between DATA and the final dot (RFC 5322)."""
    return Response(inbox.content(mail), media_type="message/rfc822")


def _find_text(message: Part, kind: str) -> str | None:
    """Find the text of the first part of this type that is not an attachment, or None."""
    for part in message.walk():
        is_file = (part.header.get("content-disposition") or "").lower().startswith("attachment")
        if part.kind == kind and not is_file:
            return part.text(MAX_TEXT_BYTES)
    return None


async def _require_reader(caller: MessageReader) -> None:
    """Require a key that may read the messages of all profiles."""
    caller.require_unbound()


def install(app: FastAPI, inbox: Inbox, *, host: str) -> None:
    """Add the inbox to the app and to its OpenAPI document.

    On loopback, the inbox needs no key, and the app answers only requests whose Host is loopback:
    this prevents DNS rebinding. On other hosts, the inbox needs a key.
    """
    app.state.inbox = inbox
    if is_loopback(host):
        app.include_router(router)
        names = [*LOOPBACK_NAMES, f"[{host}]" if ":" in host else host]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
    else:
        required, responses = [Depends(_require_reader)], tenant_problems("key-is-bound")
        app.include_router(router, dependencies=required, responses=responses)
    app.openapi_tags = [*(app.openapi_tags or ()), TAG]
