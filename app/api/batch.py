"""`/messages/batch`: many messages in one request, each its own, written in one transaction."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi import Body as JsonBody
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator

from app.accept.committer import Offer
from app.api.auth import Sender
from app.api.bodies import Body
from app.api.callers import Caller
from app.api.idempotency import REPLAYED, REPLAYED_HEADER, IdempotencyKey, Keyed, alone, fingerprint
from app.api.json_bounds import BoundedRoute
from app.api.message_bodies import MessageCreate
from app.api.message_examples import BATCH, BATCHED
from app.api.message_reads import MessageRead
from app.api.openapi import tenant_problems
from app.api.problem_answers import ProblemBody, body_of, field_error, invalid
from app.api.problem_types import PROBLEMS
from app.api.quotas import problem_of
from app.api.refusals import note_refusal
from app.api.sending import prepared, shown
from app.api.state import Services, ServicesOf
from app.domain.errors import FieldError, Problem, QuotaError, Unavailable
from app.domain.types import NewMessage
from app.store import idempotency
from app.store.idempotency import KeyedRequest

router = APIRouter(tags=["Messages"], route_class=BoundedRoute)

PATH: Final = "/messages/batch"
MAX_MESSAGES: Final = 1000
# After so many, others have their turn.
PREPARED_AT_ONCE: Final = 20
ACCEPTED: Final = 202


@dataclass(frozen=True, slots=True)
class Wrong:
    """A message that is none, and why."""

    errors: Sequence[FieldError]


def _tried(value: object, _: object) -> MessageCreate | Wrong:
    try:
        return MessageCreate.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    # Raised by nobody: one that is wrong is no fault of its neighbours.
    return Wrong([field_error({**each, "loc": ("body", *each["loc"])}) for each in details])


ITEM: Final[Any] = MessageCreate | Any


class BatchCreate(Body):
    """Messages to send, each its own."""

    messages: list[Annotated[Any, WrapValidator(_tried, json_schema_input_type=ITEM)]] = Field(
        min_length=1,
        max_length=MAX_MESSAGES,
        description="Whatever is not a message is told in its place, as a result.",
    )


class BatchResult(BaseModel):
    """What became of one message of a batch."""

    status: int = Field(description="What `POST /messages` would have answered: 202, or an error.")
    message: MessageRead | None = Field(description="The message, where it was accepted.")
    problem: ProblemBody | None = Field(description="Why it was not, where it was not.")


class BatchRead(BaseModel):
    """A result for each message, in their order."""

    model_config = ConfigDict(json_schema_extra={"examples": [BATCHED]})

    results: list[BatchResult]


@dataclass(slots=True)
class _Item:
    """One message on its way: what is known of it so far."""

    body: MessageCreate | Wrong
    keyed: Keyed | None
    message: NewMessage | None = None
    response: str | None = None
    problem: Problem | None = None
    is_replayed: bool = False


@router.post(
    "/messages/batch",
    status_code=202,
    response_model=BatchRead,
    operation_id="send_batch",
    summary="Send many messages",
    response_description="A result for each message; those that were accepted will be sent.",
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
    """Accept up to 1000 messages, each as `POST /messages` would, in one transaction.

    One that is refused is no fault of its neighbours: the result in its place says why. With an
    `Idempotency-Key` the request may be sent again as a whole: what was accepted is answered as
    before, what was refused is tried once more. Needs the scope `messages:send`.
    """
    if idempotency_key is None:
        items = [_Item(each, None) for each in body.messages]
        await _accept(services, caller, request, items)
        return _answer(items)
    given = (await asyncio.to_thread(json.loads, await request.body()))["messages"]
    with alone(services, caller, idempotency_key):
        # A line break stands in no key that a request could have itself.
        keys = [f"{idempotency_key}\n{number}" for number in range(len(given))]
        items = [
            _Item(each, Keyed(services, caller, key, fingerprint(PATH, value)))
            for each, key, value in zip(body.messages, keys, given, strict=True)
        ]
        async with services.database.reading() as connection:
            used = await idempotency.find(connection, tenant_id=caller.tenant_id, keys=keys)
        for item, key in zip(items, keys, strict=True):
            if key in used:
                await _replay(item, used[key])
        await _accept(services, caller, request, items)
    return _answer(items)


async def _replay(item: _Item, earlier: KeyedRequest) -> None:
    assert item.keyed is not None  # noqa: S101 - or it had no earlier one
    try:
        item.response, item.is_replayed = await item.keyed.again(earlier), True
    except Problem as problem:
        item.problem = problem


async def _accept(
    services: Services, caller: Caller, request: Request, items: Sequence[_Item]
) -> None:
    """Accept what is new; raises Unavailable where that cannot be done now."""
    new = [each for each in items if each.response is None and each.problem is None]
    for number, item in enumerate(new, start=1):
        await _prepare(services, caller, item)
        if number % PREPARED_AT_ONCE == 0:
            await asyncio.sleep(0)
    offered = [each for each in new if each.message is not None]
    offers = [_offer(caller, each) for each in offered]
    outcomes = await services.committer.accept_all(offers) if offers else []
    for item, outcome in zip(offered, outcomes, strict=True):
        if isinstance(outcome, KeyedRequest):
            await _replay(item, outcome)
        elif isinstance(outcome, QuotaError):
            item.problem = problem_of(outcome.exceeded, services.now())
        elif isinstance(outcome, Problem):
            item.problem = outcome
        elif outcome is not None:  # the committer has written to the log what it was
            item.problem = Problem("internal-error", PROBLEMS["internal-error"].example)
    await _note_refusals(request, items)
    unavailable = [each for each in outcomes if isinstance(each, Unavailable)]
    if unavailable and len(unavailable) == len(offered):
        raise unavailable[0]


async def _prepare(services: Services, caller: Caller, item: _Item) -> None:
    if isinstance(item.body, Wrong):
        item.problem = invalid(item.body.errors)
        return
    try:
        message, profile = await prepared(services, caller, item.body)
    except Problem as problem:
        item.problem = problem
    else:
        item.message, item.response = message, shown(message, profile)


def _offer(caller: Caller, item: _Item) -> Offer:
    assert item.message is not None  # noqa: S101 - as it was prepared
    assert item.response is not None  # noqa: S101 - as above
    request = None
    if item.keyed is not None:
        request = item.keyed.request(item.message, item.response)
    return Offer(item.message, caller.tenant.quota, request)


async def _note_refusals(request: Request, items: Sequence[_Item]) -> None:
    """Each kind once: a thousand lines of one request say no more."""
    problems = {each.problem.slug: each.problem for each in items if each.problem is not None}
    for problem in problems.values():
        await note_refusal(request, problem)


def _answer(items: Sequence[_Item]) -> Response:
    headers = {}
    if items and all(each.is_replayed for each in items):
        headers[REPLAYED] = "true"
    results = ",".join(map(_result, items))
    return Response(
        f'{{"results":[{results}]}}',
        status_code=ACCEPTED,
        media_type="application/json",
        headers=headers,
    )


def _result(item: _Item) -> str:
    if item.problem is not None:
        problem = body_of(item.problem, PATH)
        return f'{{"status":{problem["status"]},"message":null,"problem":{json.dumps(problem)}}}'
    return f'{{"status":{ACCEPTED},"message":{item.response},"problem":null}}'
