"""Find requests of the Resend-compatible API, and give their errors Resend's form."""

import json
import re
from http import HTTPStatus
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.asgi_scope import SOURCE
from app.api.requests.problems import MEDIA_TYPE
from app.api.resend.errors import translate_problem
from app.api.services import Services
from app.domain.types import MessageSource

PREFIX: Final = "/resend"
_SLASHES: Final = re.compile("//+")
# draft-ietf-httpapi-ratelimit-headers, as `app.api.requests.problems` writes it.
_RATE_LIMIT: Final = re.compile(r'"[^"]*";r=(\d+);t=(\d+)')
_QUOTA: Final = re.compile(r"q=(\d+)")


class ResendSurface:
    """ASGI middleware that routes Resend's paths below `/resend`.

    They come with that prefix, or without it for the host name or on the port that are the
    Resend-compatible API's own. Some SDKs double the slash after the base URL.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _find_path(scope) if scope["type"] == "http" else None
        if path is None:
            await self._app(scope, receive, send)
            return
        scope = {
            **scope,
            "path": path,
            "raw_path": path.encode(),
            SOURCE: MessageSource.RESEND,
        }
        has_key = any(name == b"authorization" for name, _ in scope["headers"])
        await self._app(scope, receive, _ErrorTranslator(send, has_key=has_key))


def _find_path(scope: Scope) -> str | None:
    """Return the path below `/resend`, or None for a request of the native API."""
    path = _SLASHES.sub("/", scope["path"])
    if path == PREFIX or path.startswith(f"{PREFIX}/"):
        return path
    return f"{PREFIX}{path}" if _is_own_root(scope) else None


def _is_own_root(scope: Scope) -> bool:
    """Whether the request is for the host name or on the port of the Resend-compatible API."""
    services: Services = scope["app"].state.services
    server = scope.get("server")
    if services.resend_port is not None and server and server[1] == services.resend_port:
        return True
    if services.resend_host is None:
        return False
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return bool(host.lower().partition(b":")[0] == services.resend_host.encode())


class _ErrorTranslator:
    """Sends a response on, and replaces a problem document with Resend's error."""

    def __init__(self, send: Send, *, has_key: bool) -> None:
        self._send = send
        self._has_key = has_key
        self._held: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._held = message
        elif self._held is not None:  # a problem's body is in one piece
            start, self._held = self._held, None
            await self._send_error(start, message)
        else:
            await self._send(message)

    async def _send_error(self, start: Message, message: Message) -> None:
        error = translate_problem(json.loads(message["body"]), has_key=self._has_key)
        body = json.dumps(error).encode("ascii")
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(body))
        if error["statusCode"] == HTTPStatus.TOO_MANY_REQUESTS:
            _add_rate_limit(headers)
        await self._send({**start, "status": error["statusCode"], "headers": headers.raw})
        await self._send({**message, "body": body})


def _is_problem(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value == MEDIA_TYPE.encode()
        for name, value in message["headers"]
    )


def _add_rate_limit(headers: MutableHeaders) -> None:
    """Add the headers of older drafts, which Resend's SDKs read."""
    rate = _RATE_LIMIT.match(headers.get("ratelimit", ""))
    quota = _QUOTA.search(headers.get("ratelimit-policy", ""))
    if rate and quota:
        headers["ratelimit-limit"] = quota[1]
        headers["ratelimit-remaining"], headers["ratelimit-reset"] = rate.groups()
