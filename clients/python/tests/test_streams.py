"""What arrives in parts goes on where it broke, or says that it broke."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx2
import pytest

from heloise_client import ApiError, AsyncHeloise, Heloise, NoAnswerError

SSE: Final = {"Content-Type": "text/event-stream"}
EVENT: Final = {"id": "evt_1", "type": "message.sent"}
OPENING: Final = b": from now on\nid: a1\nretry: 1000\n\n"
FIRST: Final = f"event: message.sent\ndata: {json.dumps(EVENT)}\nid: b2\n\n".encode()


class Parts(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that breaks after its parts."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        raise httpx2.ReadError("the connection was lost")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        raise httpx2.ReadError("the connection was lost")


def _make_transport(*responses: httpx2.Response) -> tuple[httpx2.MockTransport, list[str | None]]:
    """A server with these answers; the id after which each stream was to begin."""
    answers, cursors = iter(responses), list[str | None]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        cursors.append(request.headers.get("Last-Event-ID"))
        return next(answers)

    return httpx2.MockTransport(answer), cursors


def _responses() -> list[httpx2.Response]:
    """A stream that ends before its first event, one that breaks after it, and one more."""
    return [
        httpx2.Response(200, headers=SSE, content=OPENING),
        httpx2.Response(200, headers=SSE, stream=Parts(b": from now on\nid: a1\n\n", FIRST)),
        httpx2.Response(200, headers=SSE, content=FIRST),
    ]


def test_a_stream_goes_on_where_it_ended() -> None:
    """With the id of the last event, or that of the beginning."""
    transport, cursors = _make_transport(*_responses())
    with httpx2.Client(transport=transport) as http:
        stream = Heloise("http://h", "k", http=http, sleep=lambda _: None).stream_events()
        events = iter(stream)
        assert [next(events), next(events)] == [EVENT, EVENT]
    assert cursors == [None, "a1", "b2"]
    assert stream.cursor == "b2"


async def test_a_stream_of_asyncio_goes_on_where_it_ended() -> None:
    """The same."""

    async def sleep(_: float) -> None:
        return None

    transport, cursors = _make_transport(*_responses())
    async with httpx2.AsyncClient(transport=transport) as http:
        stream = AsyncHeloise("http://h", "k", http=http, sleep=sleep).stream_events()
        events = aiter(stream)
        assert [await anext(events), await anext(events)] == [EVENT, EVENT]
    assert cursors == [None, "a1", "b2"]


def test_an_error_ends_a_stream() -> None:
    """As it ends any call: by its problem, or because nothing answers events there."""
    problem = {"type": "/problems/scope-missing", "detail": "Use a key with this scope."}
    for response, error in (
        (httpx2.Response(403, json=problem), ApiError),
        (httpx2.Response(200, html="<p>"), NoAnswerError),
    ):
        transport, _ = _make_transport(response)
        with httpx2.Client(transport=transport) as http:
            stream = Heloise("http://h", "k", http=http).stream_events()
            with pytest.raises(error):
                next(iter(stream))


async def test_lines_that_break_say_so() -> None:
    """After those that arrived."""
    messages: list[Any] = []
    transport, _ = _make_transport(httpx2.Response(200, stream=Parts(b"1\n2\n")))
    with httpx2.Client(transport=transport) as http, pytest.raises(NoAnswerError, match="lost"):
        messages.extend(Heloise("http://h", "k", http=http).export_messages())
    transport, _ = _make_transport(httpx2.Response(200, stream=Parts(b"3\n")))
    async with httpx2.AsyncClient(transport=transport) as http_async:
        lines = AsyncHeloise("http://h", "k", http=http_async).export_messages()
        with pytest.raises(NoAnswerError, match="lost"):
            messages.extend([line async for line in lines])
    assert messages == ["1", "2"]
