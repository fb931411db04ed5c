"""Errors that Heloise raises on purpose.

The exception tree::

    HeloiseError
    ├── Problem                     a request that Heloise refuses, or cannot carry out now
    │   ├── InvalidRequest          with `errors` by field
    │   ├── Unauthenticated
    │   ├── Forbidden
    │   ├── QuotaExceeded
    │   ├── NotFound
    │   ├── RequestTimeout
    │   ├── Conflict
    │   ├── Gone
    │   ├── TooLarge
    │   ├── UnsupportedMediaType
    │   ├── TooManyRequests         with `retry_after_seconds`
    │   └── Unavailable             with `retry_after_seconds`
    ├── QuotaError                  a message exceeds its tenant's quota
    ├── FetchError                  a file cannot be downloaded
    ├── SignInError                 the provider signs nobody in
    ├── SettingsError               a setting is missing or wrong
    └── SealError                   no key opens a sealed credential

None of them knows HTTP: `app.api.http.problem_types` gives each type its status and title. A
refusal by a server or network is not an exception but a `domain.outcome.outcome.Outcome`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.tenants.quotas import Exceeded


@dataclass(frozen=True, slots=True)
class FieldError:
    """An invalid field: its place in the request, a message, and a stable type."""

    loc: tuple[str | int, ...]
    msg: str
    type: str = "value_error"


class HeloiseError(Exception):
    """Base class of all errors that Heloise raises on purpose."""


class Problem(HeloiseError):  # noqa: N818 - RFC 9457's word
    """A request that Heloise refuses, or cannot carry out now.

    `slug` names the stable type of the problem; `detail` says what to do instead and holds no
    secret.
    """

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail


class InvalidRequest(Problem):
    """A value in the request is invalid."""

    def __init__(
        self, detail: str, errors: Sequence[FieldError] = (), slug: str = "invalid-request"
    ) -> None:
        super().__init__(slug, detail)
        self.errors = tuple(errors)

    @classmethod
    def at(cls, *loc: str | int, msg: str, type: str = "value_error") -> "InvalidRequest":  # noqa: A002 - pydantic's word for it
        """Build an error for one field, by its place in the body."""
        path = ".".join(str(part) for part in loc)
        return cls(f"{path}: {msg}", [FieldError(("body", *loc), msg, type)])

    @classmethod
    def in_query(cls, name: str, msg: str) -> "InvalidRequest":
        """Build an error for one parameter of the URL."""
        return cls(f"query.{name}: {msg}", [FieldError(("query", name), msg)])


class Unauthenticated(Problem):
    """No key, or an unknown one."""

    def __init__(self, detail: str) -> None:
        super().__init__("unauthenticated", detail)


class Forbidden(Problem):
    """The key is known and does not allow this."""


class QuotaExceeded(Problem):
    """The tenant has reached a limit: remove something or raise the limit."""

    def __init__(self, detail: str) -> None:
        super().__init__("quota-exceeded", detail)


class NotFound(Problem):
    """The tenant has no such object. Another tenant's object is not found either."""

    def __init__(
        self, noun: str, name: str = "", *, hint: str = "", detail: str | None = None
    ) -> None:
        default_detail = f"There is no {noun} {name!r} here{hint or '.'}"
        super().__init__(f"{noun}-not-found", detail or default_detail)


class Conflict(Problem):
    """The current state does not allow this."""


class Gone(Problem):
    """The content was deleted, or nobody may read it."""


class RequestTimeout(Problem):
    """The caller sent its request too slowly."""

    def __init__(self, detail: str) -> None:
        super().__init__("request-timeout", detail)


class TooLarge(Problem):
    """More bytes than the limit."""


class UnsupportedMediaType(Problem):
    """The operation does not accept this type of body."""

    def __init__(self, detail: str) -> None:
        super().__init__("unsupported-media-type", detail)


class TooManyRequests(Problem):
    """The caller has used its `limit` per `per_seconds`; None where no period applies."""

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        retry_after_seconds: int,
        limit: int,
        per_seconds: int | None,
    ) -> None:
        super().__init__(slug, detail)
        self.retry_after_seconds = retry_after_seconds
        self.limit = limit
        self.per_seconds = per_seconds


class Unavailable(Problem):
    """Heloise cannot do this now, and has done nothing. Try again."""

    retry_after_seconds = 5


class QuotaError(HeloiseError):
    """A message exceeds its tenant's quota; `exceeded` names the limit."""

    def __init__(self, exceeded: Exceeded) -> None:
        super().__init__(f"{exceeded.limit} allows at most {exceeded.value}")
        self.exceeded = exceeded


class FetchError(HeloiseError):
    """A file cannot be downloaded; the text says why."""


class SignInError(HeloiseError):
    """The provider signs nobody in; the text says why, to follow its name."""


class SettingsError(HeloiseError):
    """A setting is missing or wrong; the text names it, its value and what to write."""


class SealError(HeloiseError):
    """A sealed value does not open: wrong key, wrong row or altered bytes."""
