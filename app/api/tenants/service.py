"""Create, update and delete tenants, with audit entries."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.tenants.schemas import TenantCreate, TenantUpdate
from app.auth.audit import AuditContext
from app.domain.errors import InvalidRequest
from app.domain.ids import new_id
from app.domain.types import Tenant
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
    changes = body.model_dump(exclude_unset=True, exclude={"rate_limit", "quota", "retention"})
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
    before = await tenants.get(connection, tenant=tenant)
    after = await tenants.update(
        connection, tenant_id=before.id, changes=changes, now=audit_context.now
    )
    if not after.quota.is_counted:
        await quota_usage.reset(connection, tenant_id=before.id)
    if changes:
        await audit_context.record(
            connection,
            "tenant.update",
            tenant_id=before.id,
            object_id=before.id,
            before=before,
            after=after,
        )
    return after


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
