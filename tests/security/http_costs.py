"""What requests of growing size cost the API, as a process of its own with limits tells it.

`python -m tests.security.http_costs sqlite:///migrated.db` prints a line of JSON for each kind of
request: the processor time in seconds and the peak of memory in bytes, for one, and for one that is
`GROWTH` times as large.
"""

import asyncio
import gc
import json
import logging
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fastapi_offline import FastAPIOffline

from app import process
from app.accept.group_commit import Committer
from app.api.app import OPENAPI_KWARGS, install
from app.api.requests.body_memory import Budget
from app.store.db.database import Database
from tests.api.conftest import MAX_BUFFERED_BYTES, services_on
from tests.support.api_client import ADMIN_KEY, EVERY_SCOPE, PROFILE, HandClock

MEMORY_BYTES: Final = 2 * 1024**3
PROCESSOR_SECONDS: Final = 60
CHUNK_BYTES: Final = 65_536
GROWTH: Final = 4
BODY_BYTES: Final = 128_000
# An upload has many messages, each of which costs what a request does.
UPLOAD_BYTES: Final = 2_000
HEADER_BYTES: Final = 15_000  # four times as much is all that the server takes

Headers = dict[str, str]
JSON: Final = {"Content-Type": "application/json"}
LINES: Final = {"Content-Type": "application/jsonl"}
FORM: Final = {"Content-Type": "multipart/form-data; boundary=b"}
PART: Final = b'--b\r\nContent-Disposition: form-data; name="message"\r\n\r\n'
END: Final = b"\r\n--b--\r\n"
ICON: Final = "/static-offline-docs/favicon.png"
NAMED: Final = b"--b\r\nContent-Disposition: form-data; "


@dataclass(frozen=True)
class Request:
    """A request as ASGI has it."""

    path: str
    headers: Headers
    body: bytes = b""
    query: str = ""
    method: str = "POST"


Make = Callable[[int], Request]


def fill(start: bytes, unit: bytes, end: bytes, size: int) -> bytes:
    """So many bytes of the same."""
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


def body(path: str, headers: Headers, start: bytes, unit: bytes, end: bytes = b"") -> Make:
    """Requests whose body is the same over and over."""
    return lambda size: Request(path, headers, fill(start, unit, end, size))


