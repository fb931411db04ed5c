"""Serve `/inbox`: captured mails, only in dev mode."""

from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Path, Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.api.auth.dependencies import ListQuery, TenantScope
from app.api.http.pagination import Page, make_page, parse_cursor
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.dev.inbox import Inbox, Mail
from app.domain.mime.contents import find_text, is_attached, read_file_name
from app.domain.mime.header_reader import TooComplexError, decode_words
from app.domain.mime.part_reader import Part, read_message
from app.domain.networks import is_loopback
from app.domain.types import Scope

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

router = Router("Inbox")


class MailRead(Mail):
    """A captured mail: its session and envelope."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [EXAMPLE]})


class HeaderRead(BaseModel):
    """A header field, decoded."""

    name: str
    value: str


class FileRead(BaseModel):
    """A file in a mail."""

    name: str
    content_type: str
    size_bytes: int


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
                    "files": [],
                }
            ]
        }
    )

    headers: list[HeaderRead]
    text: str | None
    html: str | None
    files: list[FileRead]


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


def _describe_bytes(description: str, media_type: str) -> dict[int | str, dict[str, Any]]:
    content = {media_type: {"schema": {"type": "string"}}}
    return {200: {"description": description, "content": content}}


@router.get("/inbox", summary="List captured mails")
async def list_mails(paging: ListQuery, inbox: InboxDependency) -> MailPage:
    """List captured mails, newest first. Heloise keeps the newest 1000."""
    rows = inbox.page(limit=paging.limit + 1, after=parse_cursor(paging, "cap"))
    return make_page(paging, rows, MailPage)


@router.get("/inbox/{mail}", summary="Get a captured mail")
@problems("not-found")
async def get_mail(mail: MailDependency, inbox: InboxDependency) -> MailFull:
    """Get a mail: envelope, headers, decoded text, and the names of its files.

    If the mail is too complex, get only the envelope.
    """
    message = _read_mail(mail, inbox)
    fields = message.header.fields
    return MailFull(
        **mail.model_dump(),
        headers=[HeaderRead(name=name, value=decode_words(value)) for name, value in fields],
        text=find_text(message, "text/plain"),
        html=find_text(message, "text/html"),
        files=[
            FileRead(
                name=read_file_name(part.header),
                content_type=part.kind,
                size_bytes=len(part.decode(mail.size_bytes)),
            )
            for part in _list_files(message)
        ],
    )


@router.get(
    "/inbox/{mail}/files/{number}",
    summary="Get a file of a captured mail",
    response_class=Response,
    responses=_describe_bytes("The file.", "application/octet-stream"),
)
@problems("not-found")
async def get_mail_file(
    mail: MailDependency,
    number: Annotated[int, Path(description="The position in `files`, from 0.", ge=0, le=1000)],
    inbox: InboxDependency,
) -> Response:
    """Get the decoded bytes of a file."""
    files = _list_files(_read_mail(mail, inbox))
    if number >= len(files):
        raise HTTPException(404)
    name = quote(read_file_name(files[number].header) or "file", safe="")
    return Response(
        files[number].decode(mail.size_bytes),
        media_type="application/octet-stream",
        headers={
            "content-disposition": f"attachment; filename*=UTF-8''{name}",
            "x-content-type-options": "nosniff",
        },
    )


@router.get(
    "/inbox/{mail}/raw",
    summary="Get a captured mail's raw content",
    response_class=Response,
    responses=_describe_bytes("The message.", "message/rfc822"),
)
@problems("not-found")
async def get_raw_mail(mail: MailDependency, inbox: InboxDependency) -> Response:
    """Get the bytes between DATA and the final dot (RFC 5322)."""
    return Response(inbox.content(mail), media_type="message/rfc822")


def _read_mail(mail: Mail, inbox: Inbox) -> Part:
    try:
        return read_message(inbox.content(mail))
    except TooComplexError:
        return read_message(b"")


def _list_files(message: Part) -> list[Part]:
    """List the parts that are files, in order."""
    return [
        part
        for part in message.walk()
        if not part.parts and (is_attached(part) or part.kind not in {"text/plain", "text/html"})
    ]


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
        reads_all = TenantScope(Scope.MESSAGES_READ, is_unbound=True)
        app.include_router(router, dependencies=[Depends(reads_all)])
    app.openapi_tags = [*(app.openapi_tags or ()), TAG]
