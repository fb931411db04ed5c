"""Serve `/messages/batch`: many messages in one request and one transaction."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi import Body as JsonBody
from pydantic import ConfigDict, Field, WrapValidator

from app.api.auth.dependencies import Sender
from app.api.http.fields import Answer, Body
from app.api.messages.batch_service import Item, Wrong, accept_items, replay_known, tried
from app.api.messages.examples import BATCH, BATCHED
from app.api.messages.idempotency import (
    REPLAYED,
    REPLAYED_HEADER,
    IdempotencyKey,
    Keyed,
    alone,
    fingerprint,
    item_key,
)
from app.api.messages.responses import MessageRead
from app.api.messages.schemas import MessageCreate
from app.api.openapi import tenant_problems
from app.api.requests.json_limits import BoundedRoute
from app.api.requests.problems import ProblemBody, body_of
from app.api.services import ServicesOf

router = APIRouter(tags=["Messages"], route_class=BoundedRoute)

PATH: Final = "/messages/batch"
MAX_MESSAGES: Final = 1000
ACCEPTED: Final = 202


def _try_message(value: object, _: object) -> MessageCreate | Wrong:
    # Raised by nobody: one that is wrong is no fault of its neighbours.
    return tried(value)


ITEM: Final[Any] = MessageCreate | Any


class BatchCreate(Body):
    """Messages to send."""

    messages: list[Annotated[Any, WrapValidator(_try_message, json_schema_input_type=ITEM)]] = (
        Field(
            min_length=1,
            max_length=MAX_MESSAGES,
            description="The messages. An invalid one gets an error in its place of `results`.",
        )
    )


class BatchResult(Answer):
    """The result of one message of a batch."""

    status: int = Field(
        description="The status that `POST /messages` would return: 202 or an error."
    )
    message: MessageRead | None = Field(description="The accepted message. Null on an error.")
    problem: ProblemBody | None = Field(description="The error. Null for an accepted message.")


class BatchRead(Answer):
    """One result per message, in the same order."""

    model_config = ConfigDict(json_schema_extra={"examples": [BATCHED]})

    results: list[BatchResult]


@router.post(
    "/messages/batch",
    status_code=202,
    response_model=BatchRead,
    operation_id="send_batch",
    summary="Send a batch of messages",
    response_description="One result per message. Heloise sends the accepted ones.",
    responses=tenant_problems("idempotency-key-in-flight", has_body=True)
    | {202: {"headers": REPLAYED_HEADER}},
)
async def send_batch(
    body: Annotated[BatchCreate, JsonBody(openapi_examples=BATCH)],
    caller: Sender,
    services: ServicesOf,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept up to 1000 messages in one transaction.

    An invalid message does not affect the others: its result holds the error. With an
    `Idempotency-Key` you can repeat the whole request: accepted messages return the same result,
    refused ones are tried again. Requires the scope `messages:send`.
    """
    if idempotency_key is None:
        items = [Item(message, None) for message in body.messages]
        await accept_items(services, caller, request, items)
        return _build_response(items)
    raw_messages = (await asyncio.to_thread(json.loads, await request.body()))["messages"]
    with alone(services, caller, idempotency_key):
        keys = [item_key(idempotency_key, number) for number in range(len(raw_messages))]
        items = [
            Item(body_or_wrong, Keyed(services, caller, key, fingerprint(PATH, value)))
            for body_or_wrong, key, value in zip(body.messages, keys, raw_messages, strict=True)
        ]
        await replay_known(services, caller, items)
        await accept_items(services, caller, request, items)
    return _build_response(items)


def _build_response(items: Sequence[Item]) -> Response:
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


def _format_result(item: Item) -> str:
    if item.problem is not None:
        problem = body_of(item.problem, PATH)
        return f'{{"status":{problem["status"]},"message":null,"problem":{json.dumps(problem)}}}'
    return f'{{"status":{ACCEPTED},"message":{item.response},"problem":null}}'
