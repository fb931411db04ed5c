"""Require a stored secret again when a request changes its destination."""

from app.domain.errors import FieldError
from app.store.secrets.contexts import changed_settings
from app.store.secrets.encryption import SealContext


def find_missing_secret(
    before: SealContext, after: SealContext, *loc: str, remedy: str = ""
) -> FieldError | None:
    """Return an error if a change redirects the stored secret at `loc`, else None.

    A caller that redirects a secret could read it at the new destination, so even an admin has to
    send the secret again.
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
