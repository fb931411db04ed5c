"""Nobody holds the service up: not slowly, not with much at once, not with what is hard to read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.http.server_protocol import MAX_FIELDS, MAX_HEADER_BYTES, TOO_MANY, BoundedProtocol
from app.api.requests import body_reader as intake
from app.api.requests import json_limits as json_bounds
from app.api.requests.body_memory import Budget
from app.api.requests.body_reader import BODY_SECONDS, WINDOW_SECONDS, Pace
from app.api.requests.json_limits import BLOCK_BYTES, MAX_DEPTH, MAX_VALUES, check_json
from app.domain.errors import InvalidRequest, Unavailable
from tests.api.conftest import MAX_BUFFERED_BYTES
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller, serving

pytestmark = pytest.mark.one_database

SHORT_SECONDS: Final = 0.3
# Far above it: that it ends is what is shown.
CLEARLY_TOO_LONG: Final = 30.0


class Impatient(BoundedProtocol):
    """Waits for no more than a moment."""

    header_seconds = SHORT_SECONDS


@asynccontextmanager
async def connect(
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


@pytest.mark.parametrize(
    "header_start", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "]
)
async def test_a_header_without_an_end_is_cut(impatient: str, header_start: bytes) -> None:
    """Whether nothing comes or not enough."""
    async with connect(impatient) as (reader, writer):
        writer.write(header_start)
        assert await rest(reader) == b""


async def test_a_byte_now_and_then_is_no_header(impatient: str) -> None:
    """What counts is when the whole of it has come."""
    async with connect(impatient) as (reader, writer):
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
    async with connect(impatient) as (reader, writer):
        writer.write(whole + whole + b"GET /healthz HT")
        answers = await rest(reader)
    assert answers.count(b"HTTP/1.1 200") == 2


async def test_a_header_is_bounded(api: Api) -> None:
    """400; and the connection is closed."""
    async with connect(str(api.http.base_url)) as (reader, writer):
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


async def test_the_fields_of_a_header_are_counted(api: Api) -> None:
    """Each costs time, and one read may bring tens of thousands."""
    for count, expected in ((MAX_FIELDS, b"HTTP/1.1 200"), (MAX_FIELDS + 1, TOO_MANY.encode())):
        fields = b"Host: x\r\nConnection: close\r\n" + b"X-A: b\r\n" * (count - 2)
        async with connect(str(api.http.base_url)) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\n" + fields + b"\r\n")
            assert expected in await rest(reader)


def request(caller: Caller, length: int, path: str = "/messages") -> bytes:
    """The header of a POST with a body of so many bytes."""
    key = caller.headers["Authorization"]
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("body_start", [b"", b'{"to": ["ann@exam'])
@pytest.mark.parametrize("path", ["/messages", "/profiles", "/keys", "/profiles/verify"])
async def test_a_body_that_stops_is_cut(
    api: Api,
    acme: Caller,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body_start: bytes,
    *,
    is_known: bool,
) -> None:
    """408, which says that nothing was written; the rest is not waited for."""
    monkeypatch.setattr(intake, "WINDOW_SECONDS", SHORT_SECONDS)
    if is_known:  # by the short way of a key that was seen
        await acme.read("/messages")
    async with connect(str(api.http.base_url)) as (reader, writer):
        writer.write(request(acme, 500, path) + body_start)
        answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems/request-timeout" in answer
    assert (await acme.read("/messages"))["items"] == []


async def test_a_byte_now_and_then_is_no_body(
    api: Api, acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may be slow, not that slow."""
    monkeypatch.setattr(intake, "WINDOW_SECONDS", SHORT_SECONDS)
    async with connect(str(api.http.base_url)) as (reader, writer):
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


