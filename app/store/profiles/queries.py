"""Store profiles. A deleted profile's row stays for its messages.

A change increments `revision`, which retires connections, and makes the next probe due.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ehlo import EhloNames
from app.domain.errors import NotFound
from app.domain.tenants.routing import ALLOW_ALL, RecipientRule
from app.domain.types import EhloRecommendation, LaneHealth, Profile, RateLimit
from app.store.db import similar_names as spelling
from app.store.db.array_params import any_of
from app.store.db.column_types import Instant
from app.store.db.keyset import oldest_first
from app.store.db.rows import from_row
from app.store.db.uniqueness import unique_name
from app.store.profiles.destinations import write_destinations
from app.store.profiles.rows import (
    PROFILE_COLUMNS,
    SEALED_COLUMNS,
    build_profile,
    build_row,
    is_live,
    write,
)
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import OpenSealed
from app.store.tables.core import lanes, profiles
from app.store.tables.core import tenants as tenants_table
from app.store.tables.rate_columns import build_rate_limit, label_rate_columns
from app.store.tenants import queries as tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryProfile:
    """A profile for delivery: with settings of its tenant and sealed credentials."""

    profile: Profile
    tenant_ehlo_name: str | None
    tenant_rate_limit: RateLimit | None = None
    tenant_recipient_rule: RecipientRule = ALLOW_ALL
    concurrency: int | None = None
    sealed: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)

    def open_secrets(self, open_sealed: OpenSealed) -> dict[str, str]:
        """Decrypt what a connection needs, `password` and `client_key`; raises SealError."""
        return {
            name: open_sealed(sealed, profile_secret(self.profile, name))
            for name in ("password", "client_key")
            if (sealed := self.sealed.get(f"sealed_{name}")) is not None
        }

    def ehlo_names(self, service: EhloNames) -> EhloNames:
        """Add the names of the profile and its tenant to those of the service."""
        return service.of_profile(self.profile.ehlo_name, self.tenant_ehlo_name)


class SealedProfile(NamedTuple):
    """A profile and its sealed columns by name, for resealing."""

    profile: Profile
    sealed: Mapping[str, bytes | None]


async def insert(
    connection: AsyncConnection, *, profile: Profile, sealed: Mapping[str, bytes | None]
) -> None:
    """Insert a profile and its lane; a tenant's first profile becomes its default.

    `sealed` holds the sealed columns that are set. Raises Conflict if the name exists, NotFound if
    the tenant is gone.
    """
    await tenants.lock(connection, tenant_id=profile.tenant_id)
    has_any = select(exists().where(*is_live(profile.tenant_id)))
    is_default = profile.is_default or not (await connection.execute(has_any)).scalar_one()
    row = build_row(profile) | {"is_default": is_default, **sealed}
    async with unique_name(connection, "profile", profile.name):
        if is_default:
            await _take_default(connection, profile.tenant_id)
        await connection.execute(insert_into(profiles).values(row))
    await connection.execute(insert_into(lanes).values(profile_id=profile.id, faults=0))
    if profile.has_destination_limits:
        await write_destinations(connection, profile=profile)


async def _take_default(connection: AsyncConnection, tenant_id: str) -> None:
    await connection.execute(
        update_rows(profiles)
        .where(*is_live(tenant_id), profiles.c.is_default)
        .values(is_default=False)
    )


async def find(connection: AsyncConnection, *, tenant_id: str, profile: str) -> Profile | None:
    """Return the tenant's profile with this id or name, or None."""
    return await _load_one(connection, _build_query(tenant_id, profile))


async def get(connection: AsyncConnection, *, tenant_id: str, profile: str) -> Profile:
    """Return the tenant's profile with this id or name; raise NotFound."""
    matching_profile = await find(connection, tenant_id=tenant_id, profile=profile)
    if matching_profile is None:
        raise NotFound("profile", profile)
    return matching_profile


async def get_default(connection: AsyncConnection, *, tenant_id: str) -> Profile | None:
    """Return the profile for messages that name none, or None."""
    query = select(*PROFILE_COLUMNS).where(*is_live(tenant_id), profiles.c.is_default)
    return await _load_one(connection, query)


def _build_query(tenant_id: str, profile: str) -> Select[Any]:
    has_id_or_name = or_(profiles.c.id == profile, profiles.c.name == profile)
    return select(*PROFILE_COLUMNS).where(*is_live(tenant_id), has_id_or_name)


