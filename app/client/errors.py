"""Why a call did not succeed.

The exception tree::

    HeloiseError
    ├── ApiError         the service said no (RFC 9457): `slug`, `detail`, `errors`
    └── NoAnswerError    it did not answer, however often it was asked
"""

from collections.abc import Mapping, Sequence
from typing import Any


class HeloiseError(Exception):
    """Root of everything that the client raises on purpose."""


class ApiError(HeloiseError):
    """What the service answered: `slug` is the stable end of the problem's `type`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        detail = str(problem.get("detail", f"the service answered {status}"))
        super().__init__(detail)
        self.status = status
        self.slug = str(problem.get("type", "")).rpartition("/")[2]
        self.detail = detail
        self.errors: Sequence[Mapping[str, Any]] = problem.get("errors", ())
        self.request_id = problem.get("request_id")


class NoAnswerError(HeloiseError):
    """The service could not be asked; what was to be sent may have been accepted.

    Call again with the same `idempotency_key` to have it sent once.
    """

    def __init__(self, reason: str, idempotency_key: str | None) -> None:
        super().__init__(reason)
        self.idempotency_key = idempotency_key
