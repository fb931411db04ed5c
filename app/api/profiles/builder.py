"""Build a profile from a request: new, or by a merge patch (RFC 7396)."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.http.field_errors import build_invalid_request, validate_body
from app.api.http.fields import RequestModel
from app.api.profiles.destination_schemas import build_destinations, build_ramp
from app.api.profiles.schemas import ProfileCreate, ProfileUpdate, find_contradictions
from app.api.profiles.secrets import COLUMNS, list_secrets, list_secrets_after
from app.auth.profiles import suggest_profile
from app.auth.reach import can_reach
from app.domain import types
from app.domain.errors import FieldError, InvalidRequest
from app.domain.ids import new_id
from app.domain.networks import AddressGuard
from app.domain.types import ApiKey, Profile
from app.store.profiles import queries as profiles
from app.store.profiles.rows import build_row

PRESET_FIELDS: Final = frozenset({"token_url", "scope"})
# Fields with the same name in the profile and its JSON.
SAME: Final = {field.name for field in fields(Profile)} & ProfileCreate.model_fields.keys()


def build_new_profile(body: ProfileCreate, *, tenant_id: str, now: datetime) -> Profile:
    """Build a profile with a new id; raises InvalidRequest for contradictions."""
    values = _build_values(body, list_secrets(body), None, now)
    return Profile(id=new_id("prf"), tenant_id=tenant_id, created_at=now, updated_at=now, **values)


def build_changed_profile(before: Profile, update: ProfileUpdate, *, now: datetime) -> Profile:
    """Apply a merge patch to a profile; raises InvalidRequest."""
    body = validate_body(ProfileCreate, _merge_update(before, update))
    values = _build_values(body, list_secrets_after(before, update), before, now)
    return replace(before, updated_at=now, **values)


def check_destination(profile: Profile, guard: AddressGuard) -> None:
    """Raise InvalidRequest for a forbidden host, port or token URL.

    Host names are resolved and their addresses checked at each connection.
    """
    errors = []
    if reason := guard.port_refusal(profile.port):
        errors.append(FieldError(("body", "port"), reason))
    if profile.host is not None and (reason := guard.host_refusal(profile.host)):
        errors.append(FieldError(("body", "host"), f"{profile.host}: {reason}"))
    if profile.oauth is not None:
        errors += _find_token_server_errors(profile.oauth.token_url, guard)
    _raise_if_any(errors)


def _find_token_server_errors(token_url: str, guard: AddressGuard) -> list[FieldError]:
    url, loc = urlsplit(token_url), ("body", "auth", "token_url")
    if not guard.allow_private and (url.scheme != "https" or url.port not in (None, 443)):
        msg = (
            "write an https:// URL without a port; the operator may allow other URLs"
            " (HELOISE_ALLOW_PRIVATE_HOSTS=true)"
        )
        return [FieldError(loc, msg)]
    if reason := guard.host_refusal(url.hostname or ""):
        return [FieldError(loc, f"{url.hostname}: {reason}")]
    return []


def _raise_if_any(errors: list[FieldError]) -> None:
    if errors:
        raise build_invalid_request(errors)


def _build_values(
    body: ProfileCreate, secret_names: frozenset[str], before: Profile | None, now: datetime
) -> dict[str, Any]:
    """Build the fields of a profile that a body sets; raises InvalidRequest."""
    _raise_if_any(find_contradictions(body, secret_names=secret_names))
    return {name: getattr(body, name) for name in SAME} | {
        "tls_pins": tuple(body.tls_pins),
        "auth_mechanism": body.auth.mechanism,
        "username": body.auth.username,
        "allow_plaintext_auth": body.auth.allow_plaintext_auth,
        "oauth": body.auth.to_oauth(),
        "allowed_from": tuple(body.allowed_from),
        "rate_limit": body.rate_limit.to_rate_limit() if body.rate_limit else None,
        "ramp": build_ramp(body.ramp, before.ramp if before else None, now),
        "destinations": build_destinations(
            body.destinations, before.destinations if before else (), now
        ),
        "timeouts": types.Timeouts(**body.timeouts.model_dump()),
        "retry": types.RetryPolicy(**body.retry.model_dump()),
        "fallback_profile_id": body.fallback_profile,
        **{f"has_{column}": name in secret_names for name, column in COLUMNS.items()},
    }


async def resolve_fallback(
    connection: AsyncConnection, profile: Profile, *, caller_key: ApiKey | None = None
) -> Profile:
    """Replace the fallback's name by its id; raises InvalidRequest.

    A fallback outside the key's reach counts as missing.
    """
    fallback_name = profile.fallback_profile_id
    if fallback_name is None:
        return profile
    fallback = await profiles.find(connection, tenant_id=profile.tenant_id, profile=fallback_name)
    if fallback is None or not can_reach(caller_key, fallback):
        hint = await suggest_profile(
            connection, profile.tenant_id, fallback_name, caller_key=caller_key
        )
        msg = f"no profile {fallback_name[:100]!r} exists{hint}"
        raise InvalidRequest.at("fallback_profile", msg=msg)
    if fallback.id == profile.id:
        raise InvalidRequest.at("fallback_profile", msg="write a profile other than this one")
    return replace(profile, fallback_profile_id=fallback.id)


def _merge_update(before: Profile, update: ProfileUpdate) -> dict[str, Any]:
    merged = _dump_profile(before)
    for name in update.model_fields_set:
        value = getattr(update, name)
        if isinstance(value, RequestModel):
            value = _merge_nested(merged.get(name) or {}, value)
        merged[name] = value
    return {name: value for name, value in merged.items() if value is not None}


def _merge_nested(before: Mapping[str, Any], update: RequestModel) -> dict[str, Any]:
    changes = {name: getattr(update, name) for name in update.model_fields_set}
    if changes.get("preset") is not None:  # it says anew what it fills in
        before = {name: value for name, value in before.items() if name not in PRESET_FIELDS}
    return {name: value for name, value in {**before, **changes}.items() if value is not None}


def _dump_profile(profile: Profile) -> dict[str, Any]:
    """Dump a profile as a body of `POST /profiles`, without secrets."""
    limit = profile.rate_limit
    nested = {
        "auth": {
            "mechanism": profile.auth_mechanism,
            "username": profile.username,
            "allow_plaintext_auth": profile.allow_plaintext_auth,
            **({} if profile.oauth is None else asdict(profile.oauth)),
        },
        "rate_limit": limit and asdict(limit),
        "ramp": _dump_ramp(profile.ramp),
        "destinations": [_dump_destination(item) for item in profile.destinations],
        "timeouts": asdict(profile.timeouts),
        "retry": asdict(profile.retry),
        "fallback_profile": profile.fallback_profile_id,
    }
    return {name: getattr(profile, name) for name in SAME} | nested


def _dump_ramp(ramp: types.Ramp | None) -> dict[str, Any] | None:
    if ramp is None:
        return None
    return {name: value for name, value in asdict(ramp).items() if name != "started_at"}


def _dump_destination(destination: types.Destination) -> dict[str, Any]:
    values = asdict(destination) | {"ramp": _dump_ramp(destination.ramp)}
    return {name: value for name, value in values.items() if name != "number"}


def diff_columns(before: Profile, after: Profile) -> dict[str, Any]:
    """Return the columns that differ between two states, without secrets."""
    old_row, new_row = build_row(before), build_row(after)
    changes = {name: value for name, value in new_row.items() if value != old_row[name]}
    changes.pop("updated_at", None)
    return changes
