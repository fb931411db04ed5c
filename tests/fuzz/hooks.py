"""What schemathesis is to know of the API that its document does not say."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("message/rfc822", "application/jsonl", "text/csv")
def as_bytes(_: Any, value: Any) -> bytes:
    """Whatever was made up, as bytes: their number is that of the header."""
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace")
