"""Turn exceptions into RFC 9457 problem responses."""

import json
import logging
import re
from collections.abc import Collection, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.auth.visitors import audit_refused_request
from app.api.http.asgi_scope import PROBLEM
from app.api.http.field_errors import MAX_LOC_CHARACTERS, build_field_error, build_invalid_request
from app.api.http.fields import ResponseModel
from app.api.http.problem_types import PROBLEMS
from app.api.http.root_path import root_path
from app.domain.audit import request_id
from app.domain.errors import (
    FieldError,
    InvalidRequest,
    Problem,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from app.domain.inbound.provider import hide_token

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 100


class FieldProblem(ResponseModel):
    """An invalid value in a request."""

    loc: list[str | int] = Field(
        description="The location: `body`, `query`, `path` or `header`, then the path to the value."
    )
    msg: str = Field(description="What is wrong and what to write instead.")
    type: str = Field(description="A stable name of the kind of error.")


class ProblemBody(ResponseModel):
    """An error as RFC 9457 describes it."""

    type: str = Field(description="A stable path that names the type. GET it for an explanation.")
    title: str = Field(description="The type's title.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, and what to do about it.")
    instance: str = Field(description="The path of the request.")
    request_id: str | None = Field(description="The request's id, as in the header X-Request-ID.")
    errors: list[FieldProblem] | None = Field(
        default=None, description="Each invalid value, for `/problems/invalid-request`."
    )


class ProblemResponse(Response):
    """A response of the type `application/problem+json`."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, instance: str) -> None:
        body = build_problem_body(problem, instance)
        self._slug = problem.slug
        # ASCII, so that a lone surrogate in a field name can be returned.
        content = json.dumps(body).encode("ascii")
        super().__init__(content, body["status"], _build_headers(problem))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PROBLEM] = self._slug  # for the log
        await super().__call__(scope, receive, send)


def _build_headers(problem: Problem) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(problem, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(problem, UnsupportedMediaType):
        headers["Accept-Encoding"] = "identity"  # RFC 9110 section 12.5.3
    if isinstance(problem, Unavailable | TooManyRequests):
        headers["Retry-After"] = str(problem.retry_after_seconds)
    if isinstance(problem, TooManyRequests):
        # draft-ietf-httpapi-ratelimit-headers, section 3
        headers["RateLimit"] = f'"{problem.slug}";r=0;t={problem.retry_after_seconds}'
        window = "" if problem.per_seconds is None else f";w={problem.per_seconds}"
        headers["RateLimit-Policy"] = f'"{problem.slug}";q={problem.limit}{window}'
    return headers


def build_problem_body(problem: Problem, instance: str) -> dict[str, Any]:
    """Build the JSON of a problem, for a response or inside one."""
    kind = PROBLEMS[problem.slug]
    body: dict[str, Any] = {
        "type": f"{root_path.get()}/problems/{problem.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": f"{root_path.get()}{hide_token(instance)}",
        "request_id": request_id.get(),
    }
    errors = problem.errors if isinstance(problem, InvalidRequest) else ()
    if error_items := [_dump_error(error) for error in errors][:MAX_ERRORS]:
        body["errors"] = error_items
    return body


def _dump_error(error: FieldError) -> dict[str, Any]:
    loc = [part[:MAX_LOC_CHARACTERS] if isinstance(part, str) else part for part in error.loc]
    return {"loc": loc, "msg": error.msg, "type": error.type}


def add_handlers(app: FastAPI) -> None:
    """Convert exceptions to problems; `middleware` handles unexpected ones."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)


def build_unexpected_response(error: Exception, instance: str) -> ProblemResponse:
    """Log an unexpected error and build a response without its details."""
    log.error("the request failed", exc_info=error)
    problem = Problem("internal-error", PROBLEMS["internal-error"].example)
    return ProblemResponse(problem, instance)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - as it was registered
    await audit_refused_request(request, error)
    return ProblemResponse(error, request.url.path)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as it was registered
    # `input` and `ctx` may hold a password; leave them out.
    errors = [build_field_error(item) for item in error.errors()]
    first_error = errors[0]
    if first_error.type == "json_invalid":
        detail = f"The body is not JSON: {first_error.msg} at character {first_error.loc[-1]}."
        problem = InvalidRequest(detail, errors, "invalid-json")
    else:
        problem = build_invalid_request(errors)
    return ProblemResponse(problem, request.url.path)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as it was registered
    path = request.url.path
    match error.status_code:
        case 400:  # FastAPI's status for a body that it cannot decode
            detail = (
                "The body is not readable JSON: it is nested too deeply, has a number with too"
                " many digits, or is not UTF-8."
            )
            return ProblemResponse(Problem("invalid-json", detail), path)
        case 404:
            detail = f"There is nothing at {hide_token(path)}. See /docs for the API."
            return ProblemResponse(Problem("not-found", detail), path)
        case 405:
            return _answer_method_not_allowed(request, dict(error.headers or {}).get("Allow", ""))
        case _:
            raise error


def _answer_method_not_allowed(request: Request, one_routes: str) -> Response:
    """Build a 405 with all methods of the path; FastAPI names those of one route."""
    ways: Sequence[tuple[bool, re.Pattern[str], Collection[str]]] = request.app.state.ways
    path = request.url.path
    matching = [(is_open, methods) for is_open, way, methods in ways if way.match(path)]
    # A literal path takes precedence over a path with parameters.
    allowed_methods = {
        method for is_open, methods in matching if is_open == matching[0][0] for method in methods
    }
    allowed = ", ".join(sorted(allowed_methods)) or one_routes
    detail = (
        f"{hide_token(path)} does not allow {request.method}; use {allowed or 'another method'}."
    )
    response = ProblemResponse(Problem("method-not-allowed", detail), path)
    response.headers["Allow"] = allowed
    return response
