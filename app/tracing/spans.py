"""Record spans by OpenTelemetry's semantic conventions for HTTP and messaging.

Heloise is the messaging system, its outbox the destination. A message has a `create` span, which
stays with it as its creation context. The transaction that stores it is a `send`, each attempt a
`process`, the transaction that stores its results a `settle`.

Spans hold no addresses, no paths of URLs, no texts of servers and no texts of exceptions, because
these may contain personal data and secrets.
"""

from collections.abc import Iterable, Mapping
from contextvars import Token
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Self
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.semconv._incubating.attributes import messaging_attributes as messaging
from opentelemetry.semconv._incubating.attributes.messaging_attributes import (
    MessagingOperationTypeValues as OperationType,
)
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AttributeValue
from sqlalchemy import Engine

from app.domain.audit import request_id
from app.domain.errors import Problem
from app.domain.outcome.outcome import Verdict
from app.domain.trace_context import traceparent
from app.domain.types import NewMessage
from app.tracing import OpenSpan

OUTBOX: Final = "outbox"
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
SERVER_ERROR: Final = 500
BAD_REQUEST: Final = 400
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECOND_NANOSECONDS: Final = 1_000_000_000
MILLISECOND_NANOSECONDS: Final = 1_000_000


@dataclass(frozen=True)
class _Operation:
    """An operation on the outbox: its name here, its type and span kind in the conventions."""

    name: str
    type: OperationType
    kind: SpanKind

    @property
    def span_name(self) -> str:
        return f"{self.name} {OUTBOX}"

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        return {
            messaging.MESSAGING_SYSTEM: "heloise",
            messaging.MESSAGING_DESTINATION_NAME: OUTBOX,
            messaging.MESSAGING_OPERATION_NAME: self.name,
            messaging.MESSAGING_OPERATION_TYPE: self.type.value,
        }


_ACCEPT: Final = _Operation("accept", OperationType.CREATE, SpanKind.PRODUCER)
_ATTEMPT: Final = _Operation("attempt", OperationType.PROCESS, SpanKind.CONSUMER)
_GROUPS: Final = {
    "commit": _Operation("commit", OperationType.SEND, SpanKind.CLIENT),
    "settle": _Operation("settle", OperationType.SETTLE, SpanKind.CLIENT),
}
_ATTEMPT_ATTRIBUTES: Final = {
    "id": "heloise.attempt.id",
    "message_id": messaging.MESSAGING_MESSAGE_ID,
    "tenant_id": "heloise.tenant.id",
    "profile_id": "heloise.profile.id",
    "request_id": "heloise.request.id",
    "worker": messaging.MESSAGING_CLIENT_ID,
    "host": server_attributes.SERVER_ADDRESS,
    "port": server_attributes.SERVER_PORT,
    "remote_address": network_attributes.NETWORK_PEER_ADDRESS,
    "ehlo_name": "heloise.smtp.ehlo_name",
    "ehlo_source": "heloise.smtp.ehlo_source",
    "tls_version": "heloise.smtp.tls_version",
    "auth_mechanism": "heloise.smtp.auth_mechanism",
    "stage": "heloise.smtp.stage",
    "reply_code": "heloise.smtp.reply_code",
    "reply_enhanced_code": "heloise.smtp.enhanced_code",
    "verdict": "heloise.attempt.verdict",
    "classification": "heloise.attempt.classification",
    "outcome_unknown": "heloise.attempt.outcome_unknown",
}


