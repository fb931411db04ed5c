"""Read and hold trace contexts (W3C Trace Context).

`tracestate` is left out: a message may wait for days, and up to 512 characters of other systems
would wait with it. `traceparent` alone connects the spans of a trace.
"""

import re
from contextvars import ContextVar
from typing import Final

# The current request's, for its messages and log lines.
traceparent: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)

# Version, trace id, span id, flags, and what later versions append (section 3.2).
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?",
    re.DOTALL,
)


def parse_traceparent(value: bytes) -> str | None:
    """Return the value of a header `traceparent` as version 00, or None if it is malformed.

    Of a later version, what version 00 knows is kept (section 4.3).
    """
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (match[1] == b"00" and match[3] is not None):
        return None
    return f"00{match[2].decode('ascii')}"


def read_trace_id(traceparent: str | None) -> str | None:
    """Return the trace id of a well-formed `traceparent`."""
    return None if traceparent is None else traceparent[3:35]
