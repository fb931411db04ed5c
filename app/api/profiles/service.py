"""Create, update, pause, resume and delete profiles, with audit entries."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.profiles.builder import (
    build_changed_profile,
    build_new_profile,
    check_destination,
    diff_columns,
    resolve_fallback,
)
from app.api.profiles.responses import ProfileRead
from app.api.profiles.schemas import ProfileCreate, ProfileUpdate
from app.api.profiles.secrets import check_kept_secrets, seal_secrets
from app.auth.audit_context import AuditContext, add_secret_names
from app.auth.quotas import check_profiles
from app.auth.reach import require_unbound
from app.domain.ehlo import EhloNames, effective_ehlo
from app.domain.events import EventType, NewEvent
from app.domain.networks import AddressGuard
from app.domain.types import ApiKey, LaneHealth, Profile, Tenant
from app.store import events
from app.store.profiles import deletion
from app.store.profiles import queries as profiles
from app.store.profiles.destinations import change_destinations, load_available, load_limits
from app.store.profiles.rows import secret_field
from app.store.secrets.encryption import Vault
from app.store.tenants import queries as tenants


async def create(
    connection: AsyncConnection,
    audit_context: AuditContext,
    body: ProfileCreate,
    *,
    tenant_id: str,
    vault: Vault,
    guard: AddressGuard,
) -> Profile:
    """Store a new profile.

    Raises InvalidRequest, QuotaExceeded, or Conflict if the name is in use.
    """
    profile = build_new_profile(body, tenant_id=tenant_id, now=audit_context.now)
    check_destination(profile, guard)
    owner = await tenants.lock(connection, tenant_id=tenant_id)
    if owner.quota.profiles is not None:
        check_profiles(owner, await profiles.count(connection, tenant_id=tenant_id))
    profile = await resolve_fallback(connection, profile)
    sealed = seal_secrets(body, vault, profile=profile)
    await profiles.insert(connection, profile=profile, sealed=sealed)
    await audit_context.record(
        connection, "profile.create", tenant_id=tenant_id, object_id=profile.id, after=profile
    )
    return profile


async def update(
    connection: AsyncConnection,
    audit_context: AuditContext,
    before: Profile,
    body: ProfileUpdate,
    *,
    vault: Vault,
    guard: AddressGuard,
    caller_key: ApiKey | None = None,
) -> None:
    """Update a locked profile.

    Raises what `build_changed_profile` raises, and Forbidden.
    """
    after = build_changed_profile(before, body, now=audit_context.now)
    if "fallback_profile" in body.model_fields_set:
        after = await resolve_fallback(connection, after, caller_key=caller_key)
    # The default profile sends the messages that name none.
    if after.is_default is not before.is_default:
        require_unbound(caller_key)
    check_destination(after, guard)
    check_kept_secrets(before, after, body)
    sealed = seal_secrets(body, vault, profile=after)
    changes = diff_columns(before, after) | sealed
    if not changes:
        return
    await profiles.update(
        connection,
        tenant_id=before.tenant_id,
        profile_id=before.id,
        changes=changes,
        now=audit_context.now,
    )
    await change_destinations(connection, before=before, after=after)
    await audit_context.record(
        connection,
        "profile.update",
        tenant_id=before.tenant_id,
        object_id=before.id,
        before=add_secret_names(before),
        after=add_secret_names(after, *map(secret_field, sealed)),
    )


async def delete(
    connection: AsyncConnection,
    audit_context: AuditContext,
    profile: Profile,
    *,
    cancel_pending: bool,
) -> None:
    """Delete a locked profile. Raises Conflict while messages wait."""
    await deletion.delete(
        connection,
        tenant_id=profile.tenant_id,
        profile_id=profile.id,
        now=audit_context.now,
        cancel_pending=cancel_pending,
    )
    await audit_context.record(
        connection,
        "profile.delete",
        tenant_id=profile.tenant_id,
        object_id=profile.id,
        before=profile,
    )


async def pause(connection: AsyncConnection, audit_context: AuditContext, profile: Profile) -> None:
    """Pause a profile. It sends nothing until resumed."""
    await _change_state(connection, audit_context, profile, "profile.pause", profiles.pause)


async def resume(
    connection: AsyncConnection, audit_context: AuditContext, profile: Profile
) -> None:
    """Resume a profile. Heloise tries a failing server at once."""
    await _change_state(connection, audit_context, profile, "profile.resume", profiles.resume)


async def _change_state(
    connection: AsyncConnection,
    audit_context: AuditContext,
    before: Profile,
    action: str,
    change: Callable[..., Awaitable[None]],
) -> None:
    await change(
        connection, tenant_id=before.tenant_id, profile_id=before.id, now=audit_context.now
    )
    after = await profiles.get(connection, tenant_id=before.tenant_id, profile=before.id)
    if (before.paused_at is None) != (after.paused_at is None):
        event_type = (
            EventType.PROFILE_RESUMED if after.paused_at is None else EventType.PROFILE_PAUSED
        )
        await events.append(
            connection, [NewEvent(event_type, audit_context.now, before.tenant_id, before.id)]
        )
    await audit_context.record(
        connection,
        action,
        tenant_id=before.tenant_id,
        object_id=before.id,
        before={"paused_at": before.paused_at},
        after={"paused_at": after.paused_at},
    )


async def read_all(
    connection: AsyncConnection,
    tenant: Tenant,
    rows: Sequence[Profile],
    *,
    now: datetime,
    names: EhloNames,
    local_address: Callable[[Profile], str | None],
    caller_key: ApiKey | None = None,
) -> list[ProfileRead]:
    """Read the state of profiles of a tenant, and choose the EHLO name of each."""
    health = await profiles.load_health(
        connection, tenant_id=tenant.id, profile_ids=[row.id for row in rows]
    )
    limits = await load_limits(connection, tenant_id=tenant.id, profiles=rows, now=now)
    available = await load_available(connection, tenant_id=tenant.id, profiles=rows, now=now)
    return [
        ProfileRead.of(
            row,
            health.get(row.id, LaneHealth()),
            limits.get(row.id, {}),
            now,
            effective_ehlo(names.of_profile(row.ehlo_name, tenant.ehlo_name), local_address(row)),
            available=available.get(row.id),
            caller_key=caller_key,
        )
        for row in rows
    ]
