"""Receive request bodies: after authentication, limited in size, speed and memory."""

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth.visitors import STATE as VISITOR
from app.api.auth.visitors import make_visitor
from app.api.http.asgi_scope import IS_WHOLE
from app.api.requests.body_memory import Budget
from app.api.requests.problems import ProblemResponse
from app.auth.authentication import Visitor
from app.auth.email_provider_visitor import ProviderVisitor
from app.domain.audit import Actor
from app.domain.clock import monotonic_seconds
from app.domain.errors import Problem, RequestTimeout, TooLarge

# Paths that take whole messages: the native API and the Resend-compatible one.
MESSAGE_PATHS: Final = ("/messages", "/resend/emails")
UPLOAD_PATH: Final = "/messages/upload"
BODY: Final = "body"
SMALL_BODY_BYTES: Final = 1024 * 1024
# How far a client may fall behind the minimum rate.
WINDOW_SECONDS: Final = 15.0
SLOWEST_BYTES_PER_SECOND: Final = 10_000
# Time limit for a body that is held as a whole.
BODY_SECONDS: Final = 300.0
# How much of an unwanted body is read, and for how long. Closing a connection with unread bytes
# resets it, and the client may lose the response (RFC 9112 section 9.6).
DRAINED_BYTES: Final = 256 * 1024
DRAIN_SECONDS: Final = 1.0
# Pause before each part: it slows down a client without a key that keeps sending bodies, and other
# requests run meanwhile.
DRAIN_PAUSE_SECONDS: Final = 0.1
# More for a client with a key, so that it learns that its message is too large.
KNOWN_DRAINED_BYTES: Final = 64 * 1024 * 1024
KNOWN_DRAIN_SECONDS: Final = 5.0
# Servers and proxies disagree on which of two such headers counts.
SINGLE_HEADERS: Final = (
    b"authorization",
    b"content-length",
    b"content-type",
    b"heloise-tenant",
    b"host",
    b"idempotency-key",
    b"last-event-id",
    b"transfer-encoding",
)


# Bodies of these methods have no meaning (RFC 9110 sections 9.3.1, 9.3.2 and 9.3.7).
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyMiddleware:
    """ASGI middleware that reads no body before it has checked the key.

    The key is checked once, when the app first asks for the body or the caller. A body has at most
    `max_body_bytes` where messages are sent, and less elsewhere. All bodies together count against
    `budget`.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, budget: Budget) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visitor = make_visitor(scope)
        body = BodyReader(self._budget, visitor, scope, receive, self._limit(scope["path"]))
        state = scope.setdefault("state", {})
        state[VISITOR], state[BODY] = visitor, body
        app: ASGIApp = _find_refusal(scope) or self._app
        try:
            await app(scope, body.receive, send if body.has_arrived else body.wrap_send(send))
        finally:
            body.release(body.held_bytes)
            # Both refer to the scope; this breaks the reference cycle.
            del state[VISITOR], state[BODY]

    def _limit(self, path: str) -> int | None:
        """Return the maximum size of a body, or None for a stream."""
        if path == UPLOAD_PATH:
            return None
        is_message = path.startswith(MESSAGE_PATHS)
        return self._max_body_bytes if is_message else min(SMALL_BODY_BYTES, self._max_body_bytes)


@dataclass(slots=True)
class Pace:
    """The time that the next part of a body may take, and the rest of it in all."""

    spare_seconds: float = WINDOW_SECONDS
    left_seconds: float = BODY_SECONDS

    @property
    def timeout_seconds(self) -> float:
        return min(self.spare_seconds, self.left_seconds)

    def record(self, waited_seconds: float, size_bytes: int) -> None:
        """Record a part's size and waiting time. Time saved earlier is capped."""
        earned = size_bytes / SLOWEST_BYTES_PER_SECOND
        self.spare_seconds = min(WINDOW_SECONDS, self.spare_seconds - waited_seconds + earned)
        self.left_seconds -= waited_seconds


