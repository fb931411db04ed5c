"""Serve `/metrics`, `/healthz` and `/readyz` for a process that has no API."""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from uvicorn import Config
from uvicorn.server import ServerState

from app.api.http.server_protocol import BoundedProtocol
from app.store.migrations.readiness import Readiness

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
# A worker that replaces another one on the same machine gets the port when that one has ended.
RETRY_SECONDS: Final = 5.0
METHODS: Final = ("GET", "HEAD")
_HEADERS: Final[Mapping[int, Sequence[tuple[bytes, bytes]]]] = {
    401: [(b"www-authenticate", b"Bearer")],
    405: [(b"allow", b"GET, HEAD")],
    503: [(b"retry-after", b"5")],
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: status, media type and body."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """The ASGI app: answers GET and HEAD of three paths. With `token`, metrics require it."""

    exposition: Callable[[], Awaitable[bytes]]
    readiness: Readiness
    token: str | None = field(default=None, repr=False)

    async def __call__(self, scope: Scope, _receive: object, send: Send) -> None:
        answer = await self._answer(scope)
        headers = [
            (b"content-type", answer.media_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            *_HEADERS.get(answer.status, ()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope) -> Answer:
        if scope["method"] not in METHODS:
            return _refuse(405, "method-not-allowed", "Method not allowed", "Use GET.")
        match scope["path"]:
            case "/healthz":
                return Answer(200, JSON, b'{"status":"ok"}')
            case "/readyz":
                return await self._check_readiness()
            case "/metrics":
                return await self._render_metrics(scope)
            case _:
                detail = "This port serves /metrics, /healthz and /readyz."
                return _refuse(404, "not-found", "Not found", detail)

    async def _check_readiness(self) -> Answer:
        if reasons := await self.readiness.check():
            return _refuse(503, "not-ready", "Not ready", " ".join(reasons))
        return Answer(200, JSON, b'{"status":"ready"}')

    async def _render_metrics(self, scope: Scope) -> Answer:
        if self._is_authorized(scope):
            return Answer(200, TEXT, await self.exposition())
        detail = "Send Authorization: Bearer <HELOISE_METRICS_TOKEN>."
        return _refuse(401, "unauthenticated", "Unauthenticated", detail)

    def _is_authorized(self, scope: Scope) -> bool:
        if self.token is None:
            return True
        received: bytes = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(received, f"Bearer {self.token}".encode())


def _refuse(status: int, slug: str, title: str, detail: str) -> Answer:
    problem = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}
    return Answer(status, PROBLEM, json.dumps(problem).encode())


@asynccontextmanager
async def serve_monitor(
    monitor: Monitor, *, host: str, port: int, variable: str
) -> AsyncIterator[None]:
    """Serve on a port while the block runs; never fails if another process has the port.

    Mail is more important than its metrics. `variable` names the setting of the port; 0 serves
    nothing.
    """
    if not port:
        yield
        return
    task = asyncio.create_task(_serve(monitor, host, port, variable), name="monitor")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _serve(monitor: Monitor, host: str, port: int, variable: str) -> None:
    config = Config(
        monitor,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
    config.load()
    state = ServerState()
    new_protocol = partial(BoundedProtocol, config, state, {})
    server = await _listen(new_protocol, host, port, variable)
    log.info("metrics and health checks on http://%s:%d", host, port)
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()


async def _listen(
    new_protocol: Callable[[], BoundedProtocol], host: str, port: int, variable: str
) -> asyncio.Server:
    loop, is_logged = asyncio.get_running_loop(), False
    while True:
        try:
            return await loop.create_server(new_protocol, host, port)
        except OSError as error:
            if not is_logged:
                log.warning(
                    "cannot serve metrics and health checks on %s port %d: %s; this process works"
                    " without them until the port is free; set %s to another port, or to 0",
                    host,
                    port,
                    error.strerror or error,
                    variable,
                )
            is_logged = True
            await asyncio.sleep(RETRY_SECONDS)