async def _load_one(connection: AsyncConnection, query: Select[Any]) -> Profile | None:
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else build_profile(row)


async def page(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    limit: int,
    after: str | None,
    profile_ids: Sequence[str] | None = None,
) -> list[Profile]:
    """Return a page of the tenant's profiles, oldest first; `profile_ids` restricts it."""
    query = select(*PROFILE_COLUMNS).where(*is_live(tenant_id))
    query = oldest_first(query, profiles.c.id, limit=limit, after=after)
    if profile_ids is not None:
        query = query.where(profiles.c.id.in_(profile_ids))
    return [build_profile(row) for row in (await connection.execute(query)).mappings()]


async def suggest_name(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    name: str,
    profile_ids: Sequence[str] | None = None,
) -> str:
    """Suggest a profile with a similar name, as `similar_names.suggest_name` does."""
    conditions: list[ColumnElement[bool]] = [*is_live(tenant_id)]
    if profile_ids is not None:
        conditions.append(profiles.c.id.in_(profile_ids))
    return await spelling.suggest_name(connection, profiles.c.name, name, *conditions)


async def count(connection: AsyncConnection, *, tenant_id: str) -> int:
    """Count the tenant's profiles."""
    query = select(func.count()).select_from(profiles).where(*is_live(tenant_id))
    return int((await connection.execute(query)).scalar_one())


async def load_health(
    connection: AsyncConnection, *, tenant_id: str, profile_ids: Sequence[str]
) -> dict[str, LaneHealth]:
    """Load the health of these profiles' lanes, by profile id."""
    query = (
        select(lanes.c.profile_id, *HEALTH_COLUMNS)
        .join(profiles, profiles.c.id == lanes.c.profile_id)
        .where(profiles.c.tenant_id == tenant_id, lanes.c.profile_id.in_(profile_ids))
    )
    rows = (await connection.execute(query)).mappings()
    return {row["profile_id"]: build_health(row) for row in rows}


HEALTH_COLUMNS: Final = (
    lanes.c.failing_since,
    lanes.c.code,
    lanes.c.reason,
    lanes.c.next_probe_at,
    lanes.c.faults,
    lanes.c.stalled_since,
    lanes.c.concurrency,
    lanes.c.recommended_ehlo_name,
    lanes.c.recommended_why,
    lanes.c.recommended_at,
)


def build_health(row: RowMapping) -> LaneHealth:
    """Build the health of a lane from a row with `HEALTH_COLUMNS`."""
    name, why, found_at = (row[f"recommended_{suffix}"] for suffix in ("ehlo_name", "why", "at"))
    recommendation = (
        None if name is None else EhloRecommendation(name=name, reason=why, found_at=found_at)
    )
    return from_row(LaneHealth, row, recommendation=recommendation)


async def save_recommendation(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    profile_id: str,
    revision: int,
    recommendation: EhloRecommendation | None,
) -> None:
    """Store the EHLO name that the server accepts, unless the profile has changed."""
    unchanged_ids = select(profiles.c.id).where(
        *is_live(tenant_id), profiles.c.id == profile_id, profiles.c.revision == revision
    )
    await connection.execute(
        update_rows(lanes)
        .where(lanes.c.profile_id.in_(unchanged_ids))
        .values(_build_recommendation(recommendation))
    )


def _build_recommendation(recommendation: EhloRecommendation | None) -> dict[str, Any]:
    return {
        "recommended_ehlo_name": recommendation and recommendation.name,
        "recommended_why": recommendation and recommendation.reason,
        "recommended_at": recommendation and recommendation.found_at,
    }


async def update(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    profile_id: str,
    changes: Mapping[str, Any],
    now: datetime,
) -> None:
    """Change columns; raise NotFound, or Conflict if the name exists.

    Retires open connections, and makes the next probe of a failing server due.
    """
    if changes.get("is_default"):
        await tenants.lock(connection, tenant_id=tenant_id)
    values = {**changes, "revision": profiles.c.revision + 1, "updated_at": now}
    async with unique_name(connection, "profile", changes.get("name")):
        if changes.get("is_default"):
            await _take_default(connection, tenant_id)
        await write(connection, tenant_id=tenant_id, profile_id=profile_id, values=values)
    await _probe_at_once(connection, profile_id, now)
    await connection.execute(
        update_rows(lanes)
        .where(lanes.c.profile_id == profile_id, lanes.c.recommended_at.is_not(None))
        .values(_build_recommendation(None))
    )


