"""Whatever goes wrong is answered as RFC 9457, says what to do, and gives nothing away."""

import ast
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import app as package
from app.accept.group import Acceptance
from app.api.http.problem_types import PROBLEMS
from app.domain.errors import Unavailable
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

CANARY = "canary-5e9b"
JSON = {"Content-Type": "application/json"}
# What is made with a slug as its first argument. The other classes have a slug of their own.
SLUG_FIRST = {
    *("Conflict", "Forbidden", "Gone", "InvalidRequest", "Problem", "ProblemResponse", "TooLarge"),
    *("TooManyRequests", "Unavailable", "__init__"),
}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nothing-here", 404, "not-found"),
        ("GET", "/messages/", 404, "not-found"),
        ("GET", "/profiles/%00", 404, "not-found"),
        ("GET", "/static-offline-docs/none.js", 404, "not-found"),
        ("GET", "/messages/msg_none", 404, "message-not-found"),
        ("GET", "/profiles/none", 404, "profile-not-found"),
        ("GET", "/problems/none", 404, "problem-not-found"),
        ("GET", "/profiles?limit=0", 422, "invalid-request"),
        ("GET", "/messages?stauts=sent", 422, "invalid-request"),
        ("GET", "/messages?tag=%00", 422, "invalid-request"),
        ("GET", "/messages?created_after=2026-01-15", 422, "invalid-request"),
        ("GET", "/messages?created_after=0001-01-01T00:00:00%2B14:00", 422, "invalid-request"),
        ("GET", "/messages?created_after=1700000000", 422, "invalid-request"),
        ("GET", "/stats?created_before=1.3e-133", 422, "invalid-request"),
        ("POST", "/messages", 422, "invalid-request"),
        ("PUT", "/messages", 405, "method-not-allowed"),
        ("GET", "/tenants", 403, "admin-only"),
    ],
)
async def test_an_error_is_a_problem(
    acme: Caller, method: str, path: str, status: int, slug: str
) -> None:
    """Every error has all members of the Problem, and the media type."""
    answer = await acme(method, path)
    body = answer.json()
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body["type"] == f"/problems/{slug}"
    assert body["status"] == status
    assert body["title"] == PROBLEMS[slug].title
    assert body["detail"]
    assert body["instance"] == httpx_path(path)
    assert body["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.one_database
@pytest.mark.parametrize("moment", [1_800_000_000, 1.8e9, "1800000000", "tomorrow", True])
async def test_a_time_is_no_number(acme: Caller, moment: object) -> None:
    """Whether seconds or milliseconds were meant nobody could tell."""
    answer = await acme("POST", "/messages", json=MESSAGE | {"send_at": moment})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "send_at"]
    assert "2026-01-16T09:30:00Z" in error["msg"]


def httpx_path(path: str) -> str:
    """The path as the server sees it, without its query."""
    return path.partition("?")[0].replace("%00", "\0")


@pytest.mark.one_database
async def test_the_type_of_a_problem_can_be_read(api: Api) -> None:
    """`type` is a path that says what to do."""
    problem = (await api.nobody("GET", "/profiles")).json()
    explained = await api.nobody.read(problem["type"])
    assert explained["status"] == 401
    assert "Authorization: Bearer" in explained["remedy"]
    page = await api.nobody.read("/problems")
    assert explained in page["items"]


