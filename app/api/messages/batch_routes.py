"""Serve `/messages/batch`: many messages in one request and one transaction."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Body as JsonBody
from fastapi import Request, Response
from pydantic import Field, WrapValidator

from app.api.auth.dependencies import Sender
from app.api.http.fields import RequestModel, ResponseModel
from app.api.messages.batch_service import (
    BatchItem,
    accept_items,
    parse_item,
)
from app.api.messages.examples import BATCH, BATCHED
from app.api.messages.idempotency import (
    REPLAYED,
    REPLAYED_HEADER,
    IdempotencyKey,
    IdempotentRequest,
    build_item_key,
    fingerprint_value,
    lock_key,
)
from app.api.messages.responses import MessageRead
from app.api.messages.schemas import MessageCreate
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.api.requests.problems import ProblemBody, build_problem_body
from app.api.services import ReadyServices
from app.domain.errors import InvalidRequest

router = Router("Messages")

PATH: Final = "/messages/batch"
MAX_MESSAGES: Final = 1000
ACCEPTED: Final = 202


def _try_message(value: object, _: object) -> MessageCreate | InvalidRequest:
    # Never raises: an invalid message must not fail the others.
    return parse_item(value)


ITEM: Final[Any] = MessageCreate | Any


class BatchCreate(RequestModel):
    """Messages to send."""

    messages: list[Annotated[Any, WrapValidator(_try_message, json_schema_input_type=ITEM)]] = (
        Field(
            min_length=1,
            max_length=MAX_MESSAGES,
            description="The messages. For an invalid message, Heloise returns an error at its"
            " position in `results`.",
        )
    )


class BatchResult(ResponseModel):
    """The result of one message of a batch."""

    status: int = Field(
        description="The status that `POST /messages` would return: 202 or an error."
    )
    message: MessageRead | None = Field(description="The accepted message. Null on an error.")
    problem: ProblemBody | None = Field(description="The error. Null for an accepted message.")


class BatchRead(ResponseModel, json_schema_extra={"examples": [BATCHED]}):
    """One result per message, in the same order."""

    results: list[BatchResult]


@router.post(
    "/messages/batch",
    status_code=202,
    response_model=BatchRead,
    summary="Send a batch of messages",
    response_description="One result per message. Heloise sends the accepted ones.",
    responses={202: {"headers": REPLAYED_HEADER}},
)
@problems("idempotency-key-in-flight")
async def send_batch(
    body: Annotated[BatchCreate, JsonBody(openapi_examples=BATCH)],
    caller: Sender,
    services: ReadyServices,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept up to 1000 messages in one transaction.

    An invalid message does not affect the others: its result holds the error. With an
    `Idempotency-Key` you can repeat the whole request: Heloise returns the same result for accepted
    messages and tries refused messages again.
    """
    items = [BatchItem(message) for message in body.messages]
    with lock_key(services, caller, idempotency_key):
        if idempotency_key is not None:
            content = await asyncio.to_thread(json.loads, await request.body())
            for number, (item, value) in enumerate(zip(items, content["messages"], strict=True)):
                key = build_item_key(idempotency_key, number)
                fingerprint = fingerprint_value(PATH, value)
                item.keyed = IdempotentRequest(services, caller, key, fingerprint)
        await accept_items(services, caller, request, items)
    return _build_response(items)


def _build_response(items: Sequence[BatchItem]) -> Response:
    headers = {}
    if items and all(item.is_replayed for item in items):
        headers[REPLAYED] = "true"
    results = ",".join(map(_format_result, items))
    return Response(
        f'{{"results":[{results}]}}',
        status_code=ACCEPTED,
        media_type="application/json",
        headers=headers,
    )


def _format_result(item: BatchItem) -> str:
    if item.problem is not None:
        problem = build_problem_body(item.problem, PATH)
        return f'{{"status":{problem["status"]},"message":null,"problem":{json.dumps(problem)}}}'
    return f'{{"status":{ACCEPTED},"message":{item.response},"problem":null}}'
