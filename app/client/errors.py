"""Define the client's exceptions.

The exception tree::

    HeloiseError
    ├── ApiError         the service returned an error (RFC 9457)
    └── NoAnswerError    the service did not respond, after all retries
"""

from collections.abc import Mapping, Sequence
from typing import Any


class HeloiseError(Exception):
    """Base class of the client's exceptions."""


class ApiError(HeloiseError):
    """An error response. `slug` is the last part of the problem's `type`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        detail = str(problem.get("detail", f"the service answered {status}"))
        super().__init__(detail)
        self.status = status
        self.slug = str(problem.get("type", "")).rpartition("/")[2]
        self.detail = detail
        self.errors: Sequence[Mapping[str, Any]] = problem.get("errors", ())
        self.request_id = problem.get("request_id")


class NoAnswerError(HeloiseError):
    """No response. The service may have accepted the message.

    Call again with the same `idempotency_key` to send it only once.
    """

    def __init__(self, reason: str, idempotency_key: str | None) -> None:
        super().__init__(reason)
        self.idempotency_key = idempotency_key
