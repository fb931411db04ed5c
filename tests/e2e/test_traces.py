"""A trace leads from a caller's request over the queue to each attempt and webhook."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from app import tracing
from app.tracing.export import build_spans
from tests.e2e.conftest import Start
from tests.support.harness import Heloise, Process, Tenant, Watched, until
from tests.support.processes.ports import unused_port
from tests.support.processes.submitting import Submitting
from tests.support.servers.collector import Collector
from tests.support.servers.receiver import Receiver
from tests.support.servers.smtp_server import SmtpServer
from tests.support.submission import connecting, key_of

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{CALLER}-01"
BODY = {"to": ["ann@example.org"], "subject": "Hello", "text": "It works."}


class Recorded:
    """The spans of this process that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def all(self, trace_id: str = TRACE_ID) -> list[ReadableSpan]:
        """The spans of a trace, in the order of their ends."""
        return [
            span
            for span in self.exporter.get_finished_spans()
            if format_trace_id(span.context.trace_id) == trace_id
        ]

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans with this name."""
        return [span for span in self.all() if span.name == name]

    async def wait(self, name: str, count: int = 1) -> list[ReadableSpan]:
        """So many spans with this name, once they have ended."""

        async def fact() -> list[ReadableSpan] | None:
            spans = self.named(name)
            return spans if len(spans) >= count else None

        return await until(fact)


@pytest.fixture
def recorded_spans() -> Iterator[Recorded]:
    """What the service in this process traces; begins before the service."""
    recorded = Recorded()
    before = tracing.replace_spans(build_spans("serve", SimpleSpanProcessor(recorded.exporter)))
    yield recorded
    tracing.replace_spans(before)


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    """Whether a span directly follows another one."""
    return child.parent is not None and child.parent.span_id == parent.context.span_id


def links(span: ReadableSpan) -> set[int]:
    """The spans that a span links to."""
    return {link.context.span_id for link in span.links}


async def send(tenant: Tenant, path: str = "/messages", json: Any = BODY) -> Any:
    """What a request within the trace answers."""
    answer = await tenant("POST", path, json, headers={"traceparent": TRACEPARENT})
    assert answer.status_code in {200, 202}, answer.text
    return answer.json()


@pytest.mark.one_database
async def test_a_trace_tells_of_a_message_from_request_to_reply(
    recorded_spans: Recorded, start: Start, server: SmtpServer
) -> None:
    """Each span has its kind and names of the semantic conventions, and no address."""
    acme = await (await start()).tenant()
    profile = await acme.profile("main", server.port)
    message = await send(acme)
    assert message["trace_id"] == TRACE_ID
    [attempt] = await recorded_spans.wait("attempt outbox")
    [settle] = await recorded_spans.wait("settle outbox")
    [request], [accept], [commit] = map(
        recorded_spans.named, ("POST /messages", "accept outbox", "commit outbox")
    )
    assert request.parent is not None
    assert format_span_id(request.parent.span_id) == CALLER
    assert is_child(accept, request)
    for child in (commit, attempt, settle):
        assert is_child(child, accept)
    assert links(commit) == links(settle) == {accept.context.span_id}
    kinds = [span.kind for span in (request, accept, commit, attempt, settle)]
    client = SpanKind.CLIENT
    assert kinds == [SpanKind.SERVER, SpanKind.PRODUCER, client, SpanKind.CONSUMER, client]
    operations = [
        (span.attributes or {})["messaging.operation.type"]
        for span in (accept, commit, attempt, settle)
    ]
    assert operations == ["create", "send", "process", "settle"]
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/messages",
        "http.response.status_code": 202,
        "heloise.request.id": message["request_id"],
    }
    facts = dict(attempt.attributes or {})
    expected = {
        "messaging.system": "heloise",
        "messaging.destination.name": "outbox",
        "messaging.message.id": message["id"],
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "heloise.tenant.id": acme.tenant_id,
        "heloise.profile.id": profile["id"],
        "heloise.profile.name": "main",
        "heloise.request.id": message["request_id"],
        "heloise.smtp.ehlo_name": "main.example.com",
        "heloise.smtp.stage": "dot",
        "heloise.smtp.reply_code": 250,
        "heloise.attempt.verdict": "delivered",
    }
    assert {name: facts.get(name) for name in expected} == expected
    assert attempt.status.status_code is StatusCode.UNSET
    for span in recorded_spans.all():
        assert "example.org" not in span.to_json()


async def test_statements_belong_to_what_runs_them(
    recorded_spans: Recorded, start: Start, server: SmtpServer
) -> None:
    """By SQLAlchemy's instrumentation, with SQL but no values; polls make no traces."""
    heloise = await start()
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    message = await send(acme)
    [commit], _ = recorded_spans.named("commit outbox"), await recorded_spans.wait("settle outbox")
    statements = [
        span for span in recorded_spans.all() if "db.query.text" in (span.attributes or {})
    ]
    texts = [(span.attributes or {})["db.query.text"] for span in statements]
    assert any(is_child(span, commit) for span in statements)
    assert any("message_contents" in str(text) for text in texts)
    assert not any(message["id"] in str(text) for text in texts)
    roots = [span for span in recorded_spans.exporter.get_finished_spans() if span.parent is None]
    assert {span.kind for span in roots} <= {SpanKind.SERVER}