def header(name: str, start: str, unit: str, path: str = "/messages", method: str = "POST") -> Make:
    """Requests with a header that is the same over and over."""
    content = b"{}" if method == "POST" else b""
    return lambda size: Request(
        path, JSON | {name: start + unit * (size // len(unit))}, content, method=method
    )


JSON_BODIES: Final = {
    "strings": (b'{"a":[', b'"",', b'""]}'),
    "numbers": (b'{"a":[', b"1,", b"1]}"),
    "lists in lists": (b"", b"[", b""),
    "objects in objects": (b"", b'{"a":', b""),
    "empty lists": (b"[", b"[],", b"[]]"),
    "names": (b"{", b'"a":1,', b'"b":1}'),
    "strings without commas": (b"[", b'"{"', b"]"),
    "escapes": (b'{"text":"', b'\\"', b'"}'),
    "backslashes": (b'{"text":"', b"\\\\", b'"}'),
    "code points": (b'{"text":"', b"\\u20ac", b'"}'),
    "half a string": (b'{"text":"', b"a{", b""),
    "digits": (b'{"text":', b"9", b"}"),
    "fraction": (b'{"text":0.', b"9", b"}"),
    "exponent": (b'{"text":1e', b"9", b"}"),
    "blanks": (b"", b" ", b"{}"),
    "brackets that close nothing": (b"", b"]", b""),
    "addresses": (b'{"to":[', b'"a",', b'"b"]}'),
    "an address": (b'{"to":["', b"a.", b'"]}'),
    "an address of names": (b'{"to":["', b"a <", b'"]}'),
    "a header": (b'{"headers":{"X-A":"', b"\\u00e9 ", b'"}}'),
    "tags": (b'{"tags":[', b'"a",', b'"b"]}'),
    "unknown in unknown": (b'{"attachments":[', b'{"a":1},', b'{"a":1}]}'),
}
FORMS: Final = {
    "line feeds": (PART, b"\r\n", END),
    "boundaries that are none": (PART, b"\r\n--", END),
    "carriage returns": (PART, b"\r", END),
    "JSON": (PART + b'{"a":[', b'"",', b'""]}' + END),
    "parts": (b"", PART + b"{}\r\n", END),
    "files": (b"", NAMED + b'name="attachments"; filename="a"\r\n\r\n\r\n', END),
    "fields of a part": (b"--b\r\n", b"X: a\r\n", b"\r\n" + END),
    "a field of a part": (b"--b\r\nX: ", b"a", b"\r\n\r\n" + END),
    "parameters of a part": (NAMED + b'name="message"', b'; a="b"', b"\r\n\r\n" + END),
    "before the first part": (b"", b"\r\n", PART + b"{}" + END),
    "after the last part": (PART + b"{}" + END, b"--b--\r\n", b""),
}
UPLOADS: Final = {
    "empty lines": (b"", b"\n", b""),
    "blank lines": (b"", b" \n", b""),
    "lines": (b"", b"{}\n", b""),
    "lists": (b"", b"[[[[[[[\n", b""),
    "no line end": (b"", b"a", b""),
    "a line of strings": (b"[", b'"",', b"]\n"),
}


def ways() -> Iterator[tuple[str, int, Make]]:
    """Each kind of request, by its name."""
    for number, (name, parts) in enumerate(JSON_BODIES.items()):
        path = ("/messages", "/messages/batch", "/templates")[number % 3]
        yield f"JSON to {path}: {name}", BODY_BYTES, body(path, JSON, *parts)
    for name, parts in FORMS.items():
        yield f"form: {name}", BODY_BYTES, body("/messages", FORM, *parts)
    for charset in ("punycode", "idna", "unicode_escape", "utf-7"):
        kind = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
        yield f"form in {charset}", BODY_BYTES, body("/messages", kind, PART + b"a-", b"b", END)
    for name, parts in UPLOADS.items():
        yield f"upload: {name}", UPLOAD_BYTES, body("/messages/upload", LINES, *parts)
    makers = {
        "type": header("Content-Type", "application/json", "; a=b"),
        "type of a form": header("Content-Type", 'multipart/form-data; boundary="', ";"),
        "type of lines": header("Content-Type", 'application/jsonl; a="', "\\;"),
        "charset": header("Content-Type", "application/json", "; charset"),
        "key": header("Idempotency-Key", "", "a"),
        "tenant": header("Heloise-Tenant", "", "a"),
        "range": header("Range", "bytes=0-1", ",0-1", ICON, "GET"),
        "version": header("If-None-Match", '"a"', ',"a"', ICON, "GET"),
        "place": header("Last-Event-ID", "", "a", "/events/stream", "GET"),
    }
    for name, make in makers.items():
        yield f"header: {name}", HEADER_BYTES, make
    for name, unit in {"names": "a=b&", "addresses": "to=a@b.example&", "escapes": "%41"}.items():
        yield f"query: {name}", HEADER_BYTES, _query(unit)


def _query(unit: str) -> Make:
    kind = {"Content-Type": "message/rfc822"}
    return lambda size: Request("/messages/raw", kind, b"\n", unit * (size // len(unit)))


async def ask(app: FastAPIOffline, request: Request, key: str) -> tuple[int, bytes]:
    """The answer's status and content."""
    headers = {"Authorization": f"Bearer {key}"} | request.headers
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": request.query.encode(),
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
        "heloise.is_whole": True,
    }
    content = memoryview(request.body)
    parts = [content[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES)] or [b""]
    waiting, sent, status = iter(enumerate(parts, start=1)), bytearray(), 0

    async def receive() -> dict[str, Any]:
        number, part = next(waiting, (0, b""))
        if not number:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": bytes(part), "more_body": number < len(parts)}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        sent.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status, bytes(sent)


async def measure(app: FastAPIOffline, request: Request, key: str) -> tuple[float, int]:
    """The processor time of one try, and the peak of memory of another."""
    gc.collect()  # else one that the tries before have made due counts here
    started = time.process_time()
    await ask(app, request, key)
    spent = time.process_time() - started
    tracemalloc.start()
    await ask(app, request, key)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return spent, peak


async def main(url: str) -> None:
    """Print what each kind costs."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    logging.disable()
    database = Database(url)
    services = services_on(database, HandClock(), ("127.0.0.1", 9))
    app = FastAPIOffline(**OPENAPI_KWARGS)
    install(app, services, Budget(MAX_BUFFERED_BYTES, services.max_body_bytes))
    assert isinstance(services.committer, Committer)

    async def post(path: str, what: dict[str, Any], key: str) -> Any:
        status, content = await ask(app, Request(path, JSON, json.dumps(what).encode()), key)
        assert status == 201, content
        return json.loads(content)

    async with services.committer.running():
        await post("/tenants", {"slug": "acme"}, ADMIN_KEY)
        fields = {"name": "test", "scopes": EVERY_SCOPE}
        key = (await post("/tenants/acme/keys", fields, ADMIN_KEY))["key"]
        await post("/profiles", PROFILE, key)
        process.tune_gc()  # as the service does: a collection of all would be counted too
        for name, size, make in ways():
            await ask(app, make(size), key)  # what is made once for all is made here
            small, large = [
                await measure(app, make(length), key) for length in (size, GROWTH * size)
            ]
            measurement = {
                "name": name,
                "seconds": [small[0], large[0]],
                "bytes": [small[1], large[1]],
            }
            sys.stdout.write(json.dumps(measurement) + "\n")
            sys.stdout.flush()
    await services.renderer.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
