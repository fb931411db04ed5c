"""Serve `/messages`: send, list, get, cancel, retry and resolve."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Unpack

from fastapi import Body as JsonBody
from fastapi import Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth.dependencies import MessageManager, MessageReader, Sender
from app.api.http.pagination import encode_cursor, parse_cursor, read_page
from app.api.messages import message_actions
from app.api.messages.examples import (
    CREATE,
    MESSAGE,
    QUEUED,
    RAW,
    RESCHEDULE,
    RESOLVE,
    RETRIED,
    RETRY,
)
from app.api.messages.idempotency import IdempotencyKey, respond_once
from app.api.messages.message_actions import build_filter, require_message
from app.api.messages.multipart import EXTRA, UploadRoute
from app.api.messages.openapi import KEYED_PROBLEMS, accept_responses
from app.api.messages.responses import AttemptPage, AttemptRead, MessagePage, MessageRead
from app.api.messages.schemas import (
    AttemptQuery,
    MessageCreate,
    MessageQuery,
    MessageResolve,
    MessageRetry,
    MessageUpdate,
)
from app.api.messages.service import prepare_resend, prepare_send
from app.api.messages.waiting_reasons import read_message, read_messages
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.audit_context import AuditContext
from app.auth.caller import Caller
from app.domain.search import Search
from app.store.db.keyset import Slice
from app.store.messages import queries as messages
from app.store.messages.views import AttemptView, MessageView

router = Router("Messages")
uploads = Router("Messages", route_class=UploadRoute)

MAX_SEARCHED: Final = 20_000
InPath = Annotated[str, Path(description="The message's id.", examples=[MESSAGE["id"]])]
RAW_RESPONSE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The message in RFC 5322 format.",
        "content": {"message/rfc822": {"schema": {"type": "string"}, "example": RAW}},
    }
}


@uploads.post(
    "/messages",
    openapi_extra=EXTRA,
    status_code=202,
    response_model=MessageRead,
    summary="Send a message",
    response_description="The message is stored durably. Heloise will send it.",
    responses=accept_responses(QUEUED),
)
@problems(*KEYED_PROBLEMS, "message-too-large")
async def send_message(
    body: Annotated[MessageCreate, JsonBody(openapi_examples=CREATE)],
    caller: Sender,
    services: ReadyServices,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept a message for delivery. The response comes after it is durably stored.

    If you get no response, repeat the request with the same `Idempotency-Key`: Heloise sends the
    message once. You can upload files as a form (`multipart/form-data`), with the message in
    `message` and the files in `attachments`. An address that occurs several times in `to`, `cc` and
    `bcc` gets the message once. A message has at most 1000 recipients.
    """
    make = partial(prepare_send, services, caller, body)
    return await respond_once(request, services, caller, idempotency_key, make)


@router.get("/messages", summary="List messages")
@problems("profile-not-found")
async def list_messages(
    query: Annotated[MessageQuery, Query()], caller: MessageReader, services: ReadyServices
) -> MessagePage:
    """List the messages that match all filters, newest first."""
    now, search = services.now(), query.to_search()
    if search is not None:
        return await _search_messages(services, caller, query, search, now)

    async def load(connection: AsyncConnection, **part: Unpack[Slice]) -> list[MessageRead]:
        message_filter = await build_filter(connection, caller, query)
        views = await messages.page(
            connection, tenant_id=caller.tenant_id, now=now, message_filter=message_filter, **part
        )
        return await read_messages(
            connection, caller.tenant_id, views, now=now, alive_since=services.alive_since(now)
        )

    return await read_page(services.replica, query, "msg", load, MessagePage)


async def _search_messages(
    services: Services, caller: Caller, query: MessageQuery, search: Search, now: datetime
) -> MessagePage:
    """Read a page of a search. A short page may have a next page."""
    after = parse_cursor(query, "msg")

    async def load(connection: AsyncConnection) -> tuple[list[MessageRead], str | None]:
        matches, last_id = await messages.search(
            connection,
            tenant_id=caller.tenant_id,
            limit=query.limit,
            max_scanned=MAX_SEARCHED,
            now=now,
            criteria=search,
            after=after,
            message_filter=await build_filter(connection, caller, query),
        )
        items = await read_messages(
            connection, caller.tenant_id, matches, now=now, alive_since=services.alive_since(now)
        )
        return items, last_id

    items, last_id = await services.replica.read(load)
    return MessagePage(items=items, next_cursor=last_id and encode_cursor(last_id))


@router.get("/messages/{message}", summary="Get a message")
@problems("message-not-found")
async def get_message(
    message: InPath, caller: MessageReader, services: ReadyServices
) -> MessageRead:
    """Get a message with the status of each recipient."""
    async with services.database.reading() as connection:
        view = await require_message(connection, caller, message)
        now = services.now()
        return await read_message(
            connection, caller.tenant_id, view, now=now, alive_since=services.alive_since(now)
        )