@pytest.mark.one_database
async def test_a_failed_attempt_and_its_retry_are_both_in_the_trace(
    recorded_spans: Recorded, start: Start, server: SmtpServer
) -> None:
    """The first with its codes and as an error; replies' texts may name people."""
    server.script["rcpt"] = ["450 4.2.1 Ann is away"]
    acme = await (await start()).tenant()
    await acme.profile("main", server.port, retry={"first_seconds": 1, "cap_seconds": 1})
    await send(acme)
    failed, _ = await recorded_spans.wait("attempt outbox", 2)
    facts = dict(failed.attributes or {})
    names = ("stage", "reply_code", "enhanced_code")
    assert [facts[f"heloise.smtp.{name}"] for name in names] == ["rcpt", 450, "4.2.1"]
    assert failed.status.status_code is StatusCode.ERROR
    assert facts["error.type"] == facts["heloise.attempt.classification"]
    assert "away" not in failed.to_json()
    assert failed.end_time is not None
    assert failed.start_time is not None
    assert failed.end_time > failed.start_time


@pytest.mark.one_database
async def test_a_batch_has_a_span_for_each_message_and_one_for_their_group(
    recorded_spans: Recorded, start: Start, server: SmtpServer
) -> None:
    """The group links to all, and belongs to the trace of the first."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port)
    await send(acme, "/messages/batch", {"messages": [BODY] * 3})
    attempts = await recorded_spans.wait("attempt outbox", 3)
    accepts, [commit] = recorded_spans.named("accept outbox"), recorded_spans.named("commit outbox")
    assert links(commit) == {span.context.span_id for span in accepts}
    assert len(accepts) == 3
    assert (commit.attributes or {})["messaging.batch.message_count"] == 3
    assert all(any(is_child(attempt, accept) for accept in accepts) for attempt in attempts)


@pytest.mark.one_database
async def test_a_webhook_gets_the_trace(
    recorded_spans: Recorded, start: Start, server: SmtpServer
) -> None:
    """As a child of the message's span, without the path of its URL; it gets the request, too."""
    async with Receiver() as receiver:
        acme = await (await start()).tenant()
        await acme.made("/webhooks", {"name": "log", "url": f"{receiver.url}/token-x"})
        await acme.profile("main", server.port)
        message = await send(acme)
        posts = await recorded_spans.wait("POST", 3)
    [accept] = recorded_spans.named("accept outbox")
    sent = [post.headers["traceparent"].split("-") for post in receiver.posts]
    assert {trace_id for _, trace_id, *_ in sent} == {TRACE_ID}
    spans = {format_span_id(span.context.span_id) for span in posts}
    assert {span_id for _, _, span_id, _ in sent} == spans
    for span in posts:
        assert is_child(span, accept)
        assert (span.attributes or {})["http.response.status_code"] == 204
        assert "token-x" not in span.to_json()
    event_message = receiver.posts[0].event["data"]["message"]
    assert (event_message["request_id"], event_message["trace_id"]) == (
        message["request_id"],
        TRACE_ID,
    )


