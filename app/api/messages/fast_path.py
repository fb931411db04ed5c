"""Serve the common form of `POST /messages` without the framework's overhead.

Routing, dependency injection and validation by the framework cost more than everything that Heloise
does for a message. The framework's route serves all other requests, with the same responses.
"""

from io import BytesIO
from typing import Final

from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth.visitors import STATE as VISITOR
from app.api.http.threads import run_in_thread_if_large
from app.api.messages.idempotency import accept_once, fingerprint_json, is_idempotency_key
from app.api.messages.schemas import MessageCreate
from app.api.messages.service import prepare_send
from app.api.requests.json_limits import check_json
from app.api.requests.problems import ProblemResponse
from app.api.services import Services
from app.auth.authentication import Visitor
from app.auth.caller import Caller
from app.domain.errors import Forbidden, InvalidRequest, Problem, Unauthenticated, Unavailable
from app.domain.types import NewMessage, Profile
from app.domain.types import Scope as KeyScope

PATH: Final = "/messages"
JSON: Final = b"application/json"
DISCONNECT: Final = "http.disconnect"
KEY: Final = b"idempotency-key"


class SendFastPath:
    """ASGI middleware that accepts plain JSON messages of authorized keys."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_send = scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST"
        services: Services = scope["app"].state.services
        caller = content = None
        try:
            if is_send and (caller := await _authenticate(scope)) is not None:
                content = await _read_content(receive)
        except Problem as problem:
            await ProblemResponse(problem, PATH)(scope, receive, send)
            return
        if caller is None:
            await self._app(scope, receive, send)
            return
        if content is None:
            return
        received_body = _ReceivedBody(services, caller, content)
        del content
        try:
            accepted = await accept_once(
                services,
                caller,
                _read_idempotency_key(scope),
                received_body.fingerprint,
                received_body.prepare,
            )
            response = accepted.build_response()
        except _NeedsRouteError:
            await self._app(scope, _replay_content(received_body.content, receive), send)
            return
        except Problem as problem:
            response = ProblemResponse(problem, PATH)
        await response(scope, receive, send)


class _NeedsRouteError(Exception):
    """The framework's route must answer this request."""


class _ReceivedBody:
    """A request body. Drops its content after preparing the message: it may be large."""

    def __init__(self, services: Services, caller: Caller, content: bytes) -> None:
        self._services = services
        self._caller = caller
        self.content = content

    async def fingerprint(self) -> str:
        """Compute the idempotency fingerprint. Raises _NeedsRouteError."""
        try:
            await run_in_thread_if_large(len(self.content), check_json, self.content)
            return await fingerprint_json(PATH, self.content)
        except (ValueError, RecursionError, Problem) as error:
            raise _NeedsRouteError from error

    async def prepare(self) -> tuple[NewMessage, Profile]:
        """Prepare the message and its profile. Raises _NeedsRouteError.

        Raises Unavailable too: the framework's route would only wait for the same resource again.
        """
        try:
            body = await run_in_thread_if_large(len(self.content), _parse_body, self.content)
            message_and_profile = await prepare_send(self._services, self._caller, body)
        except Unavailable:
            raise
        except (ValidationError, Problem) as error:
            raise _NeedsRouteError from error
        self.content = b""
        return message_and_profile


def _read_idempotency_key(scope: Scope) -> str | None:
    """Read the header Idempotency-Key."""
    header: bytes | None = dict(scope["headers"]).get(KEY)
    return None if header is None else header.decode("latin-1")


async def _authenticate(scope: Scope) -> Caller | None:
    """Return the caller if the request is plain and its key may send, else None.

    Raises TooManyRequests or Unavailable.
    """
    headers = dict(scope["headers"])
    is_plain = (
        headers.get(b"content-type") == JSON
        and b"heloise-tenant" not in headers
        and (KEY not in headers or is_idempotency_key(headers[KEY].decode("latin-1")))
    )
    if not is_plain:
        return None
    visitor: Visitor = scope["state"][VISITOR]
    try:
        return await visitor.authorize(KeyScope.MESSAGES_SEND)
    except (Unauthenticated, Forbidden, InvalidRequest):  # the route writes the audit entry
        return None


async def _read_content(receive: Receive) -> bytes | None:
    """Read the request body; None if the client disconnected."""
    message = await receive()
    content = BytesIO()  # `getvalue` does not copy
    while message["type"] != DISCONNECT:
        chunk: bytes = message.get("body", b"")
        if not message.get("more_body", False) and not content.tell():
            return chunk
        content.write(chunk)
        if not message.get("more_body", False):
            return content.getvalue()
        message = await receive()
    return None


def _parse_body(content: bytes) -> MessageCreate:
    """Parse and validate the message. Raises ValidationError or InvalidRequest."""
    check_json(content)
    return MessageCreate.model_validate_json(content)


def _replay_content(content: bytes, receive: Receive) -> Receive:
    """Return a `receive` that replays the body first."""
    received_messages = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def receive_from_start() -> Message:
        if (message := next(received_messages, None)) is not None:
            return message
        return await receive()

    return receive_from_start