@router.get("/messages/{message}/attempts", summary="List a message's attempts")
@problems("message-not-found")
async def list_attempts(
    message: InPath,
    query: Annotated[AttemptQuery, Query()],
    caller: MessageReader,
    services: ReadyServices,
) -> AttemptPage:
    """List all attempts to send a message, oldest first: EHLO name, stage and replies."""

    async def load(connection: AsyncConnection, **part: Unpack[Slice]) -> list[AttemptView]:
        if caller.profiles is not None:
            await require_message(connection, caller, message)
        return await messages.list_attempts(
            connection,
            tenant_id=caller.tenant_id,
            message_id=message,
            with_transcripts=query.transcript,
            **part,
        )

    return await read_page(services.database, query, "att", load, AttemptPage, AttemptRead.of)


@router.get(
    "/messages/{message}/raw",
    response_class=Response,
    summary="Get a message's raw content",
    responses=RAW_RESPONSE,
)
@problems("message-not-found", "content-wiped", "content-sensitive")
async def get_raw_message(
    message: InPath, caller: MessageReader, services: ReadyServices
) -> Response:
    """Get the bytes that go over the wire, rendered at acceptance.

    For a sensitive message, and after Heloise has deleted the content, the status is 410.
    """
    async with services.database.reading() as connection:
        if caller.profiles is not None:
            await require_message(connection, caller, message)
        mime = await messages.load_content(
            connection, tenant_id=caller.tenant_id, message_id=message
        )
    return Response(mime, media_type="message/rfc822")


@router.post(
    "/messages/{message}/resolve",
    summary="Resolve uncertain recipients",
    response_description="The current message.",
)
@problems("message-not-found", "recipient-not-uncertain", "message-in-transmission")
async def resolve_message(
    message: InPath,
    body: Annotated[MessageResolve, JsonBody(openapi_examples=RESOLVE)],
    caller: MessageManager,
    services: ReadyServices,
) -> MessageRead:
    """Set the outcome of recipients with the status `uncertain`.

    `GET /messages?status=held` lists their messages.
    """
    return await _change(
        services, caller, partial(message_actions.resolve, message=message, body=body)
    )


@router.patch(
    "/messages/{message}",
    summary="Update a scheduled message",
    response_description="The current message.",
)
@problems("message-not-found", "message-in-transmission", "message-not-scheduled")
async def update_message(
    message: InPath,
    body: Annotated[MessageUpdate, JsonBody(openapi_examples=RESCHEDULE)],
    caller: MessageManager,
    services: ReadyServices,
) -> MessageRead:
    """Update the time or priority of a message that is still `scheduled`.

    The content, `Date` included, does not change: Heloise renders it when it accepts the message.
    To change the content, cancel the message and send a new one.
    """
    return await _change(
        services, caller, partial(message_actions.reschedule, message=message, body=body)
    )


@router.post(
    "/messages/{message}/cancel",
    summary="Cancel a message",
    response_description="The current message.",
)
@problems("message-not-found", "message-in-transmission", "nothing-to-cancel")
async def cancel_message(
    message: InPath, caller: MessageManager, services: ReadyServices
) -> MessageRead:
    """Cancel a message for all recipients that did not get it yet.

    Recipients that are `sent` or `uncertain` stay so. During a transmission you cannot cancel:
    repeat the request later.
    """
    return await _change(services, caller, partial(message_actions.cancel, message=message))


async def _change(
    services: Services,
    caller: Caller,
    change: Callable[[AsyncConnection, Caller, AuditContext], Awaitable[MessageView]],
) -> MessageRead:
    """Change a message in a transaction of its own, and return it."""
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction(announce=True) as connection:
        view = await change(connection, caller, audit_context)
        return await read_message(
            connection,
            caller.tenant_id,
            view,
            now=audit_context.now,
            alive_since=services.alive_since(audit_context.now),
        )


@router.post(
    "/messages/{message}/retry",
    status_code=202,
    response_model=MessageRead,
    summary="Retry failed recipients",
    response_description="The new message with the same content.",
    responses=accept_responses(RETRIED),
)
@problems(
    *KEYED_PROBLEMS, "message-not-found", "content-wiped", "content-sensitive", "nothing-to-retry"
)
async def retry_message(
    message: InPath,
    body: Annotated[MessageRetry, JsonBody(openapi_examples=RETRY)],
    caller: MessageManager,
    services: ReadyServices,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send the same content again to bounced, expired or cancelled recipients.

    Creates a new message with the same `Message-ID` (see `Location`), whose `retry_of` is this
    message. This message does not change.
    """
    make = partial(prepare_resend, services, caller, message, body)
    return await respond_once(request, services, caller, idempotency_key, make)