@pytest.mark.one_database
async def test_what_the_caller_does_not_sample_is_not_recorded(
    recorded_spans: Recorded, start: Start, server: SmtpServer
) -> None:
    """Its trace goes on all the same."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port)
    headers = {"traceparent": f"{TRACEPARENT[:-2]}00"}
    answer = await acme("POST", "/messages", BODY, headers=headers)
    await acme.message(answer.json()["id"], status="sent")
    assert answer.json()["trace_id"] == TRACE_ID
    assert recorded_spans.all() == []


@pytest.mark.one_database
async def test_a_request_without_a_trace_begins_one(
    recorded_spans: Recorded, start: Start, server: SmtpServer
) -> None:
    """The answer names it. Probes begin none, and a refused message is an error."""
    heloise = await start()
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    message = (await acme("POST", "/messages", BODY)).json()
    spans = recorded_spans.all(message["trace_id"])
    assert {"POST /messages", "accept outbox"} <= {span.name for span in spans}
    recorded_spans.exporter.clear()
    await heloise.http.get("/healthz")
    await acme("GET", "/messages/msg_x?recipient=ann@example.org")
    [span] = [span for span in recorded_spans.exporter.get_finished_spans() if span.parent is None]
    assert span.name == "GET /messages/{message}"
    assert "ann" not in span.to_json()


@pytest.mark.one_database
async def test_without_tracing_the_trace_goes_on(start: Start, server: SmtpServer) -> None:
    """From the request to the webhook, as the caller wrote it."""
    async with Receiver() as receiver:
        acme = await (await start()).tenant()
        await acme.made("/webhooks", {"name": "log", "url": receiver.url})
        await acme.profile("main", server.port)
        await send(acme)
        await acme.send()

        async def fact() -> list[str | None] | None:
            traces = [post.headers.get("traceparent") for post in receiver.posts]
            return traces if len(traces) >= 6 else None

        traces = await until(fact)
    assert {*traces} == {TRACEPARENT, None}


async def test_one_trace_spans_all_processes(
    launch: Any,
    watched: Watched,
    server: SmtpServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the caller over the API and the worker to the final dot, exported by each over OTLP."""
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        caller = TracerProvider(resource=Resource.create({"service.name": "caller"}))
        exporter = OTLPSpanExporter(f"{collector.endpoint}/v1/traces")
        caller.add_span_processor(SimpleSpanProcessor(exporter))
        api: Process = launch("serve", "--no-delivery", port=unused_port())
        await api.wait_ready()
        worker: Process = launch("worker")
        heloise = Heloise(api.url, watched)
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        with caller.get_tracer("shop").start_as_current_span("order") as order:
            context = order.get_span_context()
            trace_id = format_trace_id(context.trace_id)
            traceparent = f"00-{trace_id}-{format_span_id(context.span_id)}-01"
            answer = await acme("POST", "/messages", BODY, headers={"traceparent": traceparent})
        message = await acme.message(answer.json()["id"], status="sent")
        await heloise.http.aclose()
        assert (worker.stop(), api.stop()) == (0, 0)  # what waits is exported at the end
        caller.shutdown()
    spans = {span.name: span for span in collector.of_trace(trace_id)}
    way = ["order", "POST /messages", "accept outbox", "attempt outbox"]
    processes = [spans[name].process for name in way]
    assert processes == ["caller", "serve", "serve", "worker"]
    for parent, child in pairwise(way):
        assert spans[child].parent_id == spans[parent].span_id
    assert spans["settle outbox"].process == "worker"
    assert spans["attempt outbox"].attributes["heloise.smtp.stage"] == "dot"
    assert message["trace_id"] == trace_id


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_trace_begins_at_the_submission_server(
    backend: str,
    start: Start,
    launch: Any,
    server: SmtpServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client names its span in an option; the worker's attempt belongs to it."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port)
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        submitting = Submitting(launch, backend)
        worker: Process = launch("worker")
        await submitting.wait_ready()
        async with connecting(submitting.port) as client:
            await client.log_in("main", key_of(acme))
            option = f"X-Heloise-Traceparent: {TRACEPARENT}\r\n".encode()
            await client.submit(option + b"From: main@example.com\r\n\r\nHi\r\n")

        async def fact() -> bool | None:
            return (await acme.read("/messages?status=sent"))["items"] != [] or None

        await until(fact)
        assert worker.stop() == 0
        assert submitting.process.stop() == 0
    spans = {span.name: span for span in collector.of_trace(TRACE_ID)}
    accept, attempt = spans["accept outbox"], spans["attempt outbox"]
    assert (accept.process, attempt.process) == ("submission", "worker")
    assert (accept.parent_id, attempt.parent_id) == (CALLER, accept.span_id)
