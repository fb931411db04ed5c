"""Write logs to stderr: one line per event, JSON or console, without secrets.

People's addresses are masked, unless the operator wants them in full.

Everything goes through the standard library's logging, ours as well as uvicorn's, so that one
formatter sees every line. No line holds a stack trace, SQL or its parameters: an
exception is written as its type, its text and the place in our code where it came up.
"""

import json
import logging.config
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from app.domain.address.parse import mask_addresses
from app.domain.audit import request_id
from app.domain.trace_context import read_trace_id, traceparent

MASK: Final = "***"
MASKED: Final = "masked"
MAX_CHARACTERS: Final = 4000
CODE: Final = Path(__file__).parent.parent

# Whose details are written. Other libraries put statements, dialogues and whole URLs into theirs:
# of them nothing below a warning is.
DETAILED: Final = ("app", "uvicorn", "uvicorn.error", "uvicorn.asgi")

_SECRET_WORD: Final = re.compile(
    r"(^|[^a-z])(passwords?|passwd|authorization|secrets?|tokens?|keys?)$", re.IGNORECASE
)
_SECRET_TEXT: Final = (
    (re.compile(r"\bhel_[\w-]{8,}", re.ASCII), f"hel_{MASK}"),
    (re.compile(r"\b(Bearer|Basic) [\w.~+/=-]+", re.ASCII | re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"(://[^\s:/@\"'\\]*):[^\s@\"'\\]{1,512}@"), rf"\1:{MASK}@"),
    (re.compile(r"://[^\s:/?#@\"'\\]+@"), f"://{MASK}@"),
    # Path and query of a URL often hold a secret, and its origin says enough. A quote ends it, as
    # does one that JSON has escaped; other escapes belong to it.
    (
        re.compile(
            r"(\bhttps?://[^\s/?#\"'\\]+)[/?#\\](?:[^\s\"\\]|\\\\|\\(?![\"\\]))+", re.IGNORECASE
        ),
        rf"\1/{MASK}",
    ),
)
_SQL: Final = "[SQL: "
# What every record has: other attributes are its `extra`. uvicorn adds its text in colours.
_NO_EXTRA: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}
# Colours and movements of a terminal, in texts of others: a path, a server's reply.
_ANSI: Final = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]?|.)?|\x9b[0-?]*[ -/]*[@-~]?", re.DOTALL)
_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"

_TRACEBACK: Final = "Traceback (most recent call last):"

Event = dict[str, Any]  # the fields of a line; its text is `event`


def configure(level: str, log_format: str, addresses: str = MASKED) -> None:
    """Send all logs from here on, ours and the libraries', to stderr as `log_format` says.

    `level` is a name of `logging` in lower case, `log_format` is `json` or `console`, `addresses`
    `masked` or `full`.
    """
    logging.config.dictConfig(logging_config(level, log_format, addresses))
    # A line that cannot be written would be printed in full, past the formatter.
    logging.raiseExceptions = False


def logging_config(level: str, log_format: str, addresses: str = MASKED) -> dict[str, Any]:
    """The same as a dictionary for `logging.config.dictConfig`.

    uvicorn hands it to its worker processes, which so write the same from their first line on.
    """
    severity = level.upper()
    loggers: dict[str, dict[str, Any]] = {
        name: {"level": severity, "handlers": [], "propagate": True} for name in DETAILED
    }
    # Ours names the request's id; and to write a line takes as long as to insert a message.
    loggers["uvicorn.access"] = {"handlers": [], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "app.logs.formatter",
                "log_format": log_format,
                "addresses": addresses,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {
            "level": "ERROR" if severity == "ERROR" else "WARNING",
            "handlers": ["stderr"],
        },
        "loggers": loggers,
    }


def formatter(log_format: str, addresses: str = MASKED) -> logging.Formatter:
    """What turns a log record, of whichever logger, into its line."""
    return _Lines(is_json=log_format == "json", is_masked=addresses == MASKED)


class _Lines(logging.Formatter):
    def __init__(self, *, is_json: bool, is_masked: bool) -> None:
        super().__init__()
        self._is_masked = is_masked
        self._write = (
            _format_json if is_json else _format_coloured if sys.stderr.isatty() else _format_plain
        )

    def format(self, record: logging.LogRecord) -> str:
        event = cast("Event", _redact(_make_event(record)))
        line = self._write(cast("Event", _mask(event)) if self._is_masked else event)
        for pattern, replacement in _SECRET_TEXT:
            line = pattern.sub(replacement, line)
        return line


def _make_event(record: logging.LogRecord) -> Event:
    """What a record says: the exception as its type, text and place, and no trace in a text."""
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    event: Event = {
        "event": record.getMessage(),
        **{name: value for name, value in vars(record).items() if name not in _NO_EXTRA},
        "level": record.levelname.lower(),
        "logger": record.name,
        "timestamp": at.replace("+00:00", "Z"),
    }
    if (current := request_id.get()) is not None:
        event.setdefault("request_id", current)
    if (trace_id := read_trace_id(traceparent.get())) is not None:
        event.setdefault("trace_id", trace_id)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        event["error"] = f"{type(error).__name__}: {error}"
        event["error_at"] = _find_place(error)
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _cut(_strip_trace(value.partition(_SQL)[0].rstrip()))
    return event


def _find_place(error: BaseException) -> str:
    """The innermost line of our own code that the exception came through, else of any."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(CODE / "app")]
    if not frames:
        return "unknown"
    frame = (ours or frames)[-1]
    path = Path(frame.filename)
    shown_path = path.relative_to(CODE) if path.is_relative_to(CODE) else path.name
    return f"{shown_path}:{frame.lineno} {frame.name}"


def _strip_trace(text: str) -> str:
    before, separator, trace = text.partition(_TRACEBACK)
    if not separator:
        return text
    last = [line for line in trace.splitlines() if line and not line[0].isspace()]
    return before + (last[-1] if last else "")


def _cut(text: str) -> str:
    """As much as a person reads: whoever asks for a long path pays for no more of it."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _redact(value: object) -> object:
    if isinstance(value, str):
        return _ANSI.sub("", value)
    if isinstance(value, Mapping):
        return {
            key: MASK
            if _SECRET_WORD.search(str(key)) and not isinstance(item, bool | None)
            else _redact(item)
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_redact(item) for item in value]
    return value


def _mask(value: object) -> object:
    if isinstance(value, str):
        return mask_addresses(value)
    if isinstance(value, Mapping):
        return {key: _mask(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_mask(item) for item in value]
    return value


def _format_json(event: Event) -> str:
    return json.dumps(event, default=repr)


def _format_plain(event: Event) -> str:
    return _format_console(event, f"[{event['level']}]")


def _format_coloured(event: Event) -> str:
    level = event["level"]
    return _format_console(event, f"{_COLOURS.get(level, '')}[{level}]{_PLAIN}")


def _format_console(event: Event, level: str) -> str:
    fixed_fields = ("event", "level", "logger", "timestamp")
    fields = [f"{name}={value}" for name, value in event.items() if name not in fixed_fields]
    line = " ".join([event["timestamp"], level, event["event"], f"[{event['logger']}]", *fields])
    return line.replace("\n", "\\n")