async def _probe_at_once(connection: AsyncConnection, profile_id: str, now: datetime) -> None:
    await connection.execute(
        update_rows(lanes)
        .where(lanes.c.profile_id == profile_id, lanes.c.failing_since.is_not(None))
        .values(next_probe_at=now)
    )


async def pause(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str, now: datetime
) -> None:
    """Stop sending; a second call keeps the first time. Raises NotFound."""
    paused_at = func.coalesce(profiles.c.paused_at, literal(now, Instant()))
    await write(
        connection,
        tenant_id=tenant_id,
        profile_id=profile_id,
        values={"paused_at": paused_at, "revision": profiles.c.revision + 1},
    )


async def resume(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str, now: datetime
) -> None:
    """Send again, and probe a failing server at once. Raises NotFound."""
    await write(
        connection,
        tenant_id=tenant_id,
        profile_id=profile_id,
        values={"paused_at": None, "revision": profiles.c.revision + 1},
    )
    await _probe_at_once(connection, profile_id, now)


async def load_sealed_page(
    connection: AsyncConnection, *, limit: int, after: str | None
) -> list[SealedProfile]:
    """Load the sealed columns of up to `limit` profiles of all tenants.

    Locks each profile until the transaction ends, so that no old password overwrites a new one.
    """
    has_any = or_(*(profiles.c[name].is_not(None) for name in SEALED_COLUMNS))
    query = oldest_first(_SEALED.where(has_any), profiles.c.id, limit=limit, after=after)
    return [_sealed_profile(row) for row in (await connection.execute(query)).mappings()]


async def load_sealed(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str
) -> SealedProfile | None:
    """Load and lock the sealed columns of one live profile."""
    query = _SEALED.where(*is_live(tenant_id), profiles.c.id == profile_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _sealed_profile(row)


_SEALED: Final = select(
    *PROFILE_COLUMNS, *(profiles.c[name] for name in SEALED_COLUMNS)
).with_for_update(key_share=True)


def _sealed_profile(row: RowMapping) -> SealedProfile:
    return SealedProfile(build_profile(row), {name: row[name] for name in SEALED_COLUMNS})


async def replace_sealed(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    profile_id: str,
    sealed: Mapping[str, bytes | None],
) -> None:
    """Store resealed credentials; nothing else changes. Raises NotFound."""
    await write(connection, tenant_id=tenant_id, profile_id=profile_id, values=sealed)


async def load_for_delivery(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str
) -> DeliveryProfile | None:
    """Load a profile with all that delivery needs, or None if it is deleted."""
    parameters = {"tenant_id": tenant_id, "profile_ids": [profile_id]}
    query = _FOR_DELIVERY.where(profiles.c.tenant_id == bindparam("tenant_id"))
    row = (await connection.execute(query, parameters)).mappings().one_or_none()
    return None if row is None else _delivery_profile(row)


async def load_many_for_delivery(
    connection: AsyncConnection, *, profile_ids: Sequence[str]
) -> dict[str, DeliveryProfile]:
    """Load these profiles for delivery, of any tenant, by id."""
    rows = await connection.execute(_FOR_DELIVERY, {"profile_ids": profile_ids})
    return {row["id"]: _delivery_profile(row) for row in rows.mappings()}


def _delivery_profile(row: RowMapping) -> DeliveryProfile:
    return DeliveryProfile(
        profile=build_profile(row),
        tenant_rate_limit=build_rate_limit(row, "tenant_"),
        concurrency=row["concurrency"],
        tenant_ehlo_name=row["tenant_ehlo_name"],
        tenant_recipient_rule=RecipientRule(
            row["redirect_all_to"], tuple(row["allowed_recipient_domains"])
        ),
        sealed={name: row[name] for name in SEALED_COLUMNS},
    )


_FOR_DELIVERY: Final = (
    select(
        *PROFILE_COLUMNS,
        *(profiles.c[name] for name in SEALED_COLUMNS),
        tenants_table.c.ehlo_name.label("tenant_ehlo_name"),
        tenants_table.c.redirect_all_to,
        tenants_table.c.allowed_recipient_domains,
        *label_rate_columns(tenants_table, "tenant_"),
        lanes.c.concurrency,
    )
    .join(tenants_table, tenants_table.c.id == profiles.c.tenant_id)
    .join(lanes, lanes.c.profile_id == profiles.c.id)
    .where(any_of(profiles.c.id, "profile_ids"), profiles.c.deleted_at.is_(None))
)
