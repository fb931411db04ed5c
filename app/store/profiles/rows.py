"""Map profiles to rows, and read encrypted columns only when needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.types import (
    AuthMechanism,
    Destination,
    NamedAddress,
    OAuth,
    OAuthGrant,
    Profile,
    Ramp,
    RampPeriod,
    RateLimit,
    RetryPolicy,
    Timeouts,
    TlsMode,
    Transport,
)
from app.store.tables.core import profiles
from app.store.tables.rate_columns import build_rate_columns, build_rate_limit

SEALED_COLUMNS: Final = (
    "sealed_password",
    "sealed_client_key",
    "sealed_oauth_client_secret",
    "sealed_oauth_private_key",
    "sealed_oauth_refresh_token",
)


def build_ramp(stored: Mapping[str, Any] | None) -> Ramp | None:
    """Build a ramp from its JSON."""
    if stored is None:
        return None
    every, started_at = RampPeriod(stored["every"]), datetime.fromisoformat(stored["started_at"])
    return Ramp(**{**stored, "every": every, "started_at": started_at})


def build_destinations(stored: Sequence[Mapping[str, Any]]) -> tuple[Destination, ...]:
    """Build destinations from their JSON."""
    return tuple(
        Destination(
            **{
                **item,
                "match": tuple(item["match"]),
                "rate_limit": item["rate_limit"] and RateLimit(**item["rate_limit"]),
                "ramp": build_ramp(item["ramp"]),
            }
        )
        for item in stored
    )


def _dump_ramp(ramp: Ramp | None) -> dict[str, Any] | None:
    if ramp is None:
        return None
    return {**asdict(ramp), "started_at": ramp.started_at.isoformat()}


def _dump_destination(destination: Destination) -> dict[str, Any]:
    return asdict(destination) | {
        "match": list(destination.match),
        "ramp": _dump_ramp(destination.ramp),
    }


def secret_field(sealed: str) -> str:
    """Return the field of a sealed column: `password` for `sealed_password`."""
    return sealed.removeprefix("sealed_")


def _flag(sealed: str) -> str:
    """Return `has_password` for `sealed_password`."""
    return sealed.replace("sealed_", "has_", 1)


PROFILE_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (
    *(column for column in profiles.c if column.name not in SEALED_COLUMNS),
    *(profiles.c[name].is_not(None).label(_flag(name)) for name in SEALED_COLUMNS),
)

# The fields of a profile that are columns of the same name, and what makes one of a column's value.
_COPIED_COLUMNS: Final = tuple(field.name for field in fields(Profile) if field.name in profiles.c)
_FROM_COLUMN: Final[Mapping[str, Callable[[Any], object]]] = {
    "transport": Transport,
    "tls": TlsMode,
    "auth_mechanism": AuthMechanism,
    "tls_pins": tuple,
    "allowed_from": tuple,
    "ramp": build_ramp,
    "destinations": build_destinations,
    "oauth": lambda stored: stored and OAuth(**stored | {"grant": OAuthGrant(stored["grant"])}),
}
_TIMEOUTS: Final = {field.name: f"timeout_{field.name}_seconds" for field in fields(Timeouts)}
_RETRY: Final = {field.name: f"retry_{field.name}" for field in fields(RetryPolicy)}


def build_profile(row: RowMapping) -> Profile:
    """Build a profile from a row with `PROFILE_COLUMNS`."""
    sender = row["default_from_address"]
    values = {name: row[name] for name in (*_COPIED_COLUMNS, *map(_flag, SEALED_COLUMNS))}
    values |= {name: make(values[name]) for name, make in _FROM_COLUMN.items()}
    return Profile(
        **values,
        default_from=None
        if sender is None
        else NamedAddress(sender, row["default_from_name"] or ""),
        rate_limit=build_rate_limit(row),
        timeouts=Timeouts(**{name: row[column] for name, column in _TIMEOUTS.items()}),
        retry=RetryPolicy(**{name: row[column] for name, column in _RETRY.items()}),
    )


def build_row(profile: Profile) -> dict[str, Any]:
    """Build the row of a new profile, without sealed columns."""
    sender, values = (
        profile.default_from,
        {name: getattr(profile, name) for name in _COPIED_COLUMNS},
    )
    return values | {
        "tls_pins": list(profile.tls_pins),
        "allowed_from": list(profile.allowed_from),
        "ramp": _dump_ramp(profile.ramp),
        "destinations": [_dump_destination(item) for item in profile.destinations],
        "oauth": None if profile.oauth is None else asdict(profile.oauth),
        "default_from_address": sender.address if sender else None,
        "default_from_name": sender.name if sender else None,
        **build_rate_columns(profile.rate_limit),
        **{column: getattr(profile.timeouts, name) for name, column in _TIMEOUTS.items()},
        **{column: getattr(profile.retry, name) for name, column in _RETRY.items()},
    }


def is_live(tenant_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Build the conditions for the tenant's profiles that are not deleted."""
    return profiles.c.tenant_id == tenant_id, profiles.c.deleted_at.is_(None)


async def write(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str, values: Mapping[str, Any]
) -> None:
    """Update columns of a live profile; raise NotFound."""
    result = await connection.execute(
        update(profiles)
        .where(*is_live(tenant_id), profiles.c.id == profile_id)
        .values(dict(values))
    )
    if result.rowcount == 0:
        raise NotFound("profile", profile_id)
