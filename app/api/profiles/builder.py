"""Build a profile from a request: new, or by a merge patch (RFC 7396)."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth.reach import reaches
from app.api.http.field_errors import field_error, invalid
from app.api.http.fields import Body
from app.api.profiles.lookup import spelt_alike
from app.api.profiles.schemas import ProfileCreate, ProfileUpdate, contradictions
from app.api.profiles.secrets import held_after, held_by
from app.domain import types
from app.domain.errors import FieldError, InvalidRequest
from app.domain.ids import new_id
from app.domain.networks import AddressGuard
from app.domain.types import ApiKey, Profile
from app.store.profiles import queries as profiles
from app.store.profiles.rows import row_of

FILLED_IN: Final = frozenset({"token_url", "scope"})


def new_profile(body: ProfileCreate, *, tenant_id: str, now: datetime) -> Profile:
    """A profile with a new id; raises InvalidRequest where its fields contradict each other."""
    return _profile(
        body,
        profile_id=new_id("prf"),
        tenant_id=tenant_id,
        created_at=now,
        updated_at=now,
        held=held_by(body),
    )


def changed_profile(before: Profile, update: ProfileUpdate, *, now: datetime) -> Profile:
    """The profile with the changes; raises InvalidRequest."""
    try:
        body = ProfileCreate.model_validate(_merged(before, update))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        wrong = [field_error({**item, "loc": ("body", *item["loc"])}) for item in found]
    else:
        after = _profile(
            body,
            profile_id=before.id,
            tenant_id=before.tenant_id,
            created_at=before.created_at,
            updated_at=now,
            held=held_after(before, update),
        )
        return replace(after, paused_at=before.paused_at, revision=before.revision)
    # Raised here, where no error that holds the values hangs on as its context.
    raise invalid(wrong)


def check_destination(profile: Profile, guard: AddressGuard) -> None:
    """Raises InvalidRequest for a port or an address that the operator does not allow.

    Names are looked up, and their addresses checked, at each connection.
    """
    wrong = []
    if reason := guard.port_refusal(profile.port):
        wrong.append(FieldError(("body", "port"), reason))
    if profile.host is not None and (reason := guard.host_refusal(profile.host)):
        wrong.append(FieldError(("body", "host"), f"{profile.host}: {reason}"))
    if profile.oauth is not None:
        wrong += _token_server_wrong(profile.oauth.token_url, guard)
    _raise(wrong)


def _token_server_wrong(token_url: str, guard: AddressGuard) -> list[FieldError]:
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


def _raise(wrong: list[FieldError]) -> None:
    if wrong:
        raise invalid(wrong)


def _profile(
    body: ProfileCreate,
    *,
    profile_id: str,
    tenant_id: str,
    created_at: datetime,
    updated_at: datetime,
    held: frozenset[str],
) -> Profile:
    _raise(contradictions(body, held=held))
    rate, waits, again = body.rate_limit, body.timeouts, body.retry
    return Profile(
        id=profile_id,
        tenant_id=tenant_id,
        name=body.name,
        is_default=body.is_default,
        transport=body.transport,
        host=body.host,
        port=body.port,
        tls=body.tls,
        tls_ca=body.tls_ca,
        client_certificate=body.client_certificate,
        has_client_key="client_key" in held,
        tls_min_version=body.tls_min_version,
        tls_server_name=body.tls_server_name,
        tls_pins=tuple(body.tls_pins),
        ehlo_name=body.ehlo_name,
        source_address=body.source_address,
        auth_mechanism=body.auth.mechanism,
        username=body.auth.username,
        has_password="password" in held,
        allow_plaintext_auth=body.auth.allow_plaintext_auth,
        oauth=body.auth.token_source(),
        has_oauth_client_secret="client_secret" in held,
        has_oauth_private_key="private_key" in held,
        has_oauth_refresh_token="refresh_token" in held,
        default_from=body.default_from,
        allowed_from=tuple(body.allowed_from),
        max_connections=body.max_connections,
        max_messages_per_connection=body.max_messages_per_connection,
        rate_limit=rate.limit() if rate else None,
        retry=types.RetryPolicy(
            first=again.first_seconds,
            factor=again.factor,
            cap=again.cap_seconds,
            max_age=again.max_age_seconds,
            max_unknown_outcomes=again.max_unknown_outcomes,
        ),
        timeouts=types.Timeouts(connect=waits.connect, command=waits.command, data=waits.data),
        fallback_profile_id=body.fallback_profile,
        fallback_after_seconds=body.fallback_after_seconds,
        created_at=created_at,
        updated_at=updated_at,
    )


async def with_fallback(
    connection: AsyncConnection, profile: Profile, *, by: ApiKey | None = None
) -> Profile:
    """The profile with the id of the fallback that it names; raises InvalidRequest.

    One that the key which asks does not reach is not there.
    """
    named = profile.fallback_profile_id
    if named is None:
        return profile
    found = await profiles.find(connection, tenant_id=profile.tenant_id, profile=named)
    if found is None or not reaches(by, found):
        hint = await spelt_alike(connection, profile.tenant_id, named, by=by)
        msg = f"no profile {named[:100]!r} exists{hint}"
        raise InvalidRequest.at("fallback_profile", msg=msg)
    if found.id == profile.id:
        raise InvalidRequest.at("fallback_profile", msg="write a profile other than this one")
    return replace(profile, fallback_profile_id=found.id)


def _merged(before: Profile, update: ProfileUpdate) -> dict[str, Any]:
    merged = _as_given(before)
    for name in update.model_fields_set:
        value = getattr(update, name)
        if isinstance(value, Body):
            value = _patched(merged.get(name) or {}, value)
        merged[name] = value
    return {name: value for name, value in merged.items() if value is not None}


def _patched(before: Mapping[str, Any], update: Body) -> dict[str, Any]:
    changes = {name: getattr(update, name) for name in update.model_fields_set}
    if changes.get("preset") is not None:  # it says anew what it fills in
        before = {name: value for name, value in before.items() if name not in FILLED_IN}
    return {name: value for name, value in {**before, **changes}.items() if value is not None}


def _as_given(profile: Profile) -> dict[str, Any]:
    """What `POST /profiles` would have to be given for this profile, its secrets apart."""
    limit, timeouts, retry = profile.rate_limit, profile.timeouts, profile.retry
    nested = {
        "auth": {
            "mechanism": profile.auth_mechanism,
            "username": profile.username,
            "allow_plaintext_auth": profile.allow_plaintext_auth,
            **({} if profile.oauth is None else asdict(profile.oauth)),
        },
        "rate_limit": limit and asdict(limit),
        "timeouts": {
            "connect": timeouts.connect,
            "command": timeouts.command,
            "data": timeouts.data,
        },
        "retry": {
            "first_seconds": retry.first,
            "factor": retry.factor,
            "cap_seconds": retry.cap,
            "max_age_seconds": retry.max_age,
            "max_unknown_outcomes": retry.max_unknown_outcomes,
        },
        "fallback_profile": profile.fallback_profile_id,
        "allowed_from": list(profile.allowed_from),
        "tls_pins": list(profile.tls_pins),
        "client_key": None,
    }
    plain = set(ProfileCreate.model_fields) - set(nested)
    return {name: getattr(profile, name) for name in plain} | nested


def column_changes(before: Profile, after: Profile) -> dict[str, Any]:
    """The columns that differ between two states of a profile, its secrets apart."""
    old, new = row_of(before), row_of(after)
    changes = {name: value for name, value in new.items() if value != old[name]}
    changes.pop("updated_at", None)
    return changes
