"""Read and hold trace contexts (W3C Trace Context).

`tracestate` is left out: a message may wait for days, and up to 512 characters of other systems
would wait with it. `traceparent` alone connects the spans of a trace.
"""

from contextvars import ContextVar
from typing import Final

TRACEPARENT_CHARACTERS: Final = 55
# The current request's, for its messages and log lines.
traceparent: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)

_HEX_DIGITS: Final = b"0123456789abcdef"
_DASH: Final = ord("-")
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16


def parse_traceparent(value: bytes) -> str | None:
    """Return the value of a header `traceparent` as version 00, or None if it is malformed.

    Of a later version, what version 00 knows is kept (section 4.3).
    """
    head, rest = value[:TRACEPARENT_CHARACTERS], value[TRACEPARENT_CHARACTERS:]
    if len(head) < TRACEPARENT_CHARACTERS or head.translate(None, _HEX_DIGITS) != b"---":
        return None
    version = head[:2]
    is_whole = head[2] == head[35] == head[52] == _DASH
    is_of_known_length = not rest or (version != b"00" and rest[0] == _DASH)
    is_named = head[3:35] != _NO_TRACE and head[36:52] != _NO_SPAN
    if not (is_whole and is_of_known_length and is_named) or version == b"ff":
        return None
    return f"00{head[2:].decode('ascii')}"


def read_trace_id(traceparent: str | None) -> str | None:
    """Return the trace id of a well-formed `traceparent`."""
    return None if traceparent is None else traceparent[3:35]
