"""Check that the caller's key reaches each object in a request.

The reference may be in a path, a body, a filter or a replayed request. An object out of reach is
reported as missing.
"""

from typing import Protocol, TypeVar

from app.domain.errors import Forbidden, NotFound
from app.domain.types import ApiKey, Profile


class OfProfile(Protocol):
    """What belongs to a profile, such as a message; or, with None, to the tenant as a whole."""

    @property
    def profile_id(self) -> str | None: ...


# A text is a profile's id.
Thing = str | Profile | ApiKey | OfProfile
Found = TypeVar("Found", bound=Thing)


def reaches(key: ApiKey | None, thing: Thing) -> bool:
    """Whether a key may refer to something of its tenant; None, an admin's, may to everything."""
    if key is None or not key.profiles:
        return True
    profile_ids = _profiles_of(thing)
    return bool(profile_ids) and profile_ids <= set(key.profiles)


def reached(key: ApiKey | None, noun: str, name: str, found: Found | None) -> Found:
    """Return the object; raises NotFound if it is missing or out of reach."""
    if found is None or not reaches(key, found):
        raise NotFound(noun, name)
    return found


def require_unbound(key: ApiKey | None) -> None:
    """Raise Forbidden for a key that is bound to profiles: what it asks for is about all."""
    if key is not None and key.profiles:
        raise Forbidden(
            "key-is-bound", "This key is bound to profiles; this operation concerns all profiles."
        )


def _profiles_of(thing: Thing) -> set[str]:
    """The ids of the profiles that something is about; none where it is about all of them."""
    match thing:
        case str():
            return {thing}
        case Profile():
            return {thing.id}
        case ApiKey():
            return set(thing.profiles)
        case _:
            return set() if thing.profile_id is None else {thing.profile_id}
