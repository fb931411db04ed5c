"""A line for each accepted message and each attempt."""

import asyncio
import json
from io import StringIO

from app.message_log import MessageLog

ATTEMPT = {
    "id": "att_1",
    "message_id": "msg_1",
    "tenant_id": "ten_1",
    "profile_id": "prf_1",
    "stage": "rcpt",
    "verdict": "bounce",
    "classification": "recipient_rejected",
    "reply_code": 550,
    "reply_enhanced_code": "5.1.1",
    "host": "smtp.example.com",
    "duration_ms": 12.5,
    "worker": "wrk_1",
    "request_id": "req_1",
    "traceparent": None,
}


async def test_an_attempt_is_a_line_of_json() -> None:
    """With all that a program filters by, and nobody's address."""
    stream = StringIO()
    log = MessageLog(is_json=True, stream=stream)
    log.record_attempt(ATTEMPT, "main")
    assert stream.getvalue() == ""  # lines are written together
    log.flush()
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "attempt ended",
        "message_id": "msg_1",
        "attempt_id": "att_1",
        "tenant_id": "ten_1",
        "profile_id": "prf_1",
        "profile": "main",
        "stage": "rcpt",
        "verdict": "bounce",
        "classification": "recipient_rejected",
        "code": 550,
        "enhanced_code": "5.1.1",
        "host": "smtp.example.com",
        "duration_ms": 12.5,
        "worker": "wrk_1",
        "request_id": "req_1",
        "level": "info",
        "logger": "app.messages",
    }


async def test_lines_are_written_without_a_flush() -> None:
    """A tenth of a second later."""
    written = asyncio.Event()

    class Stream(StringIO):
        def flush(self) -> None:
            written.set()

    log = MessageLog(is_json=False, stream=(stream := Stream()))
    log.record_attempt(ATTEMPT, "main")
    await written.wait()
    assert "[info] attempt ended [app.messages] message_id=msg_1" in stream.getvalue()
