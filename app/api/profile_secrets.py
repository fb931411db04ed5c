"""The secrets of a profile: which a request sets, which a profile then holds, and their sealing."""

from typing import Final

from pydantic import SecretStr

from app.api.profile_auth import SECRETS as OF_OAUTH
from app.api.profile_bodies import ProfileCreate, ProfileUpdate
from app.domain.types import Profile
from app.store.vault import Vault

# The fields of `auth` that are secret, each with the name that its column goes by.
IN_AUTH: Final = {"password": "password"} | {name: f"oauth_{name}" for name in OF_OAUTH}


def held_by(body: ProfileCreate) -> frozenset[str]:
    """The names of the secrets that a new profile has."""
    return frozenset(name for name, secret in _given(body).items() if secret is not None)


def held_after(before: Profile, update: ProfileUpdate) -> frozenset[str]:
    """The names of the secrets that a profile has after a change."""
    held = {name for name, column in IN_AUTH.items() if getattr(before, f"has_{column}")}
    held |= {"client_key"} if before.has_client_key else set()
    given = _given(update)
    return frozenset(
        (held - given.keys()) | {name for name, secret in given.items() if secret is not None}
    )


def sealed_secrets(
    body: ProfileCreate | ProfileUpdate, vault: Vault, *, profile_id: str
) -> dict[str, bytes | None]:
    """The sealed columns that a body sets, each bound to its row; those it leaves out are not."""
    sealed: dict[str, bytes | None] = {}
    for name, secret in _given(body).items():
        column = IN_AUTH.get(name, name)
        sealed[f"sealed_{column}"] = _seal(vault, secret, profile_id, column)
    return sealed


def given_secrets(body: ProfileCreate) -> dict[str, str]:
    """The secrets of a profile that is not stored, by name."""
    return {
        name: secret.get_secret_value()
        for name, secret in _given(body).items()
        if secret is not None
    }


def _seal(vault: Vault, secret: SecretStr | None, profile_id: str, field: str) -> bytes | None:
    if secret is None:
        return None
    return vault.seal(secret.get_secret_value(), row=profile_id, field=field)


def _given(body: ProfileCreate | ProfileUpdate) -> dict[str, SecretStr | None]:
    """The secrets that a body speaks of; None takes one away."""
    given: dict[str, SecretStr | None] = {}
    if "client_key" in body.model_fields_set:
        given["client_key"] = body.client_key
    if "auth" not in body.model_fields_set:
        return given
    if body.auth is None:
        return given | dict.fromkeys(IN_AUTH)
    names = IN_AUTH.keys() & body.auth.model_fields_set
    return given | {name: getattr(body.auth, name) for name in names}
