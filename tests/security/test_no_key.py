"""Nobody without a key has anything read, counted or kept, on whatever path."""

import asyncio
import re
import tracemalloc
from collections.abc import Iterator
from typing import Final

import pytest
from starlette.routing import Mount, Route

from app.api.http.server_protocol import MAX_PIPELINED
from app.api.requests.body_reader import DRAIN_PAUSE_SECONDS
from app.domain.clock import monotonic_seconds
from tests.api.requests.test_overload import connect
from tests.support.api_client import Api

pytestmark = pytest.mark.one_database

BODY_BYTES: Final = 50_000_000
AT_ONCE: Final = 8
GROWTH_BYTES: Final = AT_ONCE * 1_000_000
PART: Final = b"x" * 65_536
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OPEN: Final = re.compile(r"/(docs|redoc|openapi\.json|static-offline-docs|healthz|readyz|problems)")


def requests(api: Api) -> Iterator[tuple[str, str]]:
    """Each path with each of its methods and a wrong one, and paths that there are not."""
    for route in api.app.routes:
        if isinstance(route, Mount):
            yield "GET", f"{route.path}/favicon.png"
            yield "POST", f"{route.path}/favicon.png"
        elif isinstance(route, Route):
            path = re.sub(r"{[^}]+}", "x", route.path)
            for method in {*(route.methods or ()), "POST"} - {"HEAD"}:
                yield method, path
    for method in METHODS:
        yield method, "/nothing"


async def send_body(writer: asyncio.StreamWriter, *, is_chunked: bool) -> int:
    """How many bytes of a body the server took until it closed the connection."""
    part = b"%x\r\n%b\r\n" % (len(PART), PART) if is_chunked else PART
    sent = 0
    try:
        while sent < BODY_BYTES:
            writer.write(part)
            await writer.drain()
            sent += len(PART)
    except ConnectionError:
        pass
    return sent


async def answer_to(
    api: Api, method: str, path: str, key: str = "", *, is_chunked: bool = False
) -> tuple[int, int]:
    """The status that a request with a large body gets, and how much of it was taken."""
    length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {BODY_BYTES}"
    async with connect(str(api.http.base_url)) as (reader, writer):
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{key}Content-Type: application/json\r\n"
        writer.write(f"{head}{length}\r\n\r\n".encode())
        sending = asyncio.create_task(send_body(writer, is_chunked=is_chunked))
        status = int((await reader.readline()).split()[1])
        return status, await sending


@pytest.mark.slow
async def test_no_route_reads_a_body_without_a_key(api: Api) -> None:
    """50 MB cost no memory, the answer comes at once, and the connection ends before the body."""
    every = sorted(set(requests(api)))
    assert len(every) > 100
    for method, path in every:  # what is made once for all is made here
        await api.nobody(method, path)
    tracemalloc.start()
    try:
        for start in range(0, len(every), AT_ONCE):
            several = every[start : start + AT_ONCE]
            tracemalloc.reset_peak()
            for method, path in several:
                await api.nobody(method, path)
            _, least = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            answers = await asyncio.gather(*(answer_to(api, *request) for request in several))
            _, peak = tracemalloc.get_traced_memory()
            assert peak - least < GROWTH_BYTES, several
            for (method, path), (status, read_bytes) in zip(several, answers, strict=True):
                assert read_bytes < BODY_BYTES, (method, path)
                expected = {200, 404, 405} if OPEN.match(path) else {401, 404, 405}
                assert status in expected | ({200} if path == "/metrics" else set()), (method, path)
    finally:
        tracemalloc.stop()
    assert (await api.nobody("GET", "/healthz")).status_code == 200


async def test_a_client_that_sends_bodies_without_a_key_is_slowed(api: Api) -> None:
    """It has its answer at once; what it sends after that is read with pauses."""
    async with connect(str(api.http.base_url)) as (reader, writer):
        head = "POST /messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {BODY_BYTES}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        answered_seconds = monotonic_seconds()
        await send_body(writer, is_chunked=False)
        assert monotonic_seconds() - answered_seconds >= DRAIN_PAUSE_SECONDS


@pytest.mark.parametrize("key", ["", "Authorization: Bearer hel_wrong\r\n"], ids=["none", "wrong"])
@pytest.mark.parametrize("path", ["/messages", "/messages/upload", "/messages/raw?to=a@b.example"])
async def test_a_body_of_no_told_length_is_not_read_either(api: Api, path: str, key: str) -> None:
    """Nor is one whose key opens nothing."""
    status, read_bytes = await answer_to(api, "POST", path, key, is_chunked=True)
    assert status == 401
    assert read_bytes < BODY_BYTES


async def test_a_client_that_asks_first_is_not_told_to_go_on(api: Api) -> None:
    """`Expect: 100-continue` is answered with what is wrong (RFC 9110 section 10.1.1)."""
    async with connect(str(api.http.base_url)) as (reader, writer):
        writer.write(
            b"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer


async def test_a_small_body_is_read_away_so_that_the_answer_is_read(api: Api) -> None:
    """Other clients than ours would be reset while they still send."""
    async with connect(str(api.http.base_url)) as (reader, writer):
        writer.write(
            b"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        writer.write(b"x" * 100_000)
        await writer.drain()
        assert (await reader.read()).endswith(b"}")


async def test_requests_do_not_pile_up_on_a_connection(api: Api) -> None:
    """Each would take a hundred times its bytes until its turn comes."""
    async with connect(str(api.http.base_url)) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n" * 20 * MAX_PIPELINED)
        answers = b""
        try:
            while part := await reader.read(65_536):
                answers += part
        except ConnectionError:
            pass
    assert answers.count(b"HTTP/1.1 200") <= MAX_PIPELINED + 1
    assert b"HTTP/1.1 400" not in answers
    assert (await api.nobody("GET", "/healthz")).status_code == 200
