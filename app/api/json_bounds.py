"""How many values the JSON of a body may have: once parsed, each takes many times its bytes."""

import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.domain.blocks import BLOCK_OCTETS
from app.domain.errors import InvalidRequest

MAX_VALUES: Final = 100_000
UNCHECKED_BYTES: Final = MAX_VALUES
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|$)', re.DOTALL)


def check_json(content: bytes) -> None:
    """Raise InvalidRequest for JSON of more than so many values, without parsing it.

    Whatever a string holds counts for nothing, be it a stylesheet full of braces.
    """
    if len(content) <= UNCHECKED_BYTES or _structure(content) <= MAX_VALUES:
        return
    if _structure(_STRING.sub(b"", content)) > MAX_VALUES:
        raise InvalidRequest(
            f"The body holds more than {MAX_VALUES} JSON values, which no request needs: send less"
            " in one.",
            slug="json-too-large",
        )


def _structure(content: bytes) -> int:
    return sum(
        content.count(byte, start, start + BLOCK_OCTETS)
        for start in range(0, len(content), BLOCK_OCTETS)
        for byte in b",[{"
    )


class BoundedRoute(APIRoute):
    """A route whose body is read, and looked at, before the framework parses it.

    What goes wrong in reading it is told as it is: the framework calls whatever it is no JSON.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def bounded(request: Request) -> Response:
            check_json(await request.body())
            return await handle(request)

        return bounded
