"""Nobody holds the service up: not slowly, not with much at once, not with what is hard to read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from app.api import edge
from app.api.json_bounds import MAX_VALUES
from app.api.slow_clients import MAX_HEADER_BYTES, BoundedProtocol
from tests.api.client import MESSAGE, PROFILE, Api, Caller, serving

pytestmark = pytest.mark.one_database

SHORT_SECONDS: Final = 0.3
# Far above it: that it ends is what is shown.
CLEARLY_TOO_LONG: Final = 30.0


class Impatient(BoundedProtocol):
    """Waits for no more than a moment."""

    header_seconds = SHORT_SECONDS


@asynccontextmanager
async def connected(
    url: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of our own, to say on it what no HTTP client says."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.fixture
async def impatient(api: Api) -> AsyncIterator[str]:
    """The URL of the API behind a server that waits for no more than a moment."""
    async with serving(api.app, Impatient) as url:
        yield url


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that the server says until it closes."""
    async with asyncio.timeout(CLEARLY_TOO_LONG):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("said", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_who_comes_to_no_end_of_a_header_is_cut(impatient: str, said: bytes) -> None:
    """Whether nothing comes or not enough."""
    async with connected(impatient) as (reader, writer):
        writer.write(said)
        assert await rest(reader) == b""


async def test_a_byte_now_and_then_is_no_header(impatient: str) -> None:
    """What counts is when the whole of it has come."""
    async with connected(impatient) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\n")

        async def dribble() -> None:
            while True:
                writer.write(b"X-A: b\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)

        task = asyncio.create_task(dribble())
        assert await rest(reader) == b""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_second_request_has_as_long_as_the_first(impatient: str) -> None:
    """On the same connection."""
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with connected(impatient) as (reader, writer):
        writer.write(whole + whole + b"GET /healthz HT")
        answers = await rest(reader)
    assert answers.count(b"HTTP/1.1 200") == 2


async def test_a_header_is_bounded(api: Api) -> None:
    """400; and the connection is closed."""
    async with connected(str(api.http.base_url)) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for _ in range(2 * MAX_HEADER_BYTES // 1000):
            writer.write(b"X-A: " + b"b" * 993 + b"\r\n")
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
        answer = await rest(reader)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert b"200" not in answer


def request(caller: Caller, length: int, path: str = "/messages") -> bytes:
    """The header of a POST with a body of so many bytes."""
    key = caller.headers["Authorization"]
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("said", [b"", b'{"to": ["ann@exam'])
@pytest.mark.parametrize("path", ["/messages", "/profiles", "/keys", "/profiles/verify"])
async def test_who_stops_in_a_body_is_cut(
    api: Api,
    acme: Caller,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    said: bytes,
    *,
    is_known: bool,
) -> None:
    """408, which says that nothing was written; the rest is not waited for."""
    monkeypatch.setattr(edge, "GRACE_SECONDS", SHORT_SECONDS)
    if is_known:  # by the short way of a key that was seen
        await acme.read("/messages")
    async with connected(str(api.http.base_url)) as (reader, writer):
        writer.write(request(acme, 500, path) + said)
        answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems/request-too-slow" in answer
    assert (await acme.read("/messages"))["items"] == []


async def test_a_byte_now_and_then_is_no_body(
    api: Api, acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may be slow, not that slow."""
    monkeypatch.setattr(edge, "GRACE_SECONDS", SHORT_SECONDS)
    async with connected(str(api.http.base_url)) as (reader, writer):
        writer.write(request(acme, 100_000))

        async def dribble() -> None:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)

        task = asyncio.create_task(dribble())
        answer = await rest(reader)  # none, where what was not read any more resets the connection
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_body_that_keeps_coming_has_its_time(
    api: Api, acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come already is time that the rest may take."""
    monkeypatch.setattr(edge, "GRACE_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(edge, "SLOWEST_BYTES_PER_SECOND", 100)
    await acme.made("/profiles", PROFILE)
    body = json.dumps(MESSAGE | {"text": "x" * 2000}).encode()
    async with connected(str(api.http.base_url)) as (reader, writer):
        writer.write(request(acme, len(body)) + body[:-10])
        await writer.drain()
        await asyncio.sleep(3 * SHORT_SECONDS)
        writer.write(body[-10:])
        async with asyncio.timeout(CLEARLY_TOO_LONG):
            assert (await reader.readline()).startswith(b"HTTP/1.1 202")


async def test_bodies_beyond_what_fits_are_refused_before_they_are_held(
    api: Api, acme: Caller
) -> None:
    """503 with Retry-After; once the others are gone there is room again."""
    await acme.made("/profiles", PROFILE)
    filling = api.services.max_body_bytes - 1000
    count = api.services.max_buffered_bytes // filling + 1
    opened = []
    try:
        for _ in range(count):
            manager = connected(str(api.http.base_url))
            reader, writer = await manager.__aenter__()
            opened.append((manager, reader))
            writer.write(request(acme, filling + 500))
            writer.write(b" " * filling)
        async with asyncio.timeout(CLEARLY_TOO_LONG):
            lines = [asyncio.create_task(reader.readline()) for _, reader in opened]
            done, _ = await asyncio.wait(lines, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result() for task in done} == {b"HTTP/1.1 503 Service Unavailable\r\n"}
    finally:
        for manager, _ in opened:
            await manager.__aexit__(None, None, None)
        for task in lines:
            task.cancel()
        await asyncio.gather(*lines, return_exceptions=True)
    await until(acme, "POST", 202)


async def until(caller: Caller, method: str, status: int) -> None:
    """Ask again and again, until the answer has this status."""
    async with asyncio.timeout(CLEARLY_TOO_LONG):
        while (await caller(method, "/messages", MESSAGE)).status_code != status:
            pass


DEEP: Final = 100_000
JSON: Final = {"Content-Type": "application/json"}
WITH_A_KEY: Final = JSON | {"Idempotency-Key": "order-42"}


@pytest.mark.parametrize("headers", [JSON, WITH_A_KEY], ids=["plain", "with a key"])
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("path", ["/messages", "/profiles"])
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("[" * DEEP + "]" * DEEP, "invalid-json json-too-large invalid-request"),
        ('{"a":' * DEEP + "1" + "}" * DEEP, "invalid-json json-too-large invalid-request"),
        ('{"to": ' + "9" * 10_000 + "}", "invalid-json invalid-request"),
        ('{"to": 1e999999}', "invalid-request"),
        ('{"to": NaN}', "invalid-json invalid-request"),
    ],
)
async def test_json_that_is_hard_to_read_is_refused(
    acme: Caller, path: str, body: str, problem: str, headers: dict[str, str], *, is_known: bool
) -> None:
    """422, whichever way the request goes."""
    if is_known:
        await acme.read("/messages")
    answer = await acme("POST", path, content=body.encode(), headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"].removeprefix("/problems/") in problem.split()


@pytest.mark.parametrize("headers", [JSON, WITH_A_KEY], ids=["plain", "with a key"])
@pytest.mark.parametrize("is_known", [True, False])
async def test_json_of_many_values_is_refused(
    acme: Caller, headers: dict[str, str], *, is_known: bool
) -> None:
    """Parsed it would take many times its bytes."""
    if is_known:
        await acme.read("/messages")
    body = b'{"to": [' + b"1," * (MAX_VALUES + 1) + b"1]}"
    answer = await acme("POST", "/messages", content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/json-too-large")


@pytest.mark.parametrize("html", ["a{b:c},[" * 9000, '\\"{,' * 15_000, "\\\\" * 20_000])
async def test_what_a_text_holds_is_no_structure(acme: Caller, html: str) -> None:
    """Be it full of braces and quotes."""
    await acme.made("/profiles", PROFILE)
    answer = await acme("POST", "/messages", MESSAGE | {"html": html})
    assert answer.status_code == 202, answer.text


async def test_what_is_no_message_is_small(acme: Caller) -> None:
    """413 where the body of a message may be larger."""
    body: dict[str, Any] = PROFILE | {"tls_ca": "x" * 1_100_000}
    answer = await acme("POST", "/profiles", body)
    assert answer.status_code == 413
    assert "body-too-large" in answer.text
