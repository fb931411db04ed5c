"""Map profiles to rows, without reading encrypted columns unnecessarily."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.types import (
    AuthMechanism,
    Mailbox,
    OAuth,
    OAuthGrant,
    Profile,
    RetryPolicy,
    Timeouts,
    TlsMode,
    Transport,
)
from app.store.tables.core import profiles
from app.store.tables.rate_columns import rate_columns, rate_limit_of

SEALED: Final = (
    "sealed_password",
    "sealed_client_key",
    "sealed_oauth_client_secret",
    "sealed_oauth_private_key",
    "sealed_oauth_refresh_token",
)


def field_of(sealed: str) -> str:
    """The name of the field that a sealed column is bound to: `password` for `sealed_password`."""
    return sealed.removeprefix("sealed_")


def _flag(sealed: str) -> str:
    """`has_password` for `sealed_password`."""
    return sealed.replace("sealed_", "has_", 1)


PROFILE_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (
    *(column for column in profiles.c if column.name not in SEALED),
    *(profiles.c[name].is_not(None).label(_flag(name)) for name in SEALED),
)

_SAME: Final = (
    "id",
    "tenant_id",
    "name",
    "is_default",
    "host",
    "port",
    "tls_ca",
    "client_certificate",
    "tls_min_version",
    "tls_server_name",
    "ehlo_name",
    "source_address",
    "username",
    "allow_plaintext_auth",
    "max_connections",
    "max_messages_per_connection",
    "fallback_profile_id",
    "fallback_after_seconds",
    "paused_at",
    "revision",
    "created_at",
    "updated_at",
)


def profile_of(row: RowMapping) -> Profile:
    """The profile of a row that was read with `PROFILE_COLUMNS`."""
    sender = row["default_from_address"]
    return Profile(
        **{name: row[name] for name in _SAME},
        **{_flag(name): row[_flag(name)] for name in SEALED},
        tls_pins=tuple(row["tls_pins"]),
        oauth=_oauth_of(row["oauth"]),
        transport=Transport(row["transport"]),
        tls=TlsMode(row["tls"]),
        auth_mechanism=AuthMechanism(row["auth_mechanism"]),
        default_from=None if sender is None else Mailbox(sender, row["default_from_name"] or ""),
        allowed_from=tuple(row["allowed_from"]),
        rate_limit=rate_limit_of(row),
        timeouts=Timeouts(
            connect=row["timeout_connect_seconds"],
            command=row["timeout_command_seconds"],
            data=row["timeout_data_seconds"],
        ),
        retry=RetryPolicy(
            first=row["retry_first_seconds"],
            factor=row["retry_factor"],
            cap=row["retry_cap_seconds"],
            max_age=row["retry_max_age_seconds"],
            max_unknown_outcomes=row["retry_max_unknown_outcomes"],
        ),
    )


def _oauth_of(stored: dict[str, str | None] | None) -> OAuth | None:
    if stored is None:
        return None
    return OAuth(**{**stored, "grant": OAuthGrant(stored["grant"])})  # type: ignore[arg-type] # as `row_of` wrote it


def row_of(profile: Profile) -> dict[str, Any]:
    """The columns of a new profile, its sealed ones apart."""
    sender, waits = profile.default_from, profile.timeouts
    return {name: getattr(profile, name) for name in _SAME} | {
        "transport": profile.transport.value,
        "tls": profile.tls.value,
        "auth_mechanism": profile.auth_mechanism.value,
        "default_from_address": sender.address if sender else None,
        "default_from_name": sender.name if sender else None,
        "tls_pins": list(profile.tls_pins),
        "oauth": None if profile.oauth is None else asdict(profile.oauth),
        "allowed_from": list(profile.allowed_from),
        **rate_columns(profile.rate_limit),
        "timeout_connect_seconds": waits.connect,
        "timeout_command_seconds": waits.command,
        "timeout_data_seconds": waits.data,
        "retry_first_seconds": profile.retry.first,
        "retry_factor": profile.retry.factor,
        "retry_cap_seconds": profile.retry.cap,
        "retry_max_age_seconds": profile.retry.max_age,
        "retry_max_unknown_outcomes": profile.retry.max_unknown_outcomes,
    }


def live(tenant_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The conditions that a row is a profile of the tenant, and not deleted."""
    return profiles.c.tenant_id == tenant_id, profiles.c.deleted_at.is_(None)


async def write(
    connection: AsyncConnection, *, tenant_id: str, profile_id: str, values: Mapping[str, Any]
) -> None:
    """Write columns of a live profile; raises NotFound where it is none of the tenant's."""
    result = await connection.execute(
        update(profiles).where(*live(tenant_id), profiles.c.id == profile_id).values(dict(values))
    )
    if result.rowcount == 0:
        raise NotFound("profile", profile_id)