class BodyReader:
    """Reads the body of one request. Its bytes count against the budget until released."""

    def __init__(
        self,
        budget: Budget,
        visitor: Visitor | ProviderVisitor,
        scope: Scope,
        receive: Receive,
        limit: int | None,
    ) -> None:
        self._budget = budget
        self._visitor = visitor
        self._scope = scope
        self._receive = receive
        self._limit = limit
        self._pace: Pace | None = None
        self._holders: tuple[str, ...] | None = None
        self._is_read = not has_body(scope)
        self._is_wanted = self._is_read or scope["method"] not in SAFE_METHODS
        self._is_nothing_told = self._is_stalled = False
        self._received_bytes = 0
        self.held_bytes = 0

    @property
    def has_arrived(self) -> bool:
        """Whether the whole body has arrived, read or not."""
        return self._is_read or self._scope.get(IS_WHOLE, False)

    async def receive(self) -> Message:
        """Return the next ASGI message: a part of the body, then the disconnect.

        Raises what `Visitor.identify` raises before it reads anything, TooLarge, RequestTimeout if
        the client is too slow, and Unavailable if the budget is used up.
        """
        if not self._is_wanted:
            return await self._send_empty_end()
        if self._is_read:
            return await self._receive()
        if self._holders is None:
            self._holders = await self._find_holders()
            self._check_length()
        # A part that has arrived needs no timer.
        message = await (self._receive() if self.has_arrived else self._next_part())
        self._is_read = not message.get("more_body", False)
        size = len(message.get("body", b""))
        if size:
            self._received_bytes += size
            self.held_bytes += size
            self._budget.reserve(self._holders, size)
        if self._limit is not None and self._received_bytes > self._limit:
            raise _build_too_large(self._limit)
        return message

    def release(self, size_bytes: int) -> None:
        """Stop counting bytes of the body as held."""
        self.held_bytes -= size_bytes
        if size_bytes and self._holders is not None:
            self._budget.release(self._holders, size_bytes)

    def wrap_send(self, send: Send) -> Send:
        """Wrap `send` to discard the rest of the body after an early response.

        Discards up to a bound for a short time, then closes the connection.
        """

        async def send_and_drain(message: Message) -> None:
            if message["type"] == "http.response.start":
                # An upload gets its response while it is read, usually to its end.
                if not self.has_arrived and self._limit is not None:
                    headers = [*message.get("headers", ()), (b"connection", b"close")]
                    message = {**message, "headers": headers}
            elif not message.get("more_body", False) and not self.has_arrived:
                await send({**message, "more_body": True})
                self.release(self.held_bytes)
                await self._drain()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        return send_and_drain

    async def _send_empty_end(self) -> Message:
        """Return an empty body, then never return: the drain handles the rest."""
        if self._is_nothing_told:
            await asyncio.Event().wait()
        self._is_nothing_told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _find_holders(self) -> tuple[str, ...]:
        """Return the tenant and address that the body counts for."""
        identity = await self._visitor.identify()
        tenant = f"admin {identity.name}" if isinstance(identity, Actor) else identity.tenant_id
        return (tenant, f"source {self._visitor.source}")

    def _check_length(self) -> None:
        if self._limit is None:
            return
        for name, value in self._scope["headers"]:
            if name == b"content-length" and int(value) > self._limit:
                raise _build_too_large(self._limit)

    async def _next_part(self) -> Message:
        if self._pace is None:
            self._pace = Pace(left_seconds=math.inf if self._limit is None else BODY_SECONDS)
        size, started_seconds = 0, monotonic_seconds()
        try:
            async with asyncio.timeout(self._pace.timeout_seconds):
                message = await self._receive()
                size = len(message.get("body", b""))
                return message
        except TimeoutError:
            self._is_stalled = True
            raise RequestTimeout(
                f"The body was slower than {SLOWEST_BYTES_PER_SECOND} bytes a second, stopped, or"
                f" took more than {BODY_SECONDS:.0f} seconds. Nothing was written; send the"
                " request again."
            ) from None
        finally:
            self._pace.record(monotonic_seconds() - started_seconds, size)

    async def _drain(self) -> None:
        if self._is_stalled:
            return
        left_bytes, seconds, pause_seconds = DRAINED_BYTES, DRAIN_SECONDS, DRAIN_PAUSE_SECONDS
        if self._holders is not None:
            left_bytes, seconds, pause_seconds = KNOWN_DRAINED_BYTES, KNOWN_DRAIN_SECONDS, 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.has_arrived and left_bytes > 0:
                    await asyncio.sleep(pause_seconds)
                    message = await self._receive()
                    self._is_read = not message.get("more_body", False)
                    left_bytes -= len(message.get("body", b""))


def get_body_reader(request: Request) -> BodyReader:
    """Return the reader of the request's body."""
    body: BodyReader = getattr(request.state, BODY)
    return body


def has_body(scope: Scope) -> bool:
    """Return whether a request has a body (RFC 9112 section 6.3)."""
    for name, value in scope["headers"]:
        if (name == b"content-length" and value != b"0") or name == b"transfer-encoding":
            return True
    return False


def _build_too_large(limit: int) -> TooLarge:
    return TooLarge("body-too-large", f"The request body exceeds the limit of {limit} bytes.")


def _find_refusal(scope: Scope) -> ProblemResponse | None:
    """Return an error response for a request that needs no further processing, or None."""
    path, names = scope["path"], [name for name, _ in scope["headers"]]
    if "\0" in path:  # no database holds such a name, and PostgreSQL says so with an error
        return ProblemResponse(Problem("not-found", "There is nothing at this path."), path)
    if len(set(names)) == len(names):
        return None
    for name in SINGLE_HEADERS:
        if names.count(name) > 1:
            detail = f"The request has the header {str(name, 'ascii').title()} twice; send it once."
            return ProblemResponse(Problem("duplicate-header", detail), path)
    return None
