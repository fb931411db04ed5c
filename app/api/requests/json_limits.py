"""Check JSON bodies: UTF-8, limited depth and number of values.

A parsed value takes many times its bytes, and parsers disagree about the allowed depth.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import accumulate
from json import detect_encoding, loads
from operator import attrgetter
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from app.api.auth.visitors import get_visitor
from app.api.http.threads import run_in_thread_if_large
from app.api.requests.media_types import require_json
from app.domain.errors import InvalidRequest, UnsupportedMediaType

MAX_VALUES: Final = 100_000
MAX_DEPTH: Final = 100
# Each value is at most one string, and has one for its name.
MAX_STRINGS: Final = 2 * MAX_VALUES
# A block takes a thread about a millisecond; a single step does not release the GIL.
BLOCK_BYTES: Final = 64 * 1024
_MARKS: Final = b'"[]{},'
_NO_MARKS: Final = bytes(set(range(256)) - set(_MARKS))
_STEPS: Final = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]


def check_json(content: bytes) -> None:
    """Raise InvalidRequest for JSON that is too large or deep, without parsing it.

    Raises UnsupportedMediaType for encodings other than UTF-8 that Python would accept. Ignores the
    content of strings. Takes linear time, and stops at a limit or an unmatched bracket, as parsers
    do.
    """
    if not (encoding := detect_encoding(content)).startswith("utf-8"):
        raise UnsupportedMediaType(
            f"The body looks like {encoding.upper()}; send JSON in UTF-8 (RFC 8259 section 8.1)."
        )
    is_small = len(content) <= MAX_VALUES
    if is_small and content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return
    structure, unread = _Structure(), b""
    for start in range(0, len(content), BLOCK_BYTES):
        block = unread + content[start : start + BLOCK_BYTES]
        # An escape must not be split, so its first half moves to the next block.
        is_torn = (len(block) - len(block.rstrip(b"\\"))) % 2
        block, unread = (block[:-1], b"\\") if is_torn else (block, b"")
        if not structure.read(block):
            return


@dataclass(slots=True)
class _Structure:
    """The counters of a JSON text that is read block by block."""

    values: int = 0
    strings: float = 0
    depth: int = 0
    is_in_string: bool = False

    def read(self, block: bytes) -> bool:
        """Return whether to read on. Raises InvalidRequest beyond a limit."""
        unescaped = block.replace(b"\\\\", b"").replace(b'\\"', b"")
        marks = unescaped.translate(None, _NO_MARKS)
        self.strings += marks.count(b'"') / 2
        # An empty string does not affect its surroundings.
        parts = marks.replace(b'""', b"").split(b'"')
        outside = b"".join(parts[self.is_in_string :: 2])
        self.is_in_string ^= len(parts) % 2 == 0
        self.values += sum(outside.count(mark) for mark in (b",", b"[", b"{"))
        if self.values > MAX_VALUES or self.strings > MAX_STRINGS:
            raise InvalidRequest(
                f"The body has more than {MAX_VALUES} JSON values; send less in one request.",
                slug="json-too-large",
            )
        depths = list(accumulate(map(_STEPS.__getitem__, outside), initial=self.depth))
        if max(depths) > MAX_DEPTH:
            raise InvalidRequest(
                f"The body is nested more than {MAX_DEPTH} levels deep; nest it less.",
                slug="json-too-large",
            )
        self.depth = depths[-1]
        return min(depths) >= 0


class _JsonRequest(Request):
    """A request that parses large JSON in a thread."""

    async def json(self) -> Any:  # noqa: ANN401 - JSON
        content = await self.body()
        return await run_in_thread_if_large(len(content), loads, content)


class BoundedRoute(APIRoute):
    """A route that reads and checks the body before FastAPI parses it.

    FastAPI would report every error during reading as invalid JSON. The body's model is built in a
    thread at the first request, because it takes milliseconds.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        body_field = self.body_field
        if body_field is None:
            return handle
        is_built = False

        async def bounded(request: Request) -> Response:
            nonlocal is_built
            await get_visitor(request).identify()
            require_json(request)
            if not is_built:
                await asyncio.to_thread(body_field.validate, None)
                is_built = True
            request = _JsonRequest(request.scope, request.receive)
            content = await request.body()
            await run_in_thread_if_large(len(content), check_json, content)
            return await handle(request)

        return bounded


class Router(APIRouter):
    """Routes with bounded bodies. The name of a route's function is its operation id."""

    def __init__(
        self, tag: str, *, prefix: str = "", route_class: type[APIRoute] = BoundedRoute
    ) -> None:
        super().__init__(
            prefix=prefix,
            tags=[tag],
            route_class=route_class,
            generate_unique_id_function=attrgetter("name"),
        )
