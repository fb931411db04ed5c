"""Translate problem documents into Resend's errors: `statusCode`, `name`, `message`."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

# Problems whose status or name differs from what their status says.
ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "scope-missing": (401, "restricted_api_key"),
    "key-is-bound": (401, "restricted_api_key"),
    "scope-exceeds-caller": (401, "restricted_api_key"),
    "admin-only": (401, "restricted_api_key"),
    "network-not-allowed": (403, "invalid_api_key"),
    "idempotency-key-reused": (409, "invalid_idempotent_request"),
    "idempotency-key-in-flight": (409, "concurrent_idempotent_requests"),
    "message-in-transmission": (409, "resource_locked"),
    "queue-full": (429, "rate_limit_exceeded"),
}
# A conflict with the present state is a wrong request to Resend's SDKs.
NAMES: Final[Mapping[int, tuple[int, str]]] = {
    400: (400, "validation_error"),
    403: (403, "validation_error"),
    404: (404, "not_found"),
    405: (405, "method_not_allowed"),
    408: (408, "application_error"),
    409: (422, "validation_error"),
    410: (404, "not_found"),
    413: (413, "validation_error"),
    415: (415, "validation_error"),
    422: (422, "validation_error"),
    429: (429, "rate_limit_exceeded"),
    500: (500, "application_error"),
    503: (503, "service_unavailable"),
}
# Native fields, by the name of the Resend field that sets them.
FIELDS: Final[Mapping[str, str]] = {
    "send_at": "scheduled_at",
    "metadata": "tags",
    "variables": "template.variables",
    "url": "endpoint",
    "domain": "name",
    "scopes": "permission",
    "address": "email",
}
IDEMPOTENCY: Final = ("header", "Idempotency-Key")
MONTHLY: Final = "messages_per_month"


def translate_problem(problem: Mapping[str, Any], *, has_key: bool) -> dict[str, Any]:
    """Translate a problem document; `has_key`: the request presented a key."""
    slug = problem["type"].rpartition("/")[2]
    errors: Sequence[Mapping[str, Any]] = problem.get("errors", ())
    status, name = _choose_name(slug, problem["status"], has_key=has_key)
    message = problem["detail"]
    if slug == "sending-quota-exceeded":
        name = "monthly_quota_exceeded" if MONTHLY in message else "daily_quota_exceeded"
    if slug == "invalid-request" and errors:
        status, name = _choose_field_name(errors[0], status, name)
        message = _describe(errors)
    return {"statusCode": int(status), "name": name, "message": message}


def _choose_name(slug: str, status: int, *, has_key: bool) -> tuple[int, str]:
    if slug == "unauthenticated":
        return (403, "invalid_api_key") if has_key else (401, "missing_api_key")
    return ERRORS.get(slug) or NAMES[status]


def _choose_field_name(error: Mapping[str, Any], status: int, name: str) -> tuple[int, str]:
    loc = tuple(error["loc"])
    if loc[:2] == IDEMPOTENCY:
        return HTTPStatus.BAD_REQUEST, "invalid_idempotency_key"
    if "attachments" in loc:
        return status, "invalid_attachment"
    if error["type"] == "missing":
        return status, "missing_required_field"
    return status, name


def _describe(errors: Sequence[Mapping[str, Any]]) -> str:
    first = errors[0]
    place = ".".join(FIELDS.get(part, str(part)) for part in first["loc"] if part != "body")
    message = f"{place}: {first['msg']}" if place else first["msg"]
    if first["type"] == "missing" and first["msg"] == "required":
        message = f"Missing `{place}` field."
    more = len(errors) - 1
    return message if not more else f"{message} (and {more} more invalid)"
