"""When the client repeats a request, how long it waits, and when it gives up."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import pytest

from benchmarks.trial.processes import held_port
from clients.python.tests.conftest import Service
from heloise_client import ApiError, Heloise, NoAnswerError, UnreachableError
from heloise_client.retries import parse_retry_after

NOW: Final = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
BUSY: Final = httpx2.Response(503)
ACCEPTED: Final = httpx2.Response(202, json={"id": "msg_1"})
LOST: Final = httpx2.ReadError("the connection was lost")
IN_FLIGHT: Final = httpx2.Response(409, json={"type": "/problems/idempotency-key-in-flight"})
TOO_MANY: Final = httpx2.Response(429, headers={"Retry-After": "7"})

Outcome = httpx2.Response | httpx2.TransportError


class Script:
    """A server that answers as it is written, and the waits between."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[httpx2.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, httpx2.Response):
            return outcome
        raise outcome

    def client(self, **options: Any) -> Heloise:
        http = httpx2.Client(transport=httpx2.MockTransport(self))
        return Heloise("http://heloise", "k", http=http, sleep=self.waits.append, **options)


def _send(client: Heloise) -> object:
    return client.send_message({"to": ["ann@example.org"]})


def _create(client: Heloise) -> object:
    return client.create_profile({"name": "main"})


def _get(client: Heloise) -> object:
    return client.get_message("msg_1")


@pytest.mark.parametrize("do", [_send, _get])
@pytest.mark.parametrize(
    "outcome",
    [BUSY, LOST, IN_FLIGHT, TOO_MANY, httpx2.Response(502), httpx2.ReadTimeout("slow")],
)
def test_what_is_safe_to_repeat_is_repeated(
    do: Callable[[Heloise], object], outcome: Outcome
) -> None:
    """With the same idempotency key."""
    script = Script(outcome, outcome, ACCEPTED)
    assert do(script.client()) == {"id": "msg_1"}
    assert len(script.waits) == 2
    assert len({request.headers.get("Idempotency-Key") for request in script.requests}) == 1


@pytest.mark.parametrize("outcome", [BUSY, LOST, httpx2.ReadTimeout("slow")])
def test_what_might_be_done_twice_is_sent_once(outcome: Outcome) -> None:
    """A profile has no idempotency key."""
    script = Script(outcome)
    with pytest.raises((ApiError, NoAnswerError)):
        _create(script.client())
    assert len(script.requests) == 1


@pytest.mark.parametrize("outcome", [TOO_MANY, httpx2.ConnectTimeout("slow")])
def test_what_was_not_done_is_repeated(outcome: Outcome) -> None:
    """Whatever it is."""
    script = Script(outcome, ACCEPTED)
    _create(script.client())
    assert len(script.requests) == 2


def test_a_final_error_is_raised_at_once() -> None:
    """With all that the service says."""
    problem = {"type": "/problems/x", "detail": "Write y.", "request_id": "req_1"}
    script = Script(httpx2.Response(422, json=problem))
    with pytest.raises(ApiError, match=r"Write y\.") as excinfo:
        _send(script.client())
    error = excinfo.value
    assert (error.status, error.slug, error.request_id) == (422, "x", "req_1")
    assert error.idempotency_key == script.requests[0].headers["Idempotency-Key"]
    assert script.waits == []


def test_what_a_proxy_answers_is_an_error_too() -> None:
    """HTML, or a redirect."""
    for response in (httpx2.Response(200, html="<p>"), httpx2.Response(302), BUSY):
        with pytest.raises(ApiError):
            _send(Script(response, response).client(total_seconds=0))


def test_the_waits_grow_and_the_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """All attempts end within `total_seconds`, without a wait that no attempt follows."""
    now = [0.0]
    script = Script(*[BUSY] * 99)
    client = script.client(total_seconds=40)

    def sleep(seconds: float) -> None:
        script.waits.append(seconds)
        now[0] += seconds

    client.sleep = sleep
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with pytest.raises(ApiError):
        _send(client)
    assert 4 <= len(script.waits) <= 10
    assert sum(script.waits) < 40
    assert all(wait <= 15 for wait in script.waits)
    assert script.waits[0] <= 0.5
    timeouts = [request.extensions["timeout"]["read"] for request in script.requests]
    assert timeouts[0] == 30
    assert timeouts[-1] <= 40 - sum(script.waits)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", 7),
        ("Thu, 15 Jan 2026 09:30:09 GMT", 9),
        ("Thu, 15 Jan 2026 09:00:00 GMT", 0),
        ("Thursday, 15-Jan-26 09:30:09 GMT", 9),
        ("Thu Jan 15 09:30:09 2026", 9),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
        ("9" * 99, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, wait: float | None) -> None:
    """RFC 9110, section 10.2.3."""
    assert parse_retry_after(value, now=NOW) == wait


def test_the_client_waits_as_long_as_the_service_says() -> None:
    """Unless that is longer than it has: then it gives up at once, and says how long."""
    script = Script(TOO_MANY, ACCEPTED)
    _send(script.client())
    assert script.waits == [7]
    script = Script(httpx2.Response(429, headers={"Retry-After": "86400"}))
    with pytest.raises(ApiError) as excinfo:
        _send(script.client())
    assert (excinfo.value.retry_after_seconds, script.waits) == (86400, [])


def test_where_nothing_listens_the_client_gives_up_at_once() -> None:
    """It does not wait, and says that nothing was sent."""
    with held_port() as port, Heloise(f"http://127.0.0.1:{port}", "k", sleep=_fail) as client:
        with pytest.raises(UnreachableError) as excinfo:
            client.send_message({"to": ["ann@example.org"]}, idempotency_key="mine")
        assert excinfo.value.idempotency_key == "mine"


def _fail(seconds: float) -> None:
    raise AssertionError(seconds)


class Losing(httpx2.BaseTransport):
    """Loses the first answers, once the service has given them."""

    def __init__(self, count: int) -> None:
        self._inner = httpx2.HTTPTransport()
        self._count = count

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._inner.handle_request(request)
        if self._count == 0:
            return response
        response.read()
        response.close()
        self._count -= 1
        raise LOST

    def close(self) -> None:
        self._inner.close()


def test_an_answer_that_is_lost_sends_nothing_twice(service: Service) -> None:
    """The service knows the key: it answers with the message of the first attempt."""
    with httpx2.Client(transport=Losing(2)) as http:
        client = service.client(http=http, sleep=lambda _: None)
        message = client.send_message(
            {"to": ["ann@example.org"], "text": "x", "tags": ["lost-answer"]}
        )
        ids = [item["id"] for item in client.list_messages(tag="lost-answer")]
    assert ids == [message["id"]]


def test_a_deletion_whose_answer_is_lost_succeeds(service: Service) -> None:
    """The second attempt finds nothing, as it should."""
    with service.client() as client:
        suppression = client.create_suppression({"address": "lost@example.org"})
    with httpx2.Client(transport=Losing(1)) as http:
        client = service.client(http=http, sleep=lambda _: None)
        client.delete_suppression(suppression["id"])
        with pytest.raises(ApiError, match="no suppression"):
            client.delete_suppression(suppression["id"])
