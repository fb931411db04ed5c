"""Find, cancel, resolve, reschedule and resend messages of a caller, with audit entries.

Commands use this module too, without FastAPI.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncConnection

from app.accept.build import MAX_AGE, MAX_SCHEDULE_AHEAD
from app.accept.retry_message import prepare_retry
from app.api.messages.schemas import (
    RESOLUTION_EVENTS,
    MessageFilters,
    MessageResolve,
    MessageRetry,
    MessageUpdate,
)
from app.api.profiles.filter import resolve_profile_id
from app.auth.audit_context import AuditContext
from app.auth.caller import Caller
from app.domain.errors import InvalidRequest
from app.domain.tenants.routing import Routing
from app.domain.types import NewMessage, Profile
from app.store.messages import queries as messages
from app.store.messages import status_changes
from app.store.messages.filters import MessageFilter
from app.store.messages.status_changes import Schedule
from app.store.messages.views import MessageView
from app.store.profiles import queries as profiles


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


def _describe_schedule(view: MessageView, _: datetime) -> dict[str, object]:
    return {
        "send_at": view.send_at,
        "expires_at": view.expires_at,
        "priority": view.priority.value,
    }


async def _change(
    connection: AsyncConnection,
    caller: Caller,
    audit_context: AuditContext,
    message: str,
    action: str,
    change: Callable[..., Awaitable[None]],
    *,
    describe: Callable[[MessageView, datetime], dict[str, object]] = _describe_status,
    details: Mapping[str, object] = MappingProxyType({}),
) -> MessageView:
    """Change a message, and audit what `describe` returns before and after.

    `change` is a function of `status_changes`. `details` are added to the entry. Raises what
    `change` raises, or NotFound.
    """
    before = await require_message(connection, caller, message)
    now = audit_context.now
    await change(connection, tenant_id=caller.tenant_id, message_id=message, now=now)
    view = await messages.get(connection, tenant_id=caller.tenant_id, message_id=message)
    await audit_context.record(
        connection,
        action,
        object_id=message,
        before=describe(before, now),
        after={**describe(view, now), **details},
    )
    return view


async def cancel(
    connection: AsyncConnection, caller: Caller, audit_context: AuditContext, message: str
) -> MessageView:
    """Cancel a message; raises NotFound, or Conflict if nothing can be cancelled."""
    change = status_changes.cancel
    return await _change(connection, caller, audit_context, message, "message.cancel", change)


async def resolve(
    connection: AsyncConnection,
    caller: Caller,
    audit_context: AuditContext,
    message: str,
    body: MessageResolve,
) -> MessageView:
    """Set the outcome of uncertain recipients; raises NotFound or Conflict."""
    change = partial(
        status_changes.resolve,
        addresses=body.recipients,
        event=RESOLUTION_EVENTS[body.resolution],
    )
    return await _change(
        connection,
        caller,
        audit_context,
        message,
        "message.resolve",
        change,
        details={"as": body.resolution},
    )


async def reschedule(
    connection: AsyncConnection,
    caller: Caller,
    audit_context: AuditContext,
    message: str,
    body: MessageUpdate,
) -> MessageView:
    """Update a scheduled message; raises NotFound, Conflict or InvalidRequest."""
    changes = partial(_apply_update, body=body, now=audit_context.now)
    return await _change(
        connection,
        caller,
        audit_context,
        message,
        "message.update",
        partial(status_changes.reschedule, changes=changes),
        describe=_describe_schedule,
    )


def _apply_update(before: Schedule, *, body: MessageUpdate, now: datetime) -> Schedule:
    send_at = before.send_at
    if "send_at" in body.model_fields_set:
        send_at = max(now, body.send_at or now)
    if send_at > now + MAX_SCHEDULE_AHEAD:
        raise InvalidRequest.at("send_at", msg="write a time within the next year")
    expires_at = body.expires_at or send_at + (before.expires_at - before.send_at)
    if not send_at < expires_at <= send_at + MAX_AGE:
        raise InvalidRequest.at(
            "expires_at", msg="write a time in the future, at most 30 days after send_at"
        )
    return Schedule(send_at, expires_at, body.priority or before.priority)


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
