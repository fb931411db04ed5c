"""Write logs to stderr: one line per event, JSON or console, without secrets.

People's addresses are masked, unless the operator wants them in full.

Everything goes through the standard library's logging, ours as well as uvicorn's, so that one chain
of processors sees every line. No line holds a stack trace, SQL or its parameters: an exception is
written as its type, its text and the place in our code where it came up.
"""

import logging.config
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.api.http.request_id import request_id
from app.domain.address.parse import masked

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
_TRACEBACK: Final = "Traceback (most recent call last):"


def configure(level: str, log_format: str, addresses: str = MASKED) -> None:
    """Send all logs from here on, ours and the libraries', to stderr as `log_format` says.

    `level` is a name of `logging` in lower case, `log_format` is `json` or `console`, `addresses`
    `masked` or `full`.
    """
    logging.config.dictConfig(logging_config(level, log_format, addresses))
    # A line that cannot be written would be printed in full, past every processor.
    logging.raiseExceptions = False
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_facts(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


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
                "()": "app.telemetry.formatter",
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
    masking: list[Processor] = [mask_addresses] if addresses == MASKED else []
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_facts()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            describe_error,
            redact,
            *masking,
            _rendered(log_format),
        ],
    )


def _facts() -> list[Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_request_id,
    ]


def add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Name the HTTP request in whose course the line was written."""
    current = request_id.get(None)
    if current is not None:
        event.setdefault("request_id", current)
    return event


def describe_error(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Write the exception of a line as its type, text and place; drop traces within texts."""
    event.pop("stack_info", None)
    error = _error_of(event.pop("exc_info", None))
    if error is not None:
        event["error"] = f"{type(error).__name__}: {error}"
        event["error_at"] = _place(error)
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _cut(_without_trace(value.partition(_SQL)[0].rstrip()))
    return event


def _error_of(given: object) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return cast("BaseException | None", given[1])
    return sys.exc_info()[1] if given else None


def _place(error: BaseException) -> str:
    """The innermost line of our own code that the exception came through, else of any."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(CODE / "app")]
    if not frames:
        return "unknown"
    frame = (ours or frames)[-1]
    path = Path(frame.filename)
    shown = path.relative_to(CODE) if path.is_relative_to(CODE) else path.name
    return f"{shown}:{frame.lineno} {frame.name}"


def _without_trace(text: str) -> str:
    before, found, trace = text.partition(_TRACEBACK)
    if not found:
        return text
    last = [line for line in trace.splitlines() if line and not line[0].isspace()]
    return before + (last[-1] if last else "")


def _cut(text: str) -> str:
    """As much as a person reads: whoever asks for a long path pays for no more of it."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace what stands under a name such as `password`: the last line of defence."""
    return cast("EventDict", _redacted(event))


def _redacted(value: object) -> object:
    if isinstance(value, Mapping):
        return {
            key: MASK
            if _SECRET_WORD.search(str(key)) and not isinstance(item, bool | None)
            else _redacted(item)
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_redacted(item) for item in value]
    return value


def mask_addresses(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Leave of every mail address its first character and its domain."""
    return cast("EventDict", _masked(event))


def _masked(value: object) -> object:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_masked(item) for item in value]
    return value


def _rendered(log_format: str) -> Processor:
    render: Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The other one shows local variables, and with them secrets.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )

    def render_without_secrets(logger: WrappedLogger, name: str, event: EventDict) -> str:
        line = str(render(logger, name, event))
        for pattern, replacement in _SECRET_TEXT:
            line = pattern.sub(replacement, line)
        return line

    return render_without_secrets
