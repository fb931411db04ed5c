"""Encrypt a profile's secrets and track which ones a request sets."""

from typing import Final

from pydantic import SecretStr

from app.api.auth.secret_destinations import find_missing_secret
from app.api.http.field_errors import build_invalid_request
from app.api.profiles.auth_schemas import SECRETS as OF_OAUTH
from app.api.profiles.schemas import ProfileCreate, ProfileUpdate
from app.domain.types import Profile
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import Vault

# The secrets in `auth` and all secrets, each with its column.
AUTH_SECRETS: Final = {"password": "password"} | {name: f"oauth_{name}" for name in OF_OAUTH}
COLUMNS: Final = AUTH_SECRETS | {"client_key": "client_key"}


def list_secrets(body: ProfileCreate) -> frozenset[str]:
    """Return the names of a new profile's secrets."""
    return frozenset(name for name, secret in _read_secrets(body).items() if secret is not None)


def list_secrets_after(before: Profile, update: ProfileUpdate) -> frozenset[str]:
    """Return the names of a profile's secrets after an update."""
    new_secrets = _read_secrets(update)
    return frozenset(
        (_list_stored_secrets(before) - new_secrets.keys())
        | {name for name, secret in new_secrets.items() if secret is not None}
    )


def _list_stored_secrets(profile: Profile) -> set[str]:
    return {name for name, column in COLUMNS.items() if getattr(profile, f"has_{column}")}


def check_kept_secrets(before: Profile, after: Profile, update: ProfileUpdate) -> None:
    """Raise InvalidRequest if a kept secret would go to another server."""
    errors = []
    for name in sorted(_list_stored_secrets(before) - _read_secrets(update).keys()):
        field = COLUMNS[name]
        loc = ("auth", name) if name in AUTH_SECRETS else (name,)
        contexts = profile_secret(before, field), profile_secret(after, field)
        if error := find_missing_secret(*contexts, *loc, remedy=", or set it to null"):
            errors.append(error)
    if errors:
        raise build_invalid_request(errors)


def seal_secrets(
    body: ProfileCreate | ProfileUpdate, vault: Vault, *, profile: Profile
) -> dict[str, bytes | None]:
    """Encrypt the secrets that a body sets, by column. `profile` is the result of the body."""
    sealed: dict[str, bytes | None] = {}
    for name, secret in _read_secrets(body).items():
        field = COLUMNS[name]
        sealed[f"sealed_{field}"] = (
            None
            if secret is None
            else vault.seal(secret.get_secret_value(), profile_secret(profile, field))
        )
    return sealed


def read_plain_secrets(body: ProfileCreate) -> dict[str, str]:
    """Return the secrets of an unsaved profile by name."""
    return {
        name: secret.get_secret_value()
        for name, secret in _read_secrets(body).items()
        if secret is not None
    }


def _read_secrets(body: ProfileCreate | ProfileUpdate) -> dict[str, SecretStr | None]:
    """Return the secrets that a body sets. None removes a secret."""
    secret_by_name: dict[str, SecretStr | None] = {}
    if "client_key" in body.model_fields_set:
        secret_by_name["client_key"] = body.client_key
    if "auth" not in body.model_fields_set:
        return secret_by_name
    if body.auth is None:
        return secret_by_name | dict.fromkeys(AUTH_SECRETS)
    names = AUTH_SECRETS.keys() & body.auth.model_fields_set
    return secret_by_name | {name: getattr(body.auth, name) for name in names}
