"""Serve the common form of `POST /messages` without the framework's overhead.

Routing, injection and validation of Python objects cost more than all that Heloise does for a
message itself. Other forms take the usual way, which gives the same responses.
"""

from io import BytesIO
from typing import Final

from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth.visitors import STATE as VISITOR
from app.api.http.threads import run_in_thread_if_large
from app.api.messages.idempotency import fingerprint_json, is_idempotency_key, respond_once
from app.api.messages.schemas import MessageCreate
from app.api.messages.service import prepare_send
from app.api.requests.json_limits import check_json
from app.api.requests.problems import build_problem_response
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


class Shortcut:
    """ASGI middleware: accepts what is plainly a message of a key that may send."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_meant = scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST"
        services: Services = scope["app"].state.services
        caller = content = None
        try:
            if is_meant and (caller := await _authenticate(scope)) is not None:
                content = await _read_content(receive)
        except Problem as problem:
            await build_problem_response(problem, PATH)(scope, receive, send)
            return
        if caller is None:
            await self._app(scope, receive, send)
            return
        if content is None:
            return
        sent = _Sent(services, caller, content)
        del content
        try:
            response = await respond_once(
                services, caller, _read_idempotency_key(scope), sent.fingerprint, sent.made
            )
        except _NotPlainError:
            await self._app(scope, _replay_content(sent.content, receive), send)
            return
        except Problem as problem:
            response = build_problem_response(problem, PATH)
        await response(scope, receive, send)


class _NotPlainError(Exception):
    """The usual way has an answer to it."""


class _Sent:
    """What was sent; its content is not kept once a message is made of it: it may be large."""

    def __init__(self, services: Services, caller: Caller, content: bytes) -> None:
        self._services = services
        self._caller = caller
        self.content = content

    async def fingerprint(self) -> str:
        """What tells it from other requests; raises _NotPlainError."""
        try:
            await run_in_thread_if_large(len(self.content), check_json, self.content)
            return await fingerprint_json(PATH, self.content)
        except (ValueError, RecursionError, Problem) as error:
            raise _NotPlainError from error

    async def made(self) -> tuple[NewMessage, Profile]:
        """The message, and the profile that it is sent through.

        Raises Unavailable: asked again, it would be waited for again; and _NotPlainError.
        """
        try:
            body = await run_in_thread_if_large(len(self.content), _parse_body, self.content)
            message_and_profile = await prepare_send(self._services, self._caller, body)
        except Unavailable:
            raise
        except (ValidationError, Problem) as error:
            raise _NotPlainError from error
        self.content = b""
        return message_and_profile


def _read_idempotency_key(scope: Scope) -> str | None:
    """The Idempotency-Key."""
    header: bytes | None = dict(scope["headers"]).get(KEY)
    return None if header is None else header.decode("latin-1")


async def _authenticate(scope: Scope) -> Caller | None:
    """Who sends, where the key opens this and the request is of the usual form.

    Raises TooManyRequests or Unavailable.
    """
    headers = dict(scope["headers"])
    is_usual = (
        headers.get(b"content-type") == JSON
        and b"heloise-tenant" not in headers
        and (KEY not in headers or is_idempotency_key(headers[KEY].decode("latin-1")))
    )
    if not is_usual:
        return None
    visitor: Visitor = scope["state"][VISITOR]
    try:
        return await visitor.authorize(KeyScope.MESSAGES_SEND)
    except (Unauthenticated, Forbidden, InvalidRequest):  # the usual way tells the audit log
        return None


async def _read_content(receive: Receive) -> bytes | None:
    """The request's body; None where the caller went away."""
    message = await receive()
    content = BytesIO()  # which gives what it holds without a copy
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
    """The message that it holds; raises ValidationError or InvalidRequest."""
    check_json(content)
    return MessageCreate.model_validate_json(content)


def _replay_content(content: bytes, receive: Receive) -> Receive:
    """What was received already, then what comes."""
    before = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def receive_again() -> Message:
        if (message := next(before, None)) is not None:
            return message
        return await receive()

    return receive_again
