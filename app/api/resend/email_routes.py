"""Serve `/resend/emails`: send, batch, list, get, reschedule and cancel."""

import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import Body, Header, Path, Request, Response
from starlette.types import Message

from app.api.auth.dependencies import MessageManager, MessageReader, Sender
from app.api.auth.visitors import get_visitor
from app.api.http.threads import run_in_thread_if_large
from app.api.messages.batch_service import accept_items
from app.api.messages.idempotency import (
    REPLAYED,
    accept_once,
    fingerprint_request,
    lock_key,
)
from app.api.messages.message_actions import require_message
from app.api.messages.routes import cancel_message, update_message
from app.api.messages.schemas import MessageUpdate
from app.api.requests.json_limits import BoundedRoute, Router
from app.api.requests.media_types import require_json
from app.api.requests.problems import build_problem_body
from app.api.resend.byte_arrays import pack_byte_arrays
from app.api.resend.email_schemas import MAX_BATCH, EmailCreate, EmailUpdate
from app.api.resend.email_service import (
    find_first_problem,
    make_items,
    prepare_email,
    read_email,
)
from app.api.resend.errors import translate_problem
from app.api.resend.lists import ListQuery, ListRead, build_list
from app.api.resend.translation import describe_email, parse_time
from app.api.services import ReadyServices
from app.domain.ids import new_id
from app.store.messages import queries as messages
from app.store.messages.filters import MessageFilter

PATH: Final = "/resend/emails"
BATCH_PATH: Final = f"{PATH}/batch"
MAX_KEY_CHARACTERS: Final = 256
InPath = Annotated[str, Path(description="The email's id.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        pattern=r"^[ -~]+$",
    ),
]
Validation = Annotated[Literal["strict", "permissive"], Header(alias="x-batch-validation")]
Emails = Annotated[list[Any], Body(min_length=1, max_length=MAX_BATCH)]


class EmailRoute(BoundedRoute):
    """A route whose body may hold files as arrays of numbers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def pack_and_handle(request: Request) -> Response:
            await get_visitor(request).identify()
            require_json(request)
            content = await request.body()
            packed = await run_in_thread_if_large(len(content), pack_byte_arrays, content)
            received = iter([{"type": "http.request", "body": packed, "more_body": False}])

            async def receive() -> Message:
                return next(received, None) or await request.receive()

            return await handle(Request(request.scope, receive))

        return pack_and_handle


sending = Router("Emails", prefix=PATH, route_class=EmailRoute)
router = Router("Emails", prefix=PATH)


@sending.post("", operation_id="resend_send_email")
async def send_email(
    body: EmailCreate,
    caller: Sender,
    services: ReadyServices,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Send an email. The answer comes after it is stored durably."""
    accepted = await accept_once(
        services,
        caller,
        idempotency_key,
        partial(fingerprint_request, request),
        lambda: prepare_email(services, caller, body),
    )
    if accepted.is_replay:
        response.headers[REPLAYED] = "true"
    return {"id": accepted.message_id}


@sending.post("/batch", operation_id="resend_send_batch")
async def send_batch(
    body: Emails,
    caller: Sender,
    services: ReadyServices,
    request: Request,
    validation: Validation = "strict",
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Send up to 100 emails in one transaction: all or none, or if `permissive` the valid ones."""
    unit = new_id("req") if validation == "strict" else None
    items = await make_items(services, caller, body, path=BATCH_PATH, key=idempotency_key)
    with lock_key(services, caller, idempotency_key):
        await accept_items(services, caller, request, items, unit=unit)
    if unit is not None and (problem := find_first_problem(items)) is not None:
        raise problem
    ids = [
        {"id": json.loads(item.response)["id"]}
        for item in items
        if item.problem is None and item.response is not None
    ]
    if unit is not None:
        return {"data": ids}
    errors = [
        {
            "index": number,
            "message": translate_problem(
                build_problem_body(item.problem, BATCH_PATH), has_key=True
            )["message"],
        }
        for number, item in enumerate(items)
        if item.problem is not None
    ]
    return {"data": ids, "errors": errors}


@router.get("", operation_id="resend_list_emails")
async def list_emails(
    params: ListQuery, caller: MessageReader, services: ReadyServices
) -> ListRead:
    """List emails, newest first."""
    params.check("msg")
    now = services.now()
    async with services.database.reading() as connection:
        views = await messages.page(
            connection,
            tenant_id=caller.tenant_id,
            limit=params.limit + 1,
            now=now,
            after=params.after,
            before=params.before,
            message_filter=MessageFilter(profile_ids=caller.profiles),
        )
    return build_list(views, params, lambda view: describe_email(view, now))


@router.get("/{message}", operation_id="resend_get_email")
async def get_email(
    message: InPath, caller: MessageReader, services: ReadyServices
) -> dict[str, Any]:
    """Get an email with its content and its last event."""
    async with services.database.reading() as connection:
        view = await require_message(connection, caller, message)
    return await read_email(services, caller, view)


@router.patch("/{message}", operation_id="resend_update_email")
async def update_email(
    message: InPath, body: EmailUpdate, caller: MessageManager, services: ReadyServices
) -> dict[str, Any]:
    """Move a scheduled email to another time."""
    update = MessageUpdate(send_at=parse_time(body.scheduled_at, services.now()))
    updated = await update_message(message, update, caller, services)
    return {"object": "email", "id": updated.id}


@router.post("/{message}/cancel", operation_id="resend_cancel_email")
async def cancel_email(
    message: InPath, caller: MessageManager, services: ReadyServices
) -> dict[str, Any]:
    """Cancel an email for all recipients that did not get it yet."""
    canceled = await cancel_message(message, caller, services)
    return {"object": "email", "id": canceled.id}
