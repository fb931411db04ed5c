"""Receive request bodies: after authentication, limited in size, speed and memory."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth.visitors import STATE as VISITOR
from app.api.auth.visitors import new_visitor
from app.api.http.scope import IS_WHOLE
from app.api.requests.body_budget import Budget
from app.api.requests.problems import ProblemResponse
from app.auth.authentication import Visitor
from app.domain.audit import Actor
from app.domain.clock import monotonic_seconds
from app.domain.errors import RequestTimeout, TooLarge

MESSAGES_PATH: Final = "/messages"
UPLOAD_PATH: Final = "/messages/upload"
BODY: Final = "body"
SMALL_BODY_BYTES: Final = 1024 * 1024
# How far a client may fall behind this rate, at first and at any time.
WINDOW_SECONDS: Final = 15.0
SLOWEST_BYTES_PER_SECOND: Final = 10_000
# How long all of a body is waited for that is held as a whole.
BODY_SECONDS: Final = 300.0
# What is read of a body that nobody wants, and how long, so that its sender gets the answer: a
# connection that is closed on unread bytes is reset, and the answer may be lost (RFC 9112 9.6).
DRAINED_BYTES: Final = 256 * 1024
DRAIN_SECONDS: Final = 1.0
# Before each part of it: a client without a key that sends body after body is held up by this, and
# what reads them serves other clients meanwhile.
DRAIN_PAUSE_SECONDS: Final = 0.1
# More for a client with a key: it may have to learn that its message is too large.
KNOWN_DRAINED_BYTES: Final = 64 * 1024 * 1024
KNOWN_DRAIN_SECONDS: Final = 5.0
# Two of these would be read by one as the first, and by another as the last.
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


# Their requests have no body that means anything (RFC 9110 sections 9.3.1, 9.3.2 and 9.3.7).
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyMiddleware:
    """ASGI middleware: nothing of a body is asked for before the key was looked up.

    That is done once, when something first asks for a part of the body or for the caller, whatever
    the route. A body has at most `max_body_bytes` where messages are sent, and less elsewhere; all
    that are being received or answered together at most `max_buffered_bytes`.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_buffered_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._budget = Budget(max_buffered_bytes, max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visitor = new_visitor(scope)
        body = BodyReader(self._budget, visitor, scope, receive, self._limit(scope["path"]))
        state = scope.setdefault("state", {})
        state[VISITOR], state[BODY] = visitor, body
        app: ASGIApp = _find_refusal(scope) or self._app
        try:
            await app(scope, body.receive, send if body.has_arrived else body.wrap_send(send))
        finally:
            body.release(body.held_bytes)
            # Both know the scope: what would keep each other is left for the garbage collector.
            del state[VISITOR], state[BODY]

    def _limit(self, path: str) -> int | None:
        """How many bytes a body may have; None for one that is never held as a whole."""
        if path == UPLOAD_PATH:
            return None
        is_message = path.startswith(MESSAGES_PATH)
        return self._max_body_bytes if is_message else min(SMALL_BODY_BYTES, self._max_body_bytes)


@dataclass(slots=True)
class Pace:
    """How long the next part of a body may take."""

    spare_seconds: float
    left_seconds: float

    @property
    def timeout_seconds(self) -> float:
        """How long it is waited for."""
        return min(self.spare_seconds, self.left_seconds)

    def record(self, waited_seconds: float, size_bytes: int) -> None:
        """A part of that size came after that time: what came before it earns no more time."""
        earned = size_bytes / SLOWEST_BYTES_PER_SECOND
        self.spare_seconds = min(WINDOW_SECONDS, self.spare_seconds - waited_seconds + earned)
        self.left_seconds -= waited_seconds


def new_pace(total_seconds: float = BODY_SECONDS) -> Pace:
    """Return the pace of a body that begins now and has so much time in all."""
    return Pace(WINDOW_SECONDS, total_seconds)


class BodyReader:
    """The body of one request. What is held of it counts until it is let go."""

    def __init__(
        self, budget: Budget, visitor: Visitor, scope: Scope, receive: Receive, limit: int | None
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
        """Whether all of it is here, read or not."""
        return self._is_read or self._scope.get(IS_WHOLE, False)

    async def receive(self) -> Message:
        """The next part; once there is none, that the client goes away.

        Raises what `Visitor.identify` does, before anything is asked for; TooLarge; RequestTimeout
        where it is too long in coming; Unavailable where there is no room for it.
        """
        if not self._is_wanted:
            return await self._send_empty_end()
        if self._is_read:
            return await self._receive()
        if self._holders is None:
            self._holders = await self._find_holders()
            self._check_length()
        # What has come already needs no timer.
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
        """So many bytes of it are not held any more."""
        self.held_bytes -= size_bytes
        if size_bytes and self._holders is not None:
            self._budget.release(self._holders, size_bytes)

    def wrap_send(self, send: Send) -> Send:
        """`send`, for an answer that may come before the body has: what is left of it is dropped.

        Up to a bound, within a moment; the connection is closed then.
        """

        async def send_and_drain(message: Message) -> None:
            if message["type"] == "http.response.start":
                # An upload is answered while it is read, to its end as a rule.
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
        """An empty body, whatever was sent; what else there is to say is said by the drain."""
        if self._is_nothing_told:
            await asyncio.Event().wait()
        self._is_nothing_told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _find_holders(self) -> tuple[str, ...]:
        """On whose account it is held."""
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
            self._pace = new_pace(float("inf") if self._limit is None else BODY_SECONDS)
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
    """The body of a request, to let go of what is not held any more."""
    body: BodyReader = getattr(request.state, BODY)
    return body


def has_body(scope: Scope) -> bool:
    """Whether a request has one (RFC 9112 section 6.3)."""
    for name, value in scope["headers"]:
        if (name == b"content-length" and value != b"0") or name == b"transfer-encoding":
            return True
    return False


def _build_too_large(limit: int) -> TooLarge:
    return TooLarge("body-too-large", f"The request body exceeds the limit of {limit} bytes.")


def _find_refusal(scope: Scope) -> ProblemResponse | None:
    """The answer to what need not be looked at any further."""
    path, names = scope["path"], [name for name, _ in scope["headers"]]
    if "\0" in path:  # no database holds such a name, and PostgreSQL says so with an error
        return ProblemResponse("not-found", "There is nothing at this path.", instance=path)
    if len(set(names)) == len(names):
        return None
    for name in SINGLE_HEADERS:
        if names.count(name) > 1:
            detail = f"The request has the header {str(name, 'ascii').title()} twice; send it once."
            return ProblemResponse("duplicate-header", detail, instance=path)
    return None