async def test_what_came_before_earns_no_time(
    api: Api, acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of a large body, and then nothing, holds its memory no longer than nothing does."""
    monkeypatch.setattr(intake, "WINDOW_SECONDS", SHORT_SECONDS)
    async with connect(str(api.http.base_url)) as (reader, writer):
        writer.write(request(acme, 1_100_000) + b" " * 1_000_000)
        assert (await rest(reader)).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("parts", "seconds"),
    [
        ([], 15),  # nothing
        ([(0, 10_000_000)], 15),  # nearly all of it at once, and then nothing
        ([(1, 10_000)] * 100, 15),  # as slow as may be
        ([(14, 1)], 1),  # a byte now and then
        ([(14, 140_000)], 15),  # behind, and up to date again
        ([(10, 50_000)], 10),  # behind
        ([(1, 1_000_000)] * 299, 1),  # for as long as may be
    ],
)
def test_a_client_may_fall_behind_by_so_much(parts: list[tuple[float, int]], seconds: int) -> None:
    """What it has sent long ago does not count, and all of a body has an end."""
    pace = Pace(WINDOW_SECONDS, BODY_SECONDS)
    for waited, size in parts:
        assert waited <= pace.timeout_seconds
        pace.record(waited, size)
    assert round(pace.timeout_seconds) == seconds


def test_a_tenant_and_an_address_have_their_shares() -> None:
    """Half and three quarters, which leaves room for others; what is given back is there again."""
    budget = Budget(1000, 400)
    budget.reserve(["a", "proxy"], 500)
    for others in (["a", "proxy"], ["a", "elsewhere"]):
        with pytest.raises(Unavailable, match="its share"):
            budget.reserve(others, 1)
        budget.release(others, 1)
    budget.reserve(["b", "proxy"], 250)
    with pytest.raises(Unavailable, match="its share"):
        budget.reserve(["c", "proxy"], 1)
    budget.release(["c", "proxy"], 1)
    budget.reserve(["c", "elsewhere"], 250)
    with pytest.raises(Unavailable, match="fits into memory"):
        budget.reserve(["d", "far away"], 1)
    budget.release(["d", "far away"], 1)
    budget.release(["a", "proxy"], 500)
    budget.reserve(["d", "far away"], 500)
    assert budget.held_bytes == 1000


def test_a_client_that_holds_nothing_may_be_released() -> None:
    """A message of 0 bytes ends after another of the same tenant and address."""
    budget, holders = Budget(1000, 400), ["a", "proxy"]
    budget.reserve(holders, 0)
    budget.reserve(holders, 10)
    budget.release(holders, 10)
    budget.release(holders, 0)
    assert budget.held_bytes == 0


def test_the_largest_body_fits_in_any_case() -> None:
    """However little memory there is."""
    Budget(1000, 5000).reserve(["a", "proxy"], 5000)


async def test_lines_that_do_not_end_count_as_held(api: Api, acme: Caller) -> None:
    """Two of a megabyte are more than the tenant's share; another tenant is not held up by them."""
    other = await api.tenant("other")
    await other.made("/profiles", PROFILE)
    head = request(acme, 3_000_000, "/messages/upload").replace(b"json", b"jsonl")
    async with connect(str(api.http.base_url)) as one, connect(str(api.http.base_url)) as two:
        for _, writer in (one, two):
            writer.write(head + b"x" * 1_200_000)
        reads = [asyncio.create_task(reader.readuntil(b"overloaded")) for reader, _ in (one, two)]
        async with asyncio.timeout(CLEARLY_TOO_LONG):
            await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
        assert [task.done() for task in reads].count(True) == 1
        await other.made("/messages", MESSAGE)
        for task in reads:
            task.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def test_bodies_beyond_what_fits_are_refused_before_they_are_held(
    api: Api, acme: Caller
) -> None:
    """503 with Retry-After; once the others are gone there is room again."""
    await acme.made("/profiles", PROFILE)
    filling = api.services.max_body_bytes - 1000
    count = MAX_BUFFERED_BYTES // filling + 1
    connections = []
    try:
        for _ in range(count):
            manager = connect(str(api.http.base_url))
            reader, writer = await manager.__aenter__()
            connections.append((manager, reader))
            writer.write(request(acme, filling + 500))
            writer.write(b" " * filling)
        async with asyncio.timeout(CLEARLY_TOO_LONG):
            lines = [asyncio.create_task(reader.readline()) for _, reader in connections]
            done, _ = await asyncio.wait(lines, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result() for task in done} == {b"HTTP/1.1 503 Service Unavailable\r\n"}
    finally:
        for manager, _ in connections:
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


def count_by_parser(text: str) -> int:
    """How many values a text of JSON has, by the parser."""

    def count(value: Any) -> int:
        match value:
            case dict():
                return 1 + sum(map(count, value.values()))
            case list():
                return 1 + sum(map(count, value))
        return 1

    return count(json.loads(text))


PIECES: Final = st.sampled_from(['\\"', "\\\\", "{", "}", "[", "]", ",", ":", " ", "a" * 40, "é"])
STRINGS: Final = st.lists(PIECES, max_size=20).map("".join)
VALUES: Final = st.recursive(
    STRINGS.map('"{}"'.format) | st.sampled_from(["1", "null", '""', "[]", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=6).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(STRINGS, inner), max_size=6).map(
            lambda pairs: (
                "{"
                + ", ".join(f'"{n}{name}":{value}' for n, (name, value) in enumerate(pairs))
                + "}"
            )
        )
    ),
    max_leaves=40,
)


@given(VALUES, st.integers(1, 40), st.integers(3, 60))
def test_structure_is_seen_as_the_parser_sees_it(text: str, limit: int, block: int) -> None:
    """Wherever blocks begin and end, and whatever strings hold."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_bounds, "MAX_VALUES", limit)
        patched.setattr(json_bounds, "MAX_STRINGS", 2 * limit)
        patched.setattr(json_bounds, "BLOCK_BYTES", block)
        try:
            check_json(text.encode())
        except InvalidRequest:
            # An empty list counts as a value and as room for one.
            assert count_by_parser(text) + text.count("[]") + text.count("{}") >= limit
        else:
            assert count_by_parser(text) <= limit + 1


@pytest.mark.parametrize("size", [0, BLOCK_BYTES - 90, 3 * BLOCK_BYTES])
@pytest.mark.parametrize("opening", ["[", '{"a":', '["[",', '[{"\\"[":'])
def test_depth_is_bounded(opening: str, size: int) -> None:
    """In a small body and a large one, and brackets in strings are none."""
    before = '["' + "x" * size + '",'
    check_json((before + opening * (MAX_DEPTH // 2 - 1)).encode())
    with pytest.raises(InvalidRequest, match="nested"):
        check_json((before + opening * MAX_DEPTH).encode())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("path", ["/messages", "/messages/batch", "/profiles"])
async def test_json_is_utf_8(acme: Caller, path: str, encoding: str) -> None:
    """415 with what to send, whatever Python's parser would make of it."""
    content = json.dumps(MESSAGE | {"subject": "∢尢"}, ensure_ascii=False).encode(encoding)
    answer = await acme("POST", path, content=content, headers=JSON)
    assert answer.status_code == 415
    assert "send JSON in UTF-8" in answer.json()["detail"]
    headers = JSON | {"Content-Type": f"application/json; charset={encoding}"}
    answer = await acme("POST", path, content=content, headers=headers)
    assert answer.status_code == 415
    assert f"in the charset {encoding}" in answer.json()["detail"]


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
