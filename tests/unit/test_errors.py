"""The exception tree: what a caller did wrong, as a problem (RFC 9457)."""

import re

import pytest

from app.domain import errors
from app.domain.errors import HeloiseError, InvalidRequest, NotFound, Problem, Unavailable


def _problems(kind: type[Problem] = Problem) -> list[type[Problem]]:
    return [kind, *(problem for sub in kind.__subclasses__() for problem in _problems(sub))]


def test_every_problem_is_in_the_tree() -> None:
    """The docstring is the map."""
    drawn = set(re.findall(r"│   [├└]── (\w+)", errors.__doc__ or ""))
    kinds = {kind.__name__ for kind in _problems() if kind.__module__ == errors.__name__}
    assert drawn == kinds - {"Problem"}


def test_no_problem_knows_http() -> None:
    """Its status and its title are in the API's table of problem types."""
    for kind in _problems():
        assert not hasattr(kind, "status")
        assert not hasattr(kind, "title")


def test_everything_raised_on_purpose_has_one_root() -> None:
    """Whoever wants to can catch it."""
    for kind in (Problem, errors.SettingsError, errors.SealError):
        assert issubclass(kind, HeloiseError)


def test_a_wrong_field_is_named_by_its_place() -> None:
    """In the detail as a path, in `errors` as a location."""
    problem = InvalidRequest.at("to", 1, "email", msg="has no @", type="value_error")
    assert problem.detail == "to.1.email: has no @"
    (error,) = problem.errors
    assert error.loc == ("body", "to", 1, "email")
    assert problem.slug == "invalid-request"


@pytest.mark.parametrize(
    ("problem", "slug"),
    [
        (NotFound("profile", "marketing"), "profile-not-found"),
        (Unavailable("database-unavailable", "Try again."), "database-unavailable"),
    ],
)
def test_a_problem_has_a_stable_type(problem: Problem, slug: str) -> None:
    """A slug for programs, and a detail that says what to do."""
    assert (problem.slug, str(problem)) == (slug, problem.detail)


def test_what_is_away_says_when_to_come_back() -> None:
    """In some seconds."""
    assert Unavailable("x", "y").retry_after_seconds == 5
