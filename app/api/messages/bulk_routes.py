"""Serve `POST /messages/actions`: one action on all messages of a filter."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Body as JsonBody
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth.dependencies import MessageManager
from app.api.http.fields import ResponseModel
from app.api.messages.message_actions import build_filter, require_message
from app.api.messages.schemas import RESOLUTION_EVENTS, Action, MessageActions, MessageRetry
from app.api.messages.service import commit_message, prepare_resend
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.caller import Caller
from app.domain.errors import InvalidRequest, Problem, Unavailable
from app.domain.ids import is_id
from app.store.messages import queries as messages
from app.store.messages import status_changes as decisions

router = Router("Messages")

MAX_MESSAGES: Final = 500
COUNTED: Final = 100_000
EXAMPLE: Final[dict[str, Any]] = {
    "dry_run": False,
    "matched": 3,
    "done": 2,
    "skipped": {"message-in-transmission": 1},
    "next_cursor": None,
}
EXAMPLES: Final[dict[str, Any]] = {
    "count": {
        "summary": "Count what would be cancelled",
        "value": {"action": "cancel", "filter": {"status": "scheduled", "tag": "january"}},
    },
    "retry": {
        "summary": "Retry failed messages",
        "value": {
            "action": "retry",
            "filter": {"status": "failed", "created_after": "2026-01-15T09:00:00Z"},
            "dry_run": False,
        },
    },
    "resolve": {
        "summary": "Mark uncertain recipients as sent",
        "value": {"action": "resolve", "as": "sent", "filter": {"status": "held"}},
    },
}


class ActionsRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """The result of an action on many messages."""

    dry_run: bool
    matched: int = Field(
        description="In a dry run, the number of messages that match, up to 100000. Otherwise the"
        " number that this request handled."
    )
    done: int
    skipped: dict[str, int] = Field(
        description="Messages that do not allow the action, counted by problem type."
    )
    next_cursor: str | None = Field(
        description="Repeat the request with this as `cursor`. Null when nothing is left."
    )


@router.post(
    "/messages/actions",
    summary="Cancel, retry or resolve many messages",
    response_description="The number of matching, changed and skipped messages.",
)
@problems("profile-not-found")
async def act_on_messages(
    body: Annotated[MessageActions, JsonBody(openapi_examples=EXAMPLES)],
    caller: MessageManager,
    services: ReadyServices,
) -> ActionsRead:
    """Cancel, retry or resolve all messages that match a filter.

    By default, Heloise only counts the matching messages (dry run). Set `dry_run: false` to act.

    A request handles at most 500 messages, newest first. If `next_cursor` is not null, repeat the
    request with it as `cursor`. Messages that do not allow the action stay unchanged; `skipped`
    counts them by reason.
    """
    now = services.now()
    if body.cursor is not None and not is_id(body.cursor, "msg"):
        raise InvalidRequest.at("cursor", msg="write the next_cursor of the previous response")
    async with services.database.reading() as connection:
        message_filter = await build_filter(connection, caller, body.message_filter)
        if body.dry_run:
            count = await messages.count(
                connection,
                tenant_id=caller.tenant_id,
                limit=COUNTED,
                now=now,
                message_filter=message_filter,
            )
            return ActionsRead(dry_run=True, matched=count, done=0, skipped={}, next_cursor=None)
        message_ids = await messages.list_ids(
            connection,
            tenant_id=caller.tenant_id,
            limit=MAX_MESSAGES,
            now=now,
            after=body.cursor,
            message_filter=message_filter,
        )
    async with services.database.transaction() as connection:
        audit_entry = await caller.audit_context(services.now()).begin(
            connection,
            f"messages.{body.action}",
            object_id="messages",
            parameters={
                "filter": body.message_filter.model_dump(exclude_unset=True),
                "as": body.resolution,
                "cursor": body.cursor,
                "matched": len(message_ids),
            },
        )
    skipped, done = Counter[str](), 0
    for message in message_ids:
        update = partial(audit_entry.update, done=done + 1, skipped=dict(skipped), last=message)
        try:
            await _apply_action(services, caller, message, body, update)
        except Unavailable:  # an outage is no reason to skip the message
            raise
        except Problem as problem:
            skipped[problem.slug] += 1
        else:
            done += 1
        await asyncio.sleep(0)
    async with services.database.transaction(announce=True) as connection:
        await audit_entry.update(
            connection,
            done=done,
            skipped=skipped,
            last=message_ids[-1] if message_ids else None,
            finished=True,
        )
    return ActionsRead(
        dry_run=False,
        matched=len(message_ids),
        done=done,
        skipped=dict(skipped),
        next_cursor=message_ids[-1] if len(message_ids) == MAX_MESSAGES else None,
    )


async def _apply_action(
    services: Services,
    caller: Caller,
    message: str,
    body: MessageActions,
    update: Callable[[AsyncConnection], Awaitable[None]],
) -> None:
    """Apply the action to one message and audit it; raises as the single operation."""
    if body.action is Action.RETRY:
        new_message, _ = await prepare_resend(services, caller, message, MessageRetry())
        await commit_message(services, caller, new_message)
        async with services.database.transaction() as connection:
            await update(connection)
        return
    change: Callable[..., Awaitable[None]] = decisions.cancel
    if body.resolution is not None:
        event = RESOLUTION_EVENTS[body.resolution]
        change = partial(decisions.resolve, addresses=None, event=event)
    async with services.database.transaction() as connection:
        await require_message(connection, caller, message)
        now = services.now()
        await change(connection, tenant_id=caller.tenant_id, message_id=message, now=now)
        await update(connection)