class Spans:
    """Records the spans of a process; those of statements only within other spans."""

    def __init__(self, provider: TracerProvider, statement_provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("heloise")
        self._statement_tracer = statement_provider.get_tracer("heloise.statements")

    def flush(self) -> None:
        """Export the spans that wait, however long that takes."""
        self._provider.force_flush()

    def trace_statements(self, engine: Engine) -> None:
        """Record the statements of an engine."""
        unused_counter = NoOpMeter("heloise").create_up_down_counter("unused")
        EngineTracer(  # type: ignore[no-untyped-call] # it has no types
            self._statement_tracer, engine, unused_counter
        )

    def serve(self, method: str, path: str) -> OpenSpan:
        """Open the span of an HTTP request, unless it is a probe."""
        if path in PROBES:
            return OpenSpan()
        known_method = method if method in METHODS else "_OTHER"
        span = self._tracer.start_span(
            known_method if method in METHODS else "HTTP",
            _follow(traceparent.get()),
            SpanKind.SERVER,
            _known(
                {
                    http_attributes.HTTP_REQUEST_METHOD: known_method,
                    "heloise.request.id": request_id.get(),
                }
            ),
        )
        return _ServerSpan(span, known_method)

    def produce(self, message: NewMessage) -> "ProducerSpan":
        """Open the span of a message to store."""
        attributes: dict[str, AttributeValue | None] = {
            messaging.MESSAGING_MESSAGE_ID: message.id,
            messaging.MESSAGING_MESSAGE_ENVELOPE_SIZE: len(message.mime),
            "heloise.tenant.id": message.tenant_id,
            "heloise.profile.id": message.profile_id,
            "heloise.profile.name": message.profile_name,
            "heloise.request.id": message.origin.request_id,
            "heloise.message.source": message.origin.source.value,
            "heloise.message.recipients": len(message.recipients),
        }
        span = self._tracer.start_span(
            _ACCEPT.span_name,
            _follow(message.origin.traceparent),
            _ACCEPT.kind,
            _ACCEPT.attributes | _known(attributes),
        )
        origin = replace(message.origin, traceparent=_format(span.get_span_context()))
        return ProducerSpan(replace(message, origin=origin), span)

    def write_group(self, operation: str, parents: Iterable[str | None]) -> OpenSpan:
        """Open the span of a transaction, which links to its sampled messages.

        It follows the first of them: so it belongs to a trace that is kept.
        """
        contexts = [_parse(parent) for parent in parents if parent is not None]
        sampled = [context for context in contexts if context.trace_flags.sampled]
        if not sampled:
            return OpenSpan()
        group = _GROUPS[operation]
        attributes = group.attributes
        if len(contexts) > 1:
            attributes[messaging.MESSAGING_BATCH_MESSAGE_COUNT] = len(contexts)
        span = self._tracer.start_span(
            group.span_name,
            trace.set_span_in_context(NonRecordingSpan(sampled[0]), Context()),
            group.kind,
            attributes,
            [Link(context) for context in sampled],
        )
        return _RecordedSpan(span)

    def record_attempt(self, row: Mapping[str, Any], profile_name: str) -> None:
        """Record the span of an attempt that ended, with its row of `attempts`."""
        started_at: datetime = row["started_at"]
        started_ns = int(started_at.timestamp() * SECOND_NANOSECONDS)
        attributes = {key: row[name] for name, key in _ATTEMPT_ATTRIBUTES.items()}
        span = self._tracer.start_span(
            _ATTEMPT.span_name,
            _follow(row["traceparent"]),
            _ATTEMPT.kind,
            _ATTEMPT.attributes | _known(attributes) | {"heloise.profile.name": profile_name},
            start_time=started_ns,
        )
        if row["verdict"] != Verdict.DELIVERED:
            _fail(span, row["classification"])
        span.end(started_ns + int(row["duration_ms"] * MILLISECOND_NANOSECONDS))

    def post(self, url: str, parent: str, attributes: Mapping[str, str]) -> OpenSpan:
        """Open the span of a webhook's post."""
        target = urlsplit(url)
        span = self._tracer.start_span(
            "POST",
            _follow(parent),
            SpanKind.CLIENT,
            _known(
                {
                    **attributes,
                    http_attributes.HTTP_REQUEST_METHOD: "POST",
                    url_attributes.URL_SCHEME: target.scheme,
                    server_attributes.SERVER_ADDRESS: target.hostname,
                    server_attributes.SERVER_PORT: target.port,
                }
            ),
        )
        return _RecordedSpan(span)


class ProducerSpan:
    """The span of a message's acceptance, and the message, whose later spans follow it."""

    def __init__(self, message: NewMessage, span: Span) -> None:
        self.message = message
        self._span = span

    def end(self, error: BaseException | None) -> None:
        """End the span: the message is durable, or it is not because of the error."""
        if error is not None:
            _fail(self._span, _classify(error))
        self._span.end()


class _RecordedSpan(OpenSpan):
    """A span around a block, with the statements that the block runs."""

    failing_status = BAD_REQUEST  # of a client

    def __init__(self, span: Span) -> None:
        super().__init__(_format(span.get_span_context()))
        self._span = span
        self._token: Token[Context] | None = None

    def __enter__(self) -> Self:
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, *raised: object) -> None:
        if isinstance(error := raised[1], BaseException):
            self.fail(error)
        if self._token is not None:
            detach(self._token)
        self._span.end()

    def answer(self, status: int, route: str | None = None) -> None:
        if route is not None:
            self._span.set_attribute(http_attributes.HTTP_ROUTE, route)
        self._span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, status)
        if status >= self.failing_status:
            _fail(self._span, str(status))

    def fail(self, error: BaseException) -> None:
        _fail(self._span, _classify(error))


class _ServerSpan(_RecordedSpan):
    """The span of a request, which its messages and log lines belong to."""

    failing_status = SERVER_ERROR

    def __init__(self, span: Span, method: str) -> None:
        super().__init__(span)
        self._method = method
        self._outer_token: Token[str | None] | None = None

    def __enter__(self) -> Self:
        self._outer_token = traceparent.set(self.traceparent)
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        if self._outer_token is not None:
            traceparent.reset(self._outer_token)

    def answer(self, status: int, route: str | None = None) -> None:
        if route is not None:
            self._span.update_name(f"{self._method} {route}")
        super().answer(status, route)


def _known(attributes: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    return {key: value for key, value in attributes.items() if value is not None}


def _fail(span: Span, reason: str) -> None:
    span.set_attribute(error_attributes.ERROR_TYPE, reason)
    span.set_status(Status(StatusCode.ERROR))


def _classify(error: BaseException) -> str:
    return error.slug if isinstance(error, Problem) else type(error).__qualname__


def _follow(parent: str | None) -> Context:
    """Return the context of a span that follows this one, or begins a trace."""
    if parent is None:
        return Context()
    return trace.set_span_in_context(NonRecordingSpan(_parse(parent)), Context())


def _parse(value: str) -> SpanContext:
    """Read a `traceparent` that `parse_traceparent` has checked."""
    return SpanContext(
        trace_id=int(value[3:35], 16),
        span_id=int(value[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(value[53:55], 16)),
    )


def _format(context: SpanContext) -> str:
    trace_id = trace.format_trace_id(context.trace_id)
    return f"00-{trace_id}-{trace.format_span_id(context.span_id)}-{context.trace_flags:02x}"
