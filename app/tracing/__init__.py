"""Trace messages with OpenTelemetry, once `start` has found an endpoint. Until then, do nothing.

Only this package imports OpenTelemetry, and only in `start`: without an endpoint it costs nothing.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Self

from app.domain.errors import SettingsError
from app.domain.types import NewMessage

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.tracing.spans import ProducerSpan, Spans

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"
FLUSH_SECONDS: Final = 5.0


class OpenSpan:
    """A span around a block. This one records nothing, and only carries `traceparent` on."""

    def __init__(self, traceparent: str | None = None) -> None:
        self.traceparent = traceparent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the span; an exception makes it fail."""

    def answer(self, status: int, route: str | None = None) -> None:
        """Record the status of the HTTP response, and of a request its route."""

    def fail(self, error: BaseException) -> None:
        """Record that the block fails, and the kind of its error."""


class _Process:
    """What this process records its spans with."""

    spans: "Spans | None" = None


_NO_SPAN: Final = OpenSpan()


def start(command: str, environment: Mapping[str, str] = os.environ) -> None:
    """Trace this process, which runs `command`, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

    Raises SettingsError if it cannot. A second call does nothing.
    """
    endpoint = _find_endpoint(environment)
    if endpoint is None or _Process.spans is not None:
        return
    try:
        from app.tracing.export import make_spans
    except ImportError as error:
        raise SettingsError(
            f"{endpoint}: set, but OpenTelemetry is not installed ({error}); run pip install"
            " 'heloise[otel]', or set OTEL_SDK_DISABLED=true"
        ) from None
    replace_spans(make_spans(command))


def _find_endpoint(environment: Mapping[str, str]) -> str | None:
    """Return the variable that names the endpoint, unless another one turns traces off."""
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    endpoint = next((name for name in ENDPOINTS if environment.get(name)), None)
    if endpoint is None or is_disabled or exporter == "none":
        return None
    if exporter != "otlp":
        raise SettingsError(f"OTEL_TRACES_EXPORTER: {exporter!r}, should be otlp or none")
    variable = next((name for name in PROTOCOLS if environment.get(name)), None)
    if variable is not None and environment[variable] != PROTOCOL:
        raise SettingsError(
            f"{variable}: {environment[variable]!r}, should be {PROTOCOL}, which collectors expect"
            " on port 4318"
        )
    return endpoint


def replace_spans(spans: "Spans | None") -> "Spans | None":
    """Record spans with these from now on; return what recorded them before."""
    before, _Process.spans = _Process.spans, spans
    return before


async def flush() -> None:
    """Export the spans that wait, within the time that a stop may take."""
    if _Process.spans is None:
        return
    # The SDK ignores its timeout, and a process waits for its threads unless they are daemons.
    thread = Thread(target=_Process.spans.flush, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, FLUSH_SECONDS)


def trace_statements(engine: "Engine") -> None:
    """Record the statements of an engine within the spans that run them."""
    if _Process.spans is not None:
        _Process.spans.trace_statements(engine)


def serve(method: str, path: str) -> OpenSpan:
    """Open the span of an HTTP request, which follows the current `traceparent`."""
    return _NO_SPAN if _Process.spans is None else _Process.spans.serve(method, path)


def produce(messages: Iterable[NewMessage]) -> Sequence["ProducerSpan"]:
    """Open the spans of messages to store; none while nothing is traced."""
    if _Process.spans is None:
        return ()
    return [_Process.spans.produce(message) for message in messages]


def write_group(operation: str, parents: Iterable[str | None]) -> OpenSpan:
    """Open the span of a transaction, `commit` or `settle`, for messages with these parents."""
    return _NO_SPAN if _Process.spans is None else _Process.spans.write_group(operation, parents)


def record_attempt(row: Mapping[str, Any], profile_name: str) -> None:
    """Record the span of an attempt that ended, with its row of `attempts`."""
    if _Process.spans is not None:
        _Process.spans.record_attempt(row, profile_name)


def post(url: str, parent: str | None, attributes: Mapping[str, str]) -> OpenSpan:
    """Open the span of a webhook's post, which sends its `traceparent` on."""
    if _Process.spans is None or parent is None:
        return OpenSpan(parent)
    return _Process.spans.post(url, parent, attributes)
