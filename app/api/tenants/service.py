"""Create, update and delete tenants, with audit entries."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.tenants.schemas import Notify, TenantCreate, TenantUpdate
from app.auth.audit_context import AuditContext
from app.auth.profiles import suggest_profile
from app.domain.address.parse import is_allowed
from app.domain.errors import InvalidRequest
from app.domain.ids import new_id
from app.domain.tenants.notify import Notify as StoredNotify
from app.domain.types import Tenant
from app.store.profiles import queries as profiles
from app.store.tables.rate_columns import build_rate_columns
from app.store.tenants import queries as tenants
from app.store.tenants import quota_usage


async def create(
    connection: AsyncConnection, audit_context: AuditContext, body: TenantCreate
) -> Tenant:
    """Store a new tenant. Raises Conflict if the slug is in use."""
    tenant = Tenant(
        id=new_id("ten"),
        slug=body.slug,
        name=body.name or body.slug,
        ehlo_name=body.ehlo_name,
        rate_limit=body.rate_limit.to_rate_limit() if body.rate_limit else None,
        quota=body.quota.to_quota(),
        allowed_from=tuple(body.allowed_from),
        retention=body.retention.to_retention(),
        redirect_all_to=body.redirect_all_to,
        allowed_recipient_domains=tuple(body.allowed_recipient_domains),
        suppresses_hard_bounces=body.suppresses_hard_bounces,
        created_at=audit_context.now,
        updated_at=audit_context.now,
    )
    await tenants.insert(connection, tenant=tenant)
    await audit_context.record(
        connection, "tenant.create", tenant_id=tenant.id, object_id=tenant.id, after=tenant
    )
    return tenant


async def update(
    connection: AsyncConnection, audit_context: AuditContext, tenant: str, body: TenantUpdate
) -> Tenant:
    """Update the tenant with this id or slug.

    Raises InvalidRequest, NotFound, or Conflict if the slug is in use.
    """
    changes = _build_changes(body)
    before = await tenants.get(connection, tenant=tenant)
    after = await tenants.update(
        connection, tenant_id=before.id, changes=changes, now=audit_context.now
    )
    if "notify" in body.model_fields_set:
        notify = await _resolve_notify(connection, after, body.notify) if body.notify else None
        after = await tenants.update(
            connection,
            tenant_id=before.id,
            changes={"notify": notify},
            now=audit_context.now,
        )
    if not after.quota.is_counted:
        await quota_usage.reset(connection, tenant_id=before.id)
    if body.model_fields_set:
        await audit_context.record(
            connection,
            "tenant.update",
            tenant_id=before.id,
            object_id=before.id,
            before=before,
            after=after,
        )
    return after


def _build_changes(body: TenantUpdate) -> dict[str, Any]:
    """Build the columns to change, except for `notify`."""
    excluded = {"rate_limit", "quota", "retention", "notify"}
    changes = body.model_dump(exclude_unset=True, exclude=excluded)
    for required in ("slug", "name", "suppresses_hard_bounces"):
        if required in changes and changes[required] is None:
            msg = "cannot be null; leave it out to keep its value"
            raise InvalidRequest.at(required, msg=msg)
    if "rate_limit" in body.model_fields_set:
        changes |= build_rate_columns(body.rate_limit.to_rate_limit() if body.rate_limit else None)
    if "quota" in body.model_fields_set:
        changes["quota"] = body.quota.to_quota().as_dict() if body.quota else {}
    if "retention" in body.model_fields_set:
        changes["retention"] = body.retention.to_retention().as_dict() if body.retention else {}
    for field_name in ("allowed_from", "allowed_recipient_domains"):
        if field_name in changes:
            changes[field_name] = changes[field_name] or []
    return changes


async def _resolve_notify(
    connection: AsyncConnection, tenant: Tenant, body: Notify
) -> StoredNotify:
    """Find the profile that sends notices; raises InvalidRequest if it cannot send them."""
    profile = await profiles.find(connection, tenant_id=tenant.id, profile=body.profile)
    problem = None
    if profile is None:
        hint = await suggest_profile(connection, tenant.id, body.profile, caller_key=None)
        problem = f"no profile {body.profile!r} exists{hint}"
    elif profile.default_from is None:
        problem = f"set default_from of {profile.name!r} first: it is the sender of the mail"
    elif not is_allowed(profile.default_from, tenant.allowed_from):
        problem = (
            f"allowed_from of the tenant does not allow {profile.default_from.address}, the"
            f" default_from of {profile.name!r}; write another profile, or add the address there"
        )
    elif await profiles.count(connection, tenant_id=tenant.id) == 1:
        problem = (
            f"{profile.name!r} is the tenant's only profile, and cannot send mail about its own"
            " failure; create another one for such mail"
        )
    if profile is None or problem is not None:
        raise InvalidRequest.at("notify", "profile", msg=problem or "")
    for address in body.to:
        if tenant.recipient_rule.destination(address) is None:
            msg = f"allowed_recipient_domains of the tenant does not allow {address}"
            raise InvalidRequest.at("notify", "to", msg=msg)
    return StoredNotify(profile.id, tuple(dict.fromkeys(body.to)))


async def delete(connection: AsyncConnection, audit_context: AuditContext, tenant: str) -> Tenant:
    """Delete the tenant with this id or slug.

    Raises NotFound, or Conflict while it has profiles or unfinished messages.
    """
    row = await tenants.get(connection, tenant=tenant)
    await tenants.delete(connection, tenant_id=row.id)
    await audit_context.record(
        connection, "tenant.delete", tenant_id=row.id, object_id=row.id, before=row
    )
    return row
