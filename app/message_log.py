"""Log each accepted message and each attempt, one line each.

A line of the standard library's logging costs as much processor time as a tenth of a message, most
of it for what these lines cannot hold: addresses, secrets, exceptions. So they have a writer of
their own, which writes the lines of a tenth of a second together.
"""

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from pydantic_core import to_json

from app.domain.trace_context import read_trace_id
from app.domain.types import NewMessage

FLUSH_SECONDS: Final = 0.1
LOGGER: Final = "app.messages"


class MessageLog:
    """Collects lines, and writes them as JSON or for people, to stderr by default."""

    def __init__(self, *, is_json: bool, is_on: bool = True, stream: TextIO | None = None) -> None:
        self.is_on = is_on
        self._stream = stream
        self._format = _format_json if is_json else _format_console
        self._events = list[tuple[datetime, str, Mapping[str, Any]]]()
        self._flush_due: asyncio.TimerHandle | None = None

    def record_accepted(self, message: NewMessage) -> None:
        """Log that a message was stored."""
        origin = message.origin
        fields = {
            "message_id": message.id,
            "tenant_id": message.tenant_id,
            "profile_id": message.profile_id,
            "profile": message.profile_name,
            "key_id": origin.key_id,
            "request_id": origin.request_id,
            "trace_id": read_trace_id(origin.traceparent),
            "source": origin.source.value,
            "recipients": len(message.recipients),
            "size_bytes": len(message.mime),
        }
        self._append("message accepted", fields)

    def record_attempt(self, row: Mapping[str, Any], profile_name: str) -> None:
        """Log that an attempt ended, with its row of `attempts`."""
        fields = {
            "message_id": row["message_id"],
            "attempt_id": row["id"],
            "tenant_id": row["tenant_id"],
            "request_id": row["request_id"],
            "trace_id": read_trace_id(row["traceparent"]),
            "profile_id": row["profile_id"],
            "profile": profile_name,
            "stage": row["stage"],
            "verdict": row["verdict"],
            "classification": row["classification"],
            "code": row["reply_code"],
            "enhanced_code": row["reply_enhanced_code"],
            "host": row["host"],
            "duration_ms": row["duration_ms"],
            "worker": row["worker"],
        }
        self._append("attempt ended", fields)

    def _append(self, event: str, fields: Mapping[str, Any]) -> None:
        self._events.append((datetime.now(UTC), event, fields))
        if self._flush_due is None:
            loop = asyncio.get_running_loop()
            self._flush_due = loop.call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write all lines."""
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        events, self._events = self._events, []
        if events:
            stream = self._stream or sys.stderr
            stream.write("".join(self._format(*event) for event in events))
            stream.flush()


def _format_json(at: datetime, event: str, fields: Mapping[str, Any]) -> str:
    known = {name: value for name, value in fields.items() if value is not None}
    line = {"event": event, **known, **_build_end(at)}
    return to_json(line).decode() + "\n"


def _format_console(at: datetime, event: str, fields: Mapping[str, Any]) -> str:
    known = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    return f"{_format_time(at)} [info] {event} [{LOGGER}] {known}\n"


def _build_end(at: datetime) -> Mapping[str, str]:
    return {"level": "info", "logger": LOGGER, "timestamp": _format_time(at)}


def _format_time(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
