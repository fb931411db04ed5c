"""Create, rotate and revoke API keys, with audit entries."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.api_keys.schemas import KeyCreate, KeyRotate
from app.auth.audit_context import AuditContext
from app.auth.profiles import suggest_profile
from app.auth.reach import can_reach, require_reachable
from app.domain.address.parse import covers
from app.domain.api_keys import build_hint, generate_secret, hash_secret
from app.domain.errors import Conflict, Forbidden, InvalidRequest
from app.domain.ids import new_id
from app.domain.types import ApiKey
from app.store import api_keys
from app.store.profiles import queries as profiles
from app.store.tenants import queries as tenants

CreatedKey = tuple[ApiKey, str]


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """The tenant (id or slug) whose keys an operation concerns.

    A key cannot do more than `caller_key`, the key of the caller; None is an admin.
    """

    tenant: str
    audit_context: AuditContext
    caller_key: ApiKey | None = None


async def create(
    connection: AsyncConnection,
    owner: KeyOwner,
    body: KeyCreate,
    *,
    secret: str | None = None,
) -> CreatedKey:
    """Create a key. Returns it with its secret, of which only a hash is stored.

    `secret` replaces the random secret. Raises InvalidRequest, Forbidden, or NotFound for an
    unknown tenant.
    """
    audit_context, caller_key = owner.audit_context, owner.caller_key
    tenant = await tenants.get(connection, tenant=owner.tenant)
    _check_expiry(body.expires_at, audit_context)
    secret = secret or generate_secret()
    key = ApiKey(
        id=new_id("key"),
        tenant_id=tenant.id,
        name=body.name,
        hint=build_hint(secret),
        scopes=frozenset(body.scopes),
        created_at=audit_context.now,
        expires_at=body.expires_at,
        revoked_at=None,
        last_used_at=None,
        profiles=await profile_ids(connection, tenant.id, body.profiles, caller_key=caller_key),
        allowed_from=tuple(body.allowed_from),
        networks=tuple(body.networks),
    )
    _check_not_wider(key, caller_key)
    await _insert(connection, audit_context, key, secret)
    return key, secret


async def rotate(
    connection: AsyncConnection, owner: KeyOwner, key_id: str, body: KeyRotate
) -> CreatedKey:
    """Replace a key with a new one; the old one keeps working for a while.

    Raises InvalidRequest, NotFound, Forbidden, or Conflict if the old key is revoked or expired.
    """
    audit_context = owner.audit_context
    _check_expiry(body.expires_at, audit_context)
    before = await _get_key_to_change(connection, owner, key_id)
    if not before.is_valid(audit_context.now):
        raise Conflict(
            "key-inactive",
            "The key is revoked or expired and cannot be rotated; create a new key.",
        )
    secret = generate_secret()
    key = replace(
        before,
        id=new_id("key"),
        hint=build_hint(secret),
        created_at=audit_context.now,
        expires_at=body.expires_at or before.expires_at,
        last_used_at=None,
    )
    _check_not_wider(key, owner.caller_key)
    await api_keys.set_expiry(
        connection,
        tenant_id=before.tenant_id,
        key_id=key_id,
        moment=audit_context.now + timedelta(seconds=body.overlap_seconds),
    )
    after = await api_keys.get(connection, tenant_id=before.tenant_id, key_id=key_id)
    await audit_context.record(
        connection,
        "key.rotate",
        tenant_id=before.tenant_id,
        object_id=key_id,
        before={"expires_at": before.expires_at, "replaced_by": None},
        after={"expires_at": after.expires_at, "replaced_by": key.id},
    )
    await _insert(connection, audit_context, key, secret)
    return key, secret


async def revoke(connection: AsyncConnection, owner: KeyOwner, key_id: str) -> None:
    """Revoke a key. Raises NotFound or Forbidden."""
    audit_context = owner.audit_context
    before = await _get_key_to_change(connection, owner, key_id)
    await api_keys.revoke(
        connection, tenant_id=before.tenant_id, key_id=key_id, now=audit_context.now
    )
    await audit_context.record(
        connection,
        "key.revoke",
        tenant_id=before.tenant_id,
        object_id=key_id,
        before={"revoked_at": before.revoked_at},
        after={"revoked_at": before.revoked_at or audit_context.now},
    )


async def _get_key_to_change(connection: AsyncConnection, owner: KeyOwner, key_id: str) -> ApiKey:
    """Return the key. Raises NotFound, or Forbidden if it may do more than the caller's."""
    tenant = await tenants.get(connection, tenant=owner.tenant)
    key = await api_keys.get(connection, tenant_id=tenant.id, key_id=key_id)
    require_reachable(owner.caller_key, "key", key_id, key)
    _check_not_wider(key, owner.caller_key)
    return key


