"""Ask the API in the same process, as the user of a session."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from app.api.http.asgi_scope import IS_WHOLE, SESSION
from app.console.middleware import API
from app.domain.audit import request_id
from app.domain.console_sessions import ConsoleSession

Params = Mapping[str, str | int | Sequence[str] | None]
_NO_PARAMS: Final[Params] = {}
_ERROR: Final = 400
# What the API reads of a browser's request.
_PASSED_HEADERS: Final = frozenset({b"host", b"user-agent", b"last-event-id"})
_REQUEST_ID: Final = b"x-request-id"
# `RequestMiddleware` adds them to the console's own response.
_ADDED_HEADERS: Final = frozenset({_REQUEST_ID, b"x-content-type-options"})
_RETRY_AFTER: Final = b"retry-after"


class ApiError(Exception):
    """The API refused a request; `body` is its problem document (RFC 9457).

    `headers` are for the browser too.
    """

    def __init__(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body.get("detail", ""))
        self.status: int = body["status"]
        self.slug: str = str(body["type"]).rpartition("/")[2]
        self.body = body
        self.headers = headers

    @property
    def detail(self) -> str:
        """What happened, and what to do about it."""
        return str(self.body.get("detail", ""))

    @property
    def field_errors(self) -> dict[str, str]:
        """The message of each invalid field, by its dotted path in the body or the query."""
        return {
            ".".join(map(str, error["loc"][1:])): error["msg"]
            for error in self.body.get("errors") or ()
        }


@dataclass(frozen=True, slots=True)
class ApiClient:
    """The API as one session sees it: the same scopes, walls, limits and audit entries.

    `tenant` is the slug that an admin acts for; None for a tenant's key.
    """

    request: Request
    session: ConsoleSession
    tenant: str | None = None

    async def get(self, path: str, params: Params = _NO_PARAMS) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON of a resource; raises ApiError."""
        return await self.call("GET", path, params)

    async def call(
        self,
        method: str,
        path: str,
        params: Params = _NO_PARAMS,
        *,
        body: object = None,
        headers: Mapping[str, str] = {},
    ) -> Any:  # noqa: ANN401 - JSON
        """Send a request, and return the JSON of the response, None if it is empty.

        `body` is sent as JSON unless it is bytes. Raises ApiError.
        """
        answer = await self._send(method, path, params, body, headers)
        return json.loads(answer) if answer else None

    async def read(self, path: str) -> bytes:
        """Return the bytes of a resource that is no JSON; raises ApiError."""
        return await self._send("GET", path, _NO_PARAMS, None, {})

    async def _send(
        self, method: str, path: str, params: Params, body: object, headers: Mapping[str, str]
    ) -> bytes:
        content = b""
        if isinstance(body, bytes):
            content = body
        elif body is not None:
            content, headers = (
                json.dumps(body).encode(),
                {
                    "content-type": "application/json",
                    **headers,
                },
            )
        scope = self._make_scope(method, path, params, headers, len(content))
        collected = _Collector()
        await self.request.scope[API](scope, _send_once(content), collected)
        if collected.status >= _ERROR:
            raise collected.make_error()
        return collected.body

    def _make_scope(
        self, method: str, path: str, params: Params, headers: Mapping[str, str], size: int
    ) -> Scope:
        outer = self.request.scope
        raw_headers = [item for item in outer["headers"] if item[0] in _PASSED_HEADERS]
        raw_headers.append((_REQUEST_ID, (request_id.get() or "").encode()))
        raw_headers += [(name.encode(), value.encode()) for name, value in headers.items()]
        if size:
            raw_headers.append((b"content-length", str(size).encode()))
        if self.tenant is not None:
            raw_headers.append((b"heloise-tenant", self.tenant.encode()))
        present = {name: value for name, value in params.items() if value not in {None, ""}}
        return {
            "type": "http",
            "asgi": outer["asgi"],
            "http_version": outer["http_version"],
            "method": method,
            "scheme": outer["scheme"],
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": urlencode(present, doseq=True).encode(),
            "root_path": outer.get("root_path", ""),
            "headers": raw_headers,
            "client": outer.get("client"),
            "server": outer.get("server"),
            "app": outer["app"],
            "state": dict(outer.get("state", {})),
            IS_WHOLE: True,
            SESSION: self.session,
        }

    def forward(
        self, path: str, params: Params = _NO_PARAMS, headers: Mapping[str, str] = {}
    ) -> "Forward":
        """Return a response that passes a resource on as it is, with more headers."""
        # The API allows HEAD at no path: a stream would never end.
        method = self.request.method
        return Forward(self, self._make_scope(method, path, params, {}, 0), headers)


@dataclass(frozen=True, slots=True)
class Forward:
    """A response that the API sends itself, such as a file or a stream.

    Raises ApiError, and sends nothing, if the API refuses the request.
    """

    api: ApiClient
    inner_scope: Scope
    headers: Mapping[str, str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        replaced = {name for name, _ in more} | _ADDED_HEADERS
        refused: _Collector | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                if message["status"] >= _ERROR:
                    refused = _Collector()
                headers = [item for item in message["headers"] if item[0].lower() not in replaced]
                message = {**message, "headers": [*headers, *more]}
            await (refused or send)(message)

        await scope[API](self.inner_scope, receive, send_with_headers)
        if refused is not None:
            raise refused.make_error()


class _Collector:
    """Collects a response."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.headers: dict[str, str] = {}

    def make_error(self) -> ApiError:
        """Make an error of a refusal."""
        return ApiError(json.loads(self.body), self.headers)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                str(name, "latin-1"): str(value, "latin-1")
                for name, value in message["headers"]
                if name == _RETRY_AFTER
            }
        else:
            self.body += message.get("body", b"")


def _send_once(content: bytes) -> Receive:
    """Return a `receive` with the whole body, which then waits for a client that stays."""
    parts = iter([content])

    async def receive() -> Message:
        for part in parts:
            return {"type": "http.request", "body": part, "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    return receive
