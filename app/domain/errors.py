"""What a caller did wrong, each with its problem type and what to do instead.

The exception tree::

    HeloiseError
    ├── Problem                     the caller's mistake: answered as RFC 9457 problem+json
    │   ├── InvalidRequest          422, with `errors` by field
    │   ├── Unauthenticated         401
    │   ├── Forbidden               403
    │   ├── QuotaExceeded           403
    │   ├── NotFound                404
    │   ├── RequestTimeout          408
    │   ├── Conflict                409
    │   ├── Gone                    410
    │   ├── TooLarge                413
    │   ├── UnsupportedMediaType    415
    │   ├── TooManyRequests         429, with `retry_after_seconds`
    │   └── Unavailable             503, with `retry_after_seconds`
    ├── QuotaError                  a message is beyond its tenant's quota
    ├── SettingsError               a setting is missing or wrong: exit 2
    └── SealError                   a sealed credential does not open under any key

A server's or network's refusal is no exception: it is a `domain.outcome.outcome.Outcome`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.tenants.quotas import Exceeded


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: where it stands in the request, what is wrong, and a stable type."""

    loc: tuple[str | int, ...]
    msg: str
    type: str = "value_error"


class HeloiseError(Exception):
    """Root of everything that Heloise raises on purpose."""


class Problem(HeloiseError):  # noqa: N818 - RFC 9457's word for it
    """A caller's mistake or a refusal, answered as RFC 9457.

    `slug` names the stable type `/problems/{slug}`; `detail` says what to do instead and holds
    no secret.
    """

    status = 400
    title = "Bad request"

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail


class InvalidRequest(Problem):
    """The request is understood but a value in it is not acceptable (422)."""

    status = 422
    title = "Invalid request"

    def __init__(
        self, detail: str, errors: Sequence[FieldError] = (), slug: str = "invalid-request"
    ) -> None:
        super().__init__(slug, detail)
        self.errors = tuple(errors)

    @classmethod
    def at(cls, *loc: str | int, msg: str, type: str = "value_error") -> "InvalidRequest":  # noqa: A002 - pydantic's word for it
        """One wrong field, named by its place in the body."""
        path = ".".join(str(part) for part in loc)
        return cls(f"{path}: {msg}", [FieldError(("body", *loc), msg, type)])


class Unauthenticated(Problem):
    """No key, or one that opens nothing (401)."""

    status = 401
    title = "Authentication required"

    def __init__(self, detail: str) -> None:
        super().__init__("unauthenticated", detail)


class Forbidden(Problem):
    """The key is known and does not allow this (403)."""

    status = 403
    title = "Not allowed"


class QuotaExceeded(Problem):
    """More than the tenant may have, until something is taken away or the limit raised (403)."""

    status = 403
    title = "Quota exceeded"

    def __init__(self, detail: str) -> None:
        super().__init__("quota-exceeded", detail)


class NotFound(Problem):
    """No such object for this tenant (404): another tenant's object is not found either."""

    status = 404
    title = "Not found"

    def __init__(
        self, noun: str, name: str = "", *, hint: str = "", detail: str | None = None
    ) -> None:
        said = f"There is no {noun} {name!r} here{hint or '.'}"
        super().__init__(f"{noun}-not-found", detail or said)


class Conflict(Problem):
    """The state of things does not allow this now (409)."""

    status = 409
    title = "Conflict"


class Gone(Problem):
    """It was here and is kept no longer, or is for nobody to read (410)."""

    status = 410
    title = "Gone"


class RequestTimeout(Problem):
    """The caller was too slow in sending its request (408)."""

    status = 408
    title = "Request timeout"

    def __init__(self, detail: str) -> None:
        super().__init__("request-timeout", detail)


class TooLarge(Problem):
    """More bytes than the limit (413)."""

    status = 413
    title = "Too large"


class UnsupportedMediaType(Problem):
    """The body is of a type that is not taken here (415)."""

    status = 415
    title = "Unsupported media type"

    def __init__(self, detail: str) -> None:
        super().__init__("unsupported-media-type", detail)


class TooManyRequests(Problem):
    """The caller has used up its share for now (429): so many per so many seconds, if per any."""

    status = 429
    title = "Too many requests"

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
    """The service cannot do this now; nothing was done (503)."""

    status = 503
    title = "Unavailable"

    def __init__(self, slug: str, detail: str, retry_after_seconds: int = 5) -> None:
        super().__init__(slug, detail)
        self.retry_after_seconds = retry_after_seconds


class QuotaError(HeloiseError):
    """A message is beyond its tenant's quota; `exceeded` says of which limit."""

    def __init__(self, exceeded: Exceeded) -> None:
        super().__init__(f"{exceeded.limit} allows at most {exceeded.value}")
        self.exceeded = exceeded


class SettingsError(HeloiseError):
    """A setting is missing or wrong; the text names it, what was found and what it should be."""


class SealError(HeloiseError):
    """A sealed value does not open: wrong key, wrong row, or altered bytes."""
