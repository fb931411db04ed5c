"""Every problem becomes an error that Resend's SDKs know."""

from typing import Final

import pytest

from app.api.http.problem_types import PROBLEMS
from app.api.resend.errors import ERRORS, translate_problem

# https://resend.com/docs/api-reference/errors
NAMES: Final = {
    *("application_error", "concurrent_idempotent_requests", "daily_quota_exceeded"),
    *("invalid_api_key", "invalid_attachment", "invalid_idempotency_key"),
    *("invalid_idempotent_request", "method_not_allowed", "missing_api_key"),
    *("missing_required_field", "monthly_quota_exceeded", "not_found", "rate_limit_exceeded"),
    *("resource_locked", "restricted_api_key", "service_unavailable", "validation_error"),
}


@pytest.mark.parametrize("slug", PROBLEMS)
def test_a_problem_is_an_error(slug: str) -> None:
    """With a status, a name and the problem's text."""
    kind = PROBLEMS[slug]
    problem = {"type": f"/mail/problems/{slug}", "status": kind.status, "detail": kind.example}
    error = translate_problem(problem, has_key=True)
    assert error.keys() == {"statusCode", "name", "message"}
    assert error["name"] in NAMES
    assert error["statusCode"] // 100 == kind.status // 100
    assert error["message"] == kind.example


def test_only_problems_have_a_name() -> None:
    """A type that is renamed cannot be forgotten in the table."""
    assert ERRORS.keys() <= PROBLEMS.keys()


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ("messages_per_day", "daily_quota_exceeded"),
        ("messages_per_month", "monthly_quota_exceeded"),
    ],
)
def test_a_quota_has_the_name_of_its_period(limit: str, name: str) -> None:
    """As SDKs tell them apart."""
    problem = {"type": "/problems/sending-quota-exceeded", "status": 429, "detail": f"({limit})"}
    assert translate_problem(problem, has_key=True)["name"] == name
