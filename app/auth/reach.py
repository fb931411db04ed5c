"""Check that the caller's key reaches each object in a request.

The reference may be in a path, a body, a filter or a replayed request. An object out of reach is
reported as missing.
"""

from typing import Protocol, TypeVar

from app.domain.errors import Forbidden, NotFound
from app.domain.types import ApiKey, Profile


class ProfileOwned(Protocol):
    """An object of a profile, such as a message; or of the whole tenant, with None."""

    @property
    def profile_id(self) -> str | None: ...


# A string is the id of a profile.
TenantObject = str | Profile | ApiKey | ProfileOwned
Object = TypeVar("Object", bound=TenantObject)


def can_reach(key: ApiKey | None, value: TenantObject) -> bool:
    """Whether a key may refer to an object of its tenant. None, for an admin, may."""
    if key is None or not key.profiles:
        return True
    profile_ids = _list_profile_ids(value)
    return bool(profile_ids) and profile_ids <= set(key.profiles)


def require_reachable(key: ApiKey | None, noun: str, name: str, value: Object | None) -> Object:
    """Return the object; raises NotFound if it is missing or out of reach."""
    if value is None or not can_reach(key, value):
        raise NotFound(noun, name)
    return value


def require_unbound(key: ApiKey | None) -> None:
    """Raise Forbidden for a key that is bound to profiles: the operation concerns all profiles."""
    if key is not None and key.profiles:
        raise Forbidden(
            "key-is-bound", "This key is bound to profiles; this operation concerns all profiles."
        )


def _list_profile_ids(value: TenantObject) -> set[str]:
    """List the ids of the profiles that an object concerns; empty if it concerns all."""
    match value:
        case str():
            return {value}
        case Profile():
            return {value.id}
        case ApiKey():
            return set(value.profiles)
        case _:
            return set() if value.profile_id is None else {value.profile_id}
