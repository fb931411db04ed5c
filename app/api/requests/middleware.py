"""Wrap every request: request id, log line, metrics, unexpected errors."""

import logging
import re
from collections.abc import Container
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing
from app.api.auth.visitors import STATE as VISITOR
from app.api.http.asgi_scope import PROBLEM
from app.api.requests.problems import build_unexpected_response
from app.api.services import RecordRequest
from app.auth.authentication import Visitor
from app.domain.audit import request_id
from app.domain.clock import monotonic_seconds
from app.domain.ids import new_id
from app.domain.inbound.provider import hide_token
from app.domain.trace_context import parse_traceparent, traceparent
from app.tracing import OpenSpan

log = logging.getLogger(__name__)

BAD_REQUEST: Final = 400
# Clients invent methods and paths; labels must stay few.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
# Browsers must not guess the type and run a response as a script.
NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
_HEADER: Final = b"x-request-id"
_TRACEPARENT: Final = b"traceparent"
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """ASGI middleware for request ids, logs and metrics. Plain functions keep it fast.

    `literal_paths` are the routes without parameters.
    """

    def __init__(
        self, app: ASGIApp, *, record: RecordRequest, literal_paths: Container[str]
    ) -> None:
        self._app = app
        self._record = record
        self._literal_paths = literal_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier, parent = _read_ids(scope)
        request_token, trace_token = request_id.set(identifier), traceparent.set(parent)
        try:
            with tracing.serve(scope["method"], scope["path"]) as span:
                await self._answer(scope, receive, send, identifier.encode("ascii"), span)
        finally:
            request_id.reset(request_token)
            traceparent.reset(trace_token)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, identifier: bytes, span: OpenSpan
    ) -> None:
        is_started = False
        path, started_seconds = scope["path"], monotonic_seconds()

        async def send_with_id(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                seconds = monotonic_seconds() - started_seconds
                route = self._find_route(scope, path)
                # What no route answered counts as `other`.
                method = scope["method"] if scope["method"] in METHODS else OTHER
                self._record(method, route or OTHER, message["status"], seconds)
                span.answer(message["status"], route)
                _log(scope, message["status"], seconds)
                headers = message["headers"] = list(message.get("headers", ()))
                headers += [(b"x-request-id", identifier), NO_SNIFFING]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if is_started:
                raise
            await build_unexpected_response(error, path)(scope, receive, send_with_id)

    def _find_route(self, scope: Scope, path: str) -> str | None:
        """Return the template of the route; None if no route answered."""
        template: str | None = getattr(scope.get("route"), "path", None)
        if template is None and path in self._literal_paths:
            return path  # the fast path answered, or the request was refused before routing
        return template


def _log(scope: Scope, status: int, seconds: float) -> None:
    # A line per successful request would cost half as much as the request.
    level = logging.INFO if status >= BAD_REQUEST else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    log.log(
        level,
        "request",
        extra={
            "client": ":".join(map(str, scope.get("client") or ())),
            "method": scope["method"],
            "path": hide_token(scope["path"]),
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
            **_describe_sender(scope),
        },
    )


def _describe_sender(scope: Scope) -> dict[str, str]:
    """Return the slug of the refusal, and whose request it was, as far as known."""
    fields = {"problem": scope.get(PROBLEM)}
    visitor = scope.get("state", {}).get(VISITOR)
    if isinstance(visitor, Visitor):
        fields["tenant_id"] = visitor.tenant_id
        fields["key_id"] = visitor.key_id
    return {name: value for name, value in fields.items() if value is not None}


def _read_ids(scope: Scope) -> tuple[str, str | None]:
    """Return the client's `X-Request-ID` or a new id, and its `traceparent`, if well-formed.

    Several `traceparent` name no parent.
    """
    identifier, parent, parent_count = None, b"", 0
    for name, value in scope["headers"]:
        if name == _TRACEPARENT:
            parent, parent_count = value, parent_count + 1
        elif name == _HEADER and identifier is None and _WELL_FORMED.fullmatch(value):
            identifier = str(value, "ascii")
    return identifier or new_id("req"), parse_traceparent(parent) if parent_count == 1 else None
