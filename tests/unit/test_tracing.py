"""Tracing is off unless OpenTelemetry's own variables turn it on; what they cannot mean is told."""

import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app import tracing
from app.domain.errors import SettingsError
from app.domain.trace_context import traceparent
from app.tracing.export import build_spans

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture(autouse=True)
def spans() -> Iterator[None]:
    """Leave the process as it was."""
    before = tracing.replace_spans(None)
    yield
    tracing.replace_spans(before)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_TRACES_SAMPLER": "always_on"},
        ENDPOINT | {"OTEL_SDK_DISABLED": "True"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_without_an_endpoint_nothing_is_traced(variables: dict[str, str]) -> None:
    """Nor if a variable turns traces off."""
    tracing.start("serve", variables)
    assert tracing.replace_spans(None) is None
    with tracing.serve("GET", "/messages") as span:
        assert (span.traceparent, traceparent.get()) == (None, None)
    assert tracing.produce(iter(())) == ()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: 'zipkin', should be otlp"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', should be http/protobuf",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
            },
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json', should be http/protobuf",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(variables: dict[str, str], reason: str) -> None:
    """The error says what to write."""
    with pytest.raises(SettingsError, match=reason):
        tracing.start("serve", ENDPOINT | variables)


@pytest.mark.parametrize("name", tracing.ENDPOINTS)
def test_an_endpoint_without_the_extra_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install, and how to go on without it."""
    monkeypatch.delitem(sys.modules, "app.tracing.export", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError) as excinfo:
        tracing.start("worker", {name: "http://127.0.0.1:9"})
    words = str(excinfo.value)
    assert words.startswith(f"{name}: set, but OpenTelemetry is not installed (import of ")
    assert words.endswith("; run pip install 'heloise[otel]', or set OTEL_SDK_DISABLED=true")


def test_the_resource_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's name above all; the command is always told."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mail")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    exporter = InMemorySpanExporter()
    tracing.replace_spans(build_spans("worker", SimpleSpanProcessor(exporter)))
    with tracing.serve("BREW", "/pot") as span:
        span.answer(503)
    [recorded] = exporter.get_finished_spans()
    attributes = dict(recorded.resource.attributes)
    names = ("service.name", "deployment.environment.name", "heloise.command")
    assert [attributes[name] for name in names] == ["mail", "staging", "worker"]
    assert recorded.name == "HTTP"
    assert dict(recorded.attributes or {}) == {
        "http.request.method": "_OTHER",
        "http.response.status_code": 503,
        "error.type": "503",
    }


def test_the_sampler_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that is not sampled is passed on as such."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter = InMemorySpanExporter()
    tracing.replace_spans(build_spans("serve", SimpleSpanProcessor(exporter)))
    with tracing.serve("GET", "/messages"):
        assert int((traceparent.get() or "1")[-1], 16) % 2 == 0
    assert traceparent.get() is None
    assert exporter.get_finished_spans() == ()


def test_an_exception_fails_its_span_without_its_text() -> None:
    """The text may hold a secret."""
    exporter = InMemorySpanExporter()
    tracing.replace_spans(build_spans("serve", SimpleSpanProcessor(exporter)))
    with pytest.raises(LookupError), tracing.serve("GET", "/messages"):
        raise LookupError("hunter2")
    [recorded] = exporter.get_finished_spans()
    assert (recorded.attributes or {})["error.type"] == "LookupError"
    assert "hunter2" not in recorded.to_json()
