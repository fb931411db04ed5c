"""The outermost ring around every request: its id, its size, and what nobody caught."""

import logging
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problem_answers import ProblemResponse, answer_unexpected
from app.api.request_ids import id_of, request_id
from app.domain.clock import monotonic_seconds

log = logging.getLogger(__name__)

BAD_REQUEST: Final = 400
DOCUMENTS: Final = frozenset({"/docs", "/redoc"})

# The pages must work without any other host, and so they are kept from asking one.
SAME_HOST: Final = (
    b"content-security-policy",
    b"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'",
)


class Edge:
    """ASGI middleware: plain functions around send and receive, for it is on every path."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = id_of(scope)
        token = request_id.set(identifier)
        try:
            await self._answer(scope, receive, send, identifier.encode("ascii"))
        finally:
            request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, identifier: bytes) -> None:
        is_started = False
        started_seconds = monotonic_seconds()

        async def send_with_id(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                _log(scope, message["status"], started_seconds)
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((b"x-request-id", identifier))
                if scope["path"] in DOCUMENTS:
                    headers.append(SAME_HOST)
            await send(message)

        try:
            if refusal := self._refusal(scope):
                await refusal(scope, receive, send_with_id)
            else:
                await self._app(scope, self._limited(receive), send_with_id)
        except Exception as error:
            if is_started:
                raise
            await answer_unexpected(error, scope["path"])(scope, receive, send_with_id)

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        """The answer to what need not be looked at any further."""
        path = scope["path"]
        if "\0" in path:  # no database holds such a name, and PostgreSQL says so with an error
            return ProblemResponse("not-found", "There is nothing at this path.", instance=path)
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._max_body_bytes:
                return ProblemResponse("body-too-large", self._too_large(), instance=path)
        return None

    def _limited(self, receive: Receive) -> Receive:
        received_bytes = 0

        async def receive_limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            if message["type"] == "http.request":
                received_bytes += len(message.get("body", b""))
                if received_bytes > self._max_body_bytes:
                    raise HTTPException(413, self._too_large())
            return message

        return receive_limited

    def _too_large(self) -> str:
        return f"The request's body has more bytes than the limit of {self._max_body_bytes}."


def _log(scope: Scope, status: int, started_seconds: float) -> None:
    # A line for each request that went well would cost as much as half of what it does.
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