async def _insert(
    connection: AsyncConnection, audit_context: AuditContext, key: ApiKey, secret: str
) -> None:
    await api_keys.insert(connection, key=key, hash=hash_secret(secret))
    await audit_context.record(
        connection, "key.create", tenant_id=key.tenant_id, object_id=key.id, after=key
    )


def _check_expiry(expires_at: datetime | None, audit_context: AuditContext) -> None:
    if expires_at is not None and expires_at <= audit_context.now:
        raise InvalidRequest.at(
            "expires_at", msg="in the past; write a time in the future, or leave it out"
        )


async def profile_ids(
    connection: AsyncConnection,
    tenant_id: str,
    names: Sequence[str],
    *,
    caller_key: ApiKey | None = None,
) -> tuple[str, ...]:
    """Return the ids of profiles by id or name. Raises InvalidRequest for an unknown profile.

    Raises Forbidden instead if the caller's key is bound and does not reach the profile.
    """
    ids = list[str]()
    for number, name in enumerate(names):
        profile = await profiles.find(connection, tenant_id=tenant_id, profile=name)
        if (
            caller_key is not None
            and caller_key.profiles
            and (profile is None or not can_reach(caller_key, profile))
        ):
            _refuse_profiles(caller_key)
        if profile is None:
            hint = await suggest_profile(connection, tenant_id, name, caller_key=caller_key)
            msg = f"no profile {name!r} exists{hint}"
            raise InvalidRequest.at("profiles", number, msg=msg)
        ids.append(profile.id)
    return tuple(dict.fromkeys(ids))


def _check_not_wider(key: ApiKey, caller_key: ApiKey | None) -> None:
    """Raise Forbidden if a key may do more than the caller's; an admin passes."""
    if caller_key is None:
        return
    missing_scopes = sorted(scope for scope in key.scopes if not caller_key.has_scope(scope))
    if missing_scopes:
        _refuse(f"it lacks the scope {missing_scopes[0]}")
    if not can_reach(caller_key, key):
        _refuse_profiles(caller_key)
    if caller_key.allowed_from and not _are_covered(key.allowed_from, caller_key.allowed_from):
        _refuse(f"it sends only as {', '.join(caller_key.allowed_from)}")
    if caller_key.networks and not _are_inside(key.networks, caller_key.networks):
        _refuse(f"it works only from {', '.join(caller_key.networks)}")
    if caller_key.expires_at and (key.expires_at is None or key.expires_at > caller_key.expires_at):
        _refuse(f"it expires at {caller_key.expires_at.isoformat()}")


def _refuse_profiles(caller_key: ApiKey) -> NoReturn:
    _refuse(f"it is bound to the profiles {', '.join(caller_key.profiles)}")


def _refuse(why: str) -> NoReturn:
    raise Forbidden(
        "scope-exceeds-caller",
        f"A key cannot create, rotate or revoke a key that may do more than itself: {why}. Request"
        " less, or use another key.",
    )


def _are_covered(patterns: Sequence[str], outer_patterns: Sequence[str]) -> bool:
    return bool(patterns) and all(
        any(covers(outer_pattern, pattern) for outer_pattern in outer_patterns)
        for pattern in patterns
    )


def _are_inside(networks: Sequence[str], outer_networks: Sequence[str]) -> bool:
    allowed = [ipaddress.ip_network(network) for network in outer_networks]
    requested = [ipaddress.ip_network(network) for network in networks]
    return bool(requested) and all(
        any(inner.version == outer.version and inner.subnet_of(outer) for outer in allowed)  # type: ignore[arg-type]
        for inner in requested
    )