@pytest.mark.one_database
async def test_405_names_the_methods(acme: Caller) -> None:
    """RFC 9110 section 15.5.6."""
    answer = await acme("PUT", "/healthz")
    assert answer.headers["Allow"] == "GET"
    several = await acme("PUT", "/profiles/transactional")
    assert several.headers["Allow"] == "DELETE, GET, PATCH"
    assert (await acme("PUT", "/messages/batch")).headers["Allow"] == "POST"
    assert (await acme("PUT", "/openapi.json")).headers["Allow"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b'{"to": ["a@example.org"] "subject": 1}', "character 25"),
        (b'{"to": ', "character 7"),
        (b'\xff{"to": []}', "UTF-8"),
    ],
)
async def test_broken_json_has_an_error_of_its_own(
    acme: Caller, content: bytes, detail: str
) -> None:
    """A body that cannot be read says where reading it stopped."""
    answer = await acme("POST", "/messages", content=content, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-json"
    assert detail in answer.json()["detail"]


@pytest.mark.one_database
async def test_json_that_is_too_deep_is_refused(acme: Caller) -> None:
    """It is read no further than to there."""
    answer = await acme("POST", "/messages", content=b"[" * 100_000, headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/json-too-large")
    assert "nested more than 100 levels deep" in answer.json()["detail"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/plain"}, {"Content-Type": "application/xml"}, {}]
)
async def test_only_json_is_taken(acme: Caller, headers: dict[str, str]) -> None:
    """Another media type, or none, is 415."""
    answer = await acme("POST", "/messages", content=json.dumps(MESSAGE), headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["detail"]


@pytest.mark.one_database
async def test_a_missing_body_is_refused(acme: Caller) -> None:
    """No body at all is an invalid request."""
    answer = await acme("POST", "/messages")
    assert answer.json()["errors"] == [
        {"loc": ["body"], "msg": "send a JSON object as the body", "type": "missing"}
    ]


@pytest.mark.one_database
async def test_an_array_is_no_body(acme: Caller) -> None:
    """JSON of another shape than an object is an invalid request, not a wrong media type."""
    answer = await acme("POST", "/messages", [1])
    assert answer.json()["type"] == "/problems/invalid-request"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("body", "loc", "hint"),
    [
        ({"recipient": "a@example.org"}, ["body", "recipient"], "known fields are"),
        ({"subjet": "Hello"}, ["body", "subjet"], "did you mean 'subject'?"),
        ({"to": [{"mail": "a@example.org"}]}, ["body", "to", 0, "mail"], "did you mean 'email'?"),
        ({"\ud800": 1}, ["body", "\ufffd\ufffd\ufffd"], "known fields are"),
        ({"atachments": []}, ["body", "atachments"], "did you mean 'attachments'?"),
    ],
)
async def test_an_unknown_field_is_refused(
    acme: Caller, body: object, loc: list[str | int], hint: str
) -> None:
    """Unknown fields are refused, never ignored, with the one that was meant."""
    answer = await acme("POST", "/messages", content=json.dumps(body), headers=JSON)
    [error] = answer.json()["errors"]
    assert answer.status_code == 422
    assert error["loc"] == loc
    assert error["type"] == "extra_forbidden"
    assert hint in error["msg"]


async def _in_chunks() -> AsyncIterator[bytes]:
    for _ in range(64):
        yield b" " * 65_536


@pytest.mark.one_database
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_past_the_limit_is_413(api: Api, acme: Caller, *, is_chunked: bool) -> None:
    """The limit is said, with and without a Content-Length."""
    content = _in_chunks() if is_chunked else b" " * 64 * 65_536
    answer = await acme("POST", "/messages", content=content, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/body-too-large"
    assert str(api.services.max_body_bytes) in answer.json()["detail"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/profiles", PROFILE | {"port": CANARY}),
        ("/profiles", PROFILE | {"auth": CANARY}),
        ("/profiles", PROFILE | {"auth": {"pasword": CANARY}}),
        ("/profiles", PROFILE | {"auth": {"password": [CANARY]}}),
        ("/profiles", PROFILE | {"auth": {"password": CANARY * 1000}}),
        ("/profiles", PROFILE | {"auth": {"password": CANARY + "\0"}}),
        ("/profiles", PROFILE | {"client_key": CANARY}),
        ("/profiles", PROFILE | {"tls": CANARY}),
        ("/profiles", [CANARY]),
        ("/messages", MESSAGE | {"password": CANARY}),
    ],
)
async def test_no_error_echoes_a_secret(acme: Caller, path: str, body: object) -> None:
    """A value that was refused is never sent back, whatever it may have been (invariant 9)."""
    answer = await acme("POST", path, body)
    assert answer.status_code == 422
    assert CANARY not in answer.text


@pytest.mark.one_database
async def test_broken_json_with_a_secret_is_not_echoed(acme: Caller) -> None:
    """Nor is the text around a syntax error."""
    content = b'{"auth": {"password": "canary-5e9b" "x"}}'
    answer = await acme("POST", "/profiles", content=content, headers=JSON)
    assert answer.status_code == 422
    assert CANARY not in answer.text


@pytest.mark.one_database
async def test_the_unexpected_is_500_and_says_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """No stack trace, no text of the exception: the log knows more."""

    async def explode() -> None:
        raise RuntimeError(CANARY)

    api.app.add_api_route("/explode", explode)
    answer = await api.nobody("GET", "/explode", headers={"X-Request-ID": "boom-1"})
    body = answer.json()
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == body["request_id"] == "boom-1"
    assert body["type"] == "/problems/internal-error"
    assert CANARY not in answer.text
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None


class Full:
    """A committer that cannot write."""

    async def accept(self, acceptance: Acceptance) -> None:
        assert not acceptance.quota.is_counted
        raise Unavailable("database-unavailable", f"not written: {acceptance.message.id}")


@pytest.mark.one_database
async def test_503_says_when_to_come_again(api: Api, acme: Caller) -> None:
    """What cannot be stored now is refused with Retry-After."""
    await acme.made("/profiles", PROFILE)
    api.app.state.services = replace(api.services, committer=Full())
    answer = await acme("POST", "/messages", MESSAGE)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"


def list_raised_slugs() -> Iterator[str]:
    """Every slug that our code raises, read from the code."""
    for path in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            slugs = list(node.args[:1])
            if name == "InvalidRequest":
                slugs = [*node.args[2:3], *(kw.value for kw in node.keywords if kw.arg == "slug")]
            for slug in slugs:
                if isinstance(slug, ast.Constant) and name == "NotFound":
                    yield f"{slug.value}-not-found"
                elif isinstance(slug, ast.Constant) and name in SLUG_FIRST:
                    yield str(slug.value)


def test_every_problem_that_is_raised_has_a_page() -> None:
    """A new kind of problem cannot be forgotten in /problems."""
    slugs = set(list_raised_slugs())
    assert {"profile-not-found", "tenant-required", "too-many-auth-failures"} <= slugs
    assert slugs <= set(PROBLEMS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tags", ["x" * 65], "write at most 64 characters, not 65"),
        ("tags", [""], "write at least 1 characters, not 0"),
        ("tags", ["x"] * 21, "write at most 20 items, not 21"),
        ("metadata", {str(number): "" for number in range(51)}, "write at most 50 items"),
    ],
)
@pytest.mark.one_database
async def test_a_limit_says_what_it_counts(
    acme: Caller, field: str, value: object, message: str
) -> None:
    """Characters of a text, items of a list or an object."""
    answer = await acme("POST", "/messages", MESSAGE | {field: value})
    assert [error["msg"] for error in answer.json()["errors"]] == [message]
