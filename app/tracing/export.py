"""Set up OpenTelemetry's SDK from its standard environment variables, and export by OTLP."""

import os
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.semconv.attributes import service_attributes
from opentelemetry.trace.status import Status

from app import __version__
from app.tracing.spans import Spans

# Without it, the instrumentation of SQLAlchemy uses names from before the conventions were stable.
STABLE_NAMES: Final = ("OTEL_SEMCONV_STABILITY_OPT_IN", "database")


def make_spans(command: str) -> Spans:
    """Make what exports the spans of this process, which runs `command`."""
    return build_spans(command, BatchSpanProcessor(OTLPSpanExporter()))


def build_spans(command: str, processor: SpanProcessor) -> Spans:
    """Build what hands the spans of this process to `processor`.

    The environment decides the sampler, limits, and attributes of the resource.
    """
    os.environ.setdefault(*STABLE_NAMES)
    resource = Resource.create(
        {
            service_attributes.SERVICE_NAME: "heloise",
            service_attributes.SERVICE_VERSION: __version__,
            "heloise.command": command,
            **OTELResourceDetector().detect().attributes,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # `flush` has a time limit
    provider.add_span_processor(processor)
    # Workers poll the database all the time, and each statement would begin a trace.
    statement_provider = TracerProvider(
        ParentBased(ALWAYS_OFF), resource=resource, shutdown_on_exit=False
    )
    statement_provider.add_span_processor(_WithoutErrorTexts(processor))
    return Spans(provider, statement_provider)


class _WithoutErrorTexts(SpanProcessor):
    """Removes the database's error texts, which repeat rows: addresses and content."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        self._processor.on_end(span if span.status.description is None else _drop_text(span))


def _drop_text(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
