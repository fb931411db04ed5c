"""The outermost ring around every request: its id, its size, and what nobody caught."""

import asyncio
import logging
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problem_answers import ProblemResponse, answer, answer_unexpected
from app.api.request_ids import id_of, request_id
from app.api.slow_clients import IS_WHOLE
from app.domain.clock import monotonic_seconds
from app.domain.errors import Problem, RequestTimeout, Unavailable

log = logging.getLogger(__name__)

BAD_REQUEST: Final = 400
MESSAGES: Final = "/messages"
STREAMED: Final = "/messages/upload"
SMALL_BODY_BYTES: Final = 1024 * 1024
# How long a client may say nothing, at first and whenever it was no faster than this.
GRACE_SECONDS: Final = 15.0
SLOWEST_BYTES_PER_SECOND: Final = 10_000
DOCUMENTS: Final = frozenset({"/docs", "/redoc"})

# What is answered is what its type says, and no script that a browser makes of it.
NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
CONTENT_SECURITY_POLICY: Final = (
    b"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none';"
    b" base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# The pages must work without any other host, and so they are kept from asking one; a key that was
# typed in there is not to be clicked for by somebody who shows them in a frame.
OF_DOCUMENTS: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Edge:
    """ASGI middleware: plain functions around send and receive, for it is on every path.

    A body has at most `max_body_bytes` where messages are sent, and less elsewhere; all that are
    being received or answered together at most `max_buffered_bytes`.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_buffered_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_buffered_bytes = max_buffered_bytes
        self._buffered_bytes = 0

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
                headers += [(b"x-request-id", identifier), NO_SNIFFING]
                if scope["path"] in DOCUMENTS:
                    headers += OF_DOCUMENTS
            await send(message)

        body, limit = _Body(scope, receive), self._limit(scope["path"])
        try:
            if refusal := _refusal(scope, limit):
                await refusal(scope, receive, send_with_id)
            else:
                await self._app(scope, self._counted(body, limit), send_with_id)
        except Problem as problem:  # while the body was read, outside of what answers problems
            if is_started:
                raise
            await answer(problem, scope["path"])(scope, receive, send_with_id)
        except Exception as error:
            if is_started:
                raise
            await answer_unexpected(error, scope["path"])(scope, receive, send_with_id)
        finally:
            self._buffered_bytes -= body.held_bytes

    def _limit(self, path: str) -> int | None:
        """How many bytes a body may have; None for one that is never held as a whole."""
        if path == STREAMED:
            return None
        is_message = path.startswith(MESSAGES)
        return self._max_body_bytes if is_message else min(SMALL_BODY_BYTES, self._max_body_bytes)

    def _counted(self, body: "_Body", limit: int | None) -> Receive:
        async def receive_counted() -> Message:
            if limit is None:  # what was taken before is gone by now
                self._buffered_bytes -= body.held_bytes
                body.held_bytes = 0
            message = await body.receive()
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                body.received_bytes += size
                body.held_bytes += size
                self._buffered_bytes += size
                if limit is not None:
                    self._check(body, limit)
            return message

        return receive_counted

    def _check(self, body: "_Body", limit: int) -> None:
        if body.received_bytes > limit:
            raise HTTPException(413, _too_large(limit))
        if self._buffered_bytes > self._max_buffered_bytes:
            raise Unavailable(
                "overloaded",
                "More is being received than fits into memory (HELOISE_MAX_BUFFERED_BYTES)."
                " Nothing was written; send the request again.",
            )


class _Body:
    """A body as it comes in, from a client who has so long to send the next part of it.

    What is waited for after the whole of it, that he goes away, has no end of its own.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._waited_seconds = 0.0
        self._is_whole = False
        self.received_bytes = self.held_bytes = 0

    async def receive(self) -> Message:
        """The next part. Raises RequestTimeout where it is too long in coming."""
        if self._is_whole:
            return await self._receive()
        is_here = self._scope.get(IS_WHOLE, False)  # and needs no timer
        message = await (self._receive() if is_here else self._next_part())
        self._is_whole = not message.get("more_body", False)
        return message

    async def _next_part(self) -> Message:
        patience = GRACE_SECONDS + self.received_bytes / SLOWEST_BYTES_PER_SECOND
        started_seconds = monotonic_seconds()
        try:
            async with asyncio.timeout(patience - self._waited_seconds):
                return await self._receive()
        except TimeoutError:
            raise RequestTimeout(
                f"The body came more slowly than {SLOWEST_BYTES_PER_SECOND} bytes a second, or"
                " stopped coming. Nothing was written; send the request again."
            ) from None
        finally:
            self._waited_seconds += monotonic_seconds() - started_seconds


def _refusal(scope: Scope, limit: int | None) -> ProblemResponse | None:
    """The answer to what need not be looked at any further."""
    path = scope["path"]
    if "\0" in path:  # no database holds such a name, and PostgreSQL says so with an error
        return ProblemResponse("not-found", "There is nothing at this path.", instance=path)
    if limit is None:
        return None
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            return ProblemResponse("body-too-large", _too_large(limit), instance=path)
    return None


def _too_large(limit: int) -> str:
    return f"The request's body has more bytes than the limit of {limit}."


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
