"""Handle the path prefix of a reverse proxy, such as `/mail`."""

from contextvars import ContextVar
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

root_path: Final[ContextVar[str]] = ContextVar("root_path", default="")

_LOCATION: Final = b"location"
# /docs, /redoc and their files build paths from the ASGI root path.
_DOCUMENTS: Final = ("/docs", "/redoc", "/openapi.json", "/static-offline-docs")


class RootPath:
    """ASGI middleware that adds the root path to paths in responses.

    Accepts request paths with and without the root path, since some proxies strip it. `path` starts
    with a slash and does not end with one.
    """

    def __init__(self, app: ASGIApp, *, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_root(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [self._add_root(*header) for header in message["headers"]]
            await send(message)

        token = root_path.set(self._path)
        try:
            await self._app(self._strip_path(scope), receive, send_with_root)
        finally:
            root_path.reset(token)

    def _strip_path(self, scope: Scope) -> Scope:
        path: str = scope["path"]
        raw_path: bytes = scope["raw_path"]
        if path == self._path or path.startswith(f"{self._path}/"):
            path = path[len(self._path) :] or "/"
            raw_path = raw_path.removeprefix(self._path.encode("ascii")) or b"/"
        return {**scope, "path": path, "raw_path": raw_path}

    def _add_root(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        is_path = name.lower() == _LOCATION and value.startswith(b"/")
        return name, self._path.encode("ascii") + value if is_path else value


class DocsRootPath:
    """Innermost ASGI middleware: sets the ASGI root path for FastAPI's own pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(_DOCUMENTS):
            root = root_path.get()
            # The path of ASGI includes the root path.
            scope = {**scope, "path": root + scope["path"], "root_path": root}
        await self._app(scope, receive, send)
