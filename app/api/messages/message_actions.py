"""Find, cancel, resolve and resend messages within a caller's reach, with audit entries.

Commands use this module too, without FastAPI.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.accept.retry_message import prepare_retry
from app.api.messages.schemas import (
    RESOLUTION_EVENTS,
    MessageFilters,
    MessageResolve,
    MessageRetry,
)
from app.api.profiles.filter import resolve_profile_id
from app.auth.audit_context import AuditContext
from app.auth.caller import Caller
from app.domain.tenants.routing import Routing
from app.domain.types import NewMessage, Profile
from app.store.messages import queries as messages
from app.store.messages import status_changes
from app.store.messages.filters import MessageFilter
from app.store.messages.views import MessageView
from app.store.profiles import queries as profiles

NO_DETAILS: Final[Mapping[str, object]] = {}
Decide = Callable[[AsyncConnection, datetime], Awaitable[None]]
Describe = Callable[[MessageView, datetime], dict[str, object]]


async def require_message(connection: AsyncConnection, caller: Caller, message: str) -> MessageView:
    """Load a message; raises NotFound if it is missing or outside the caller's reach."""
    view = await messages.get(connection, tenant_id=caller.tenant_id, message_id=message)
    return caller.require_reachable("message", message, view)


async def build_filter(
    connection: AsyncConnection, caller: Caller, filters: MessageFilters
) -> MessageFilter:
    """Build the store's filter within the caller's reach; raises NotFound."""
    profile_id = None
    if filters.profile is not None:
        profile_id = await resolve_profile_id(connection, caller, filters.profile)
    return MessageFilter(
        ids=filters.id,
        statuses=tuple(filters.status),
        profile_id=profile_id,
        tag=filters.tag,
        recipient=filters.recipient,
        key_id=filters.key,
        source=filters.source,
        request_id=filters.request_id,
        message_id=filters.message_id and f"<{filters.message_id.strip().strip('<>')}>",
        created_after=filters.created_after,
        created_before=filters.created_before,
        profile_ids=caller.profiles,
    )


def _describe_status(view: MessageView, now: datetime) -> dict[str, object]:
    return {"status": view.status_at(now)}


async def apply_decision(
    connection: AsyncConnection,
    caller: Caller,
    audit_context: AuditContext,
    message: str,
    action: str,
    decide: Decide,
    *,
    describe: Describe = _describe_status,
    details: Mapping[str, object] = NO_DETAILS,
) -> MessageView:
    """Apply `decide` to a message, and audit what `describe` returns before and after.

    `details` are added to the entry. Raises what `decide` raises, or NotFound.
    """
    before = await require_message(connection, caller, message)
    await decide(connection, audit_context.now)
    view = await messages.get(connection, tenant_id=caller.tenant_id, message_id=message)
    await audit_context.record(
        connection,
        action,
        object_id=message,
        before=describe(before, audit_context.now),
        after={**describe(view, audit_context.now), **details},
    )
    return view


async def cancel(
    connection: AsyncConnection, caller: Caller, audit_context: AuditContext, message: str
) -> MessageView:
    """Cancel a message; raises NotFound, or Conflict if nothing can be cancelled."""

    async def decide(connection: AsyncConnection, now: datetime) -> None:
        await status_changes.cancel(
            connection, tenant_id=caller.tenant_id, message_id=message, now=now
        )

    return await apply_decision(
        connection, caller, audit_context, message, "message.cancel", decide
    )


async def resolve(
    connection: AsyncConnection,
    caller: Caller,
    audit_context: AuditContext,
    message: str,
    body: MessageResolve,
) -> MessageView:
    """Set the outcome of uncertain recipients; raises NotFound or Conflict."""
    decide = partial(_resolve, tenant_id=caller.tenant_id, message_id=message, body=body)
    return await apply_decision(
        connection,
        caller,
        audit_context,
        message,
        "message.resolve",
        decide,
        details={"as": body.resolution},
    )


async def _resolve(
    connection: AsyncConnection,
    now: datetime,
    *,
    tenant_id: str,
    message_id: str,
    body: MessageResolve,
) -> None:
    await status_changes.resolve(
        connection,
        tenant_id=tenant_id,
        message_id=message_id,
        addresses=body.recipients,
        event=RESOLUTION_EVENTS[body.resolution],
        now=now,
    )


async def prepare_resend(
    connection: AsyncConnection,
    caller: Caller,
    message_id: str,
    body: MessageRetry,
    *,
    routing: Routing,
    now: datetime,
) -> tuple[NewMessage, Profile]:
    """Prepare a new message with the content of an earlier one, for the same profile.

    Raises NotFound, Gone, Conflict or Forbidden.
    """
    # Check reach first: the state of an unreachable message is secret.
    await require_message(connection, caller, message_id)
    original = await messages.load_original(
        connection, tenant_id=caller.tenant_id, message_id=message_id
    )
    profile = await profiles.get(
        connection, tenant_id=caller.tenant_id, profile=original.view.profile_id
    )
    message = prepare_retry(
        original,
        retry_of=message_id,
        addresses=body.recipients,
        profile=profile,
        origin=caller.origin,
        allowed_from=caller.allowed_from,
        routing=routing.with_rule(caller.tenant.recipient_rule),
        now=now,
    )
    return message, profile
