"""Wrap every request: request id, log line, unexpected errors."""

import logging
import re
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.requests.problems import build_unexpected_response
from app.domain.audit import request_id
from app.domain.clock import monotonic_seconds
from app.domain.ids import new_id

log = logging.getLogger(__name__)

BAD_REQUEST: Final = 400
# Browsers must not guess the type and run a response as a script.
NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
_HEADER: Final = b"x-request-id"
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """ASGI middleware for request ids and logs. Plain functions keep it fast."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = _read_request_id(scope)
        token = request_id.set(identifier)
        try:
            await self._answer(scope, receive, send, identifier.encode("ascii"))
        finally:
            request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, identifier: bytes) -> None:
        is_started = False
        path, started_seconds = scope["path"], monotonic_seconds()

        async def send_with_id(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                _log(scope, message["status"], started_seconds)
                headers = message["headers"] = list(message.get("headers", ()))
                headers += [(b"x-request-id", identifier), NO_SNIFFING]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if is_started:
                raise
            await build_unexpected_response(error, path)(scope, receive, send_with_id)


def _log(scope: Scope, status: int, started_seconds: float) -> None:
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
            "path": scope["path"],
            "status": status,
            "duration_ms": round((monotonic_seconds() - started_seconds) * 1000, 3),
        },
    )


def _read_request_id(scope: Scope) -> str:
    """Return the client's `X-Request-ID` if it is well-formed, else a new id."""
    for name, value in scope["headers"]:
        if name == _HEADER and _WELL_FORMED.fullmatch(value):
            return str(value, "ascii")
    return new_id("req")
