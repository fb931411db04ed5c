"""Accept several messages at once, with a result for each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from app.accept.group import Acceptance
from app.api.auth.visitors import audit_refused_request
from app.api.http.field_errors import validate_body
from app.api.http.problem_types import PROBLEMS
from app.api.messages.idempotency import IdempotentRequest
from app.api.messages.responses import dump_new_message
from app.api.messages.schemas import MessageCreate
from app.api.messages.service import prepare_send
from app.api.services import Services
from app.auth.caller import Caller
from app.auth.quotas import build_quota_problem
from app.domain.errors import InvalidRequest, Problem, QuotaError, Unavailable
from app.domain.types import NewMessage
from app.store import idempotency
from app.store.idempotency import KeyedRequest

# Yield to the event loop after this many messages.
PREPARED_PER_TURN: Final = 20


def parse_item(value: object) -> MessageCreate | InvalidRequest:
    """Parse a message, or return what is wrong with it."""
    try:
        return validate_body(MessageCreate, value)
    except InvalidRequest as problem:
        return problem.with_traceback(None)


@dataclass(slots=True)
class BatchItem:
    """One message of a batch, or the problem of its body, and its result so far."""

    body: MessageCreate | Problem
    keyed: IdempotentRequest | None = None
    message: NewMessage | None = None
    response: str | None = None
    problem: Problem | None = None
    is_replayed: bool = False


async def _replay_known(services: Services, caller: Caller, items: Sequence[BatchItem]) -> None:
    """Set the earlier responses of items whose keys were used before."""
    keyed = {item.keyed.key_hash: item for item in items if item.keyed is not None}
    if not keyed:
        return
    async with services.database.reading() as connection:
        used = await idempotency.find(connection, tenant_id=caller.tenant_id, hashes=list(keyed))
    for key_hash, earlier in used.items():
        await _replay(keyed[key_hash], earlier)


async def _replay(item: BatchItem, earlier: KeyedRequest) -> None:
    assert item.keyed is not None  # noqa: S101 - or it had no earlier one
    try:
        item.response, item.is_replayed = await item.keyed.replay_body(earlier), True
        item.problem = None  # what forbids it now came after it was accepted
    except Problem as problem:
        item.problem = problem


async def accept_items(
    services: Services,
    caller: Caller,
    request: Request,
    items: Sequence[BatchItem],
    *,
    unit: str | None = None,
) -> None:
    """Accept the new items in one transaction, and replay those whose keys were used before.

    With a `unit`, accepts all of them or none: an item that is not valid, or over the quota, keeps
    out the others. Raises Unavailable if the database fails.
    """
    await _replay_known(services, caller, items)
    new_items = [item for item in items if item.response is None and item.problem is None]
    for number, item in enumerate(new_items, start=1):
        await _prepare(services, caller, item)
        if number % PREPARED_PER_TURN == 0:
            await asyncio.sleep(0)
    submitted_items = [item for item in new_items if item.message is not None]
    if unit is not None and any(item.problem is not None for item in items):
        submitted_items = []
    acceptances = [_build_acceptance(caller, item, unit) for item in submitted_items]
    outcomes = await services.committer.accept_all(acceptances) if acceptances else []
    for item, outcome in zip(submitted_items, outcomes, strict=True):
        if isinstance(outcome, KeyedRequest):
            await _replay(item, outcome)
        elif isinstance(outcome, QuotaError):
            item.problem = build_quota_problem(outcome.exceeded, services.now())
        elif isinstance(outcome, Problem):
            item.problem = outcome
        elif outcome is not None:  # the committer has logged the error
            item.problem = Problem("internal-error", PROBLEMS["internal-error"].example)
    await _note_refusals(request, items)
    failed_outcomes = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
    if failed_outcomes and len(failed_outcomes) == len(submitted_items):
        raise failed_outcomes[0]


async def _prepare(services: Services, caller: Caller, item: BatchItem) -> None:
    if isinstance(item.body, Problem):
        item.problem = item.body
        return
    try:
        message, profile = await prepare_send(services, caller, item.body, is_single=False)
    except Problem as problem:
        item.problem = problem
    else:
        item.message, item.response = message, dump_new_message(message, profile)


def _build_acceptance(caller: Caller, item: BatchItem, unit: str | None) -> Acceptance:
    assert item.message is not None  # noqa: S101 - as it was prepared
    assert item.response is not None  # noqa: S101 - as above
    request = None
    if item.keyed is not None:
        request = item.keyed.build_record(item.message, item.response)
    return Acceptance(item.message, caller.tenant.quota, request, unit)


async def _note_refusals(request: Request, items: Sequence[BatchItem]) -> None:
    """Audit each kind of problem once per request."""
    problems = {item.problem.slug: item.problem for item in items if item.problem is not None}
    for problem in problems.values():
        await audit_refused_request(request, problem)
