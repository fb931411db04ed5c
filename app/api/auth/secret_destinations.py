"""Require a stored secret again when a request changes its destination."""

from app.domain.errors import FieldError
from app.store.secrets.contexts import changed_settings
from app.store.secrets.encryption import SealContext


def missing_secret(
    before: SealContext, after: SealContext, *loc: str, remedy: str = ""
) -> FieldError | None:
    """What is wrong with a change that keeps the secret at `loc`, if it redirects that one.

    A caller who redirects a secret could read it there, so an admin has to give it too.
    """
    settings = changed_settings(before, after)
    if not settings:
        return None
    name = ".".join(loc)
    msg = (
        f"set {name} again{remedy}: the stored one is bound to its destination, and this request"
        f" changes {', '.join(settings)}"
    )
    return FieldError(("body", *loc), msg, "missing")
