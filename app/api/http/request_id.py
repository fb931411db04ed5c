"""Read or create the id of an HTTP request."""

import re
from typing import Final

from starlette.types import Scope

from app.domain.ids import new_id

_HEADER: Final = b"x-request-id"
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def read_request_id(scope: Scope) -> str:
    """Return the client's `X-Request-ID` if it is well-formed, else a new id."""
    for name, value in scope["headers"]:
        if name == _HEADER and _WELL_FORMED.fullmatch(value):
            return str(value, "ascii")
    return new_id("req")
