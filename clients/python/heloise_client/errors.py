"""Define the client's exceptions.

The exception tree::

    HeloiseError
    ├── ApiError              the service answered with an error (RFC 9457)
    ├── NoAnswerError         the connection broke, or the answer took too long
    │   └── UnreachableError  nothing listens there: the service did not get the request
    └── WebhookError          a webhook's request is not signed with your secret, or is old
"""

from collections.abc import Sequence
from typing import Any

from heloise_client.types import FieldProblem


class HeloiseError(Exception):
    """Base class of the client's exceptions."""


class ApiError(HeloiseError):
    """An error that the service answered. `slug` names its type, as in `GET /problems`.

    `errors` has each invalid value of the request. The service may ask you to wait for
    `retry_after_seconds`. To repeat the request later, pass the same `idempotency_key`.
    """

    def __init__(
        self,
        status: int,
        problem: dict[str, Any],
        *,
        retry_after_seconds: float | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        detail = str(problem.get("detail") or f"The service answered {status}.")
        super().__init__(detail)
        self.status = status
        self.slug = str(problem.get("type", "")).rpartition("/")[2]
        self.detail = detail
        self.errors: Sequence[FieldProblem] = problem.get("errors") or ()
        self.request_id: str | None = problem.get("request_id")
        self.retry_after_seconds = retry_after_seconds
        self.idempotency_key = idempotency_key


class NoAnswerError(HeloiseError):
    """No answer within the client's time. The service may have carried out the request.

    To send a message only once, call again with the same `idempotency_key`.
    """

    def __init__(self, reason: str, *, idempotency_key: str | None = None) -> None:
        super().__init__(reason)
        self.idempotency_key = idempotency_key


class UnreachableError(NoAnswerError):
    """No connection: nothing listens at the URL, so the service did not get the request."""


class WebhookError(HeloiseError):
    """A webhook's request that Heloise did not sign with this secret, or that is too old."""
