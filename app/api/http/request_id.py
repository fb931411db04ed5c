"""Hold the current request's id for responses and log lines."""

import re
from contextvars import ContextVar
from typing import Final

from starlette.types import Scope

from app.domain.ids import new_id

request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)

_HEADER: Final = b"x-request-id"
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def id_of(scope: Scope) -> str:
    """The caller's `X-Request-ID` where it is well-formed, else a new one."""
    for name, value in scope["headers"]:
        if name == _HEADER and _WELL_FORMED.fullmatch(value):
            return str(value, "ascii")
    return new_id("req")
