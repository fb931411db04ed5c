"""The generated modules: as the document has it, and every operation as a method."""

import inspect
import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import httpx2
import pytest

import generate
from heloise_client import AsyncHeloise, Heloise, types
from heloise_client.listings import AsyncEventStream, AsyncLines, EventStream, Lines, Listing

METHODS: Final = [name for name in vars(Heloise) if not name.startswith("_")]
PACKAGE: Final = Path(inspect.getfile(Heloise)).parent
HARD: Final = "a/b ?é"  # what a path has to quote
ANSWER: Final = {"items": [{"id": "1"}], "next_cursor": None}


@cache
def _document() -> Any:
    return generate.read_document()


@cache
def _operations() -> dict[str, tuple[str, str, Any]]:
    """Method, path and operation, by the operation's id."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in _document()["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("name", ["types.py", "operations.py"])
def test_the_client_is_current(name: str) -> None:
    """Run `make client` where this fails: an operation or a field has changed."""
    assert (PACKAGE / name).read_text() == generate.generate(_document())[name]


def test_each_operation_is_a_method_of_both_clients() -> None:
    """And there is no other."""
    for client in (Heloise, AsyncHeloise):
        assert {name for name in vars(client) if name[0] != "_"} == set(_operations())


def _arguments(path: str, operation: Any) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for an operation: from the document, without the generator."""
    positional: list[Any] = [HARD] * path.count("{")
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        positional.append({"name": "x"} if "application/json" in content else b"bytes")
    query = {
        parameter["name"]: ["x", "y"] if '"array"' in json.dumps(parameter["schema"]) else "x"
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    }
    return positional, query


class Recorder:
    """Answers every request alike, and keeps it."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.path.endswith("/stream"):
            return httpx2.Response(200, headers={"Content-Type": "text/event-stream"})
        return httpx2.Response(200, json=ANSWER)

    @property
    def last(self) -> tuple[str, str, str, bytes, dict[str, str]]:
        request = self.requests[-1]
        headers = {name: request.headers.get(name, "") for name in ("Content-Type", "Accept")}
        headers["has key"] = str("Idempotency-Key" in request.headers)
        path = request.url.raw_path.partition(b"?")[0].decode()
        return request.method, path, str(request.url.params), request.content, headers


def _start(answer: Any) -> Any:
    """Send the request of an answer that sends nothing until it is read."""
    match answer:
        case Listing():
            return answer.page()
        case Lines() | EventStream():
            return next(iter(answer), None)
    return answer


async def _start_async(answer: Any) -> None:
    if inspect.isawaitable(answer):
        await answer
    elif isinstance(answer, AsyncLines | AsyncEventStream):
        await anext(aiter(answer), None)
    else:
        await answer.page()


def _stop(*_: object) -> None:
    raise KeyboardInterrupt  # a stream without an end waits before it asks again


@pytest.mark.parametrize("name", METHODS)
async def test_each_method_sends_what_the_document_says(name: str) -> None:
    """Method, path, query, body and headers; the same with and without asyncio."""
    method, path, operation = _operations()[name]
    positional, query = _arguments(path, operation)
    sync, async_ = Recorder(), Recorder()
    with (
        httpx2.Client(transport=httpx2.MockTransport(sync)) as http,
        pytest.raises(KeyboardInterrupt) if name == "stream_events" else nullcontext(),
    ):
        client = Heloise("http://heloise", "k", http=http, sleep=_stop)
        _start(getattr(client, name)(*positional, **query))
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(async_)) as http_async:
        with pytest.raises(KeyboardInterrupt) if name == "stream_events" else nullcontext():
            client_async = AsyncHeloise("http://heloise", "k", http=http_async, sleep=_stop)
            await _start_async(getattr(client_async, name)(*positional, **query))
    assert sync.last == async_.last
    sent_method, sent_path, _, body, headers = sync.last
    assert sent_method == method
    sent = [unquote(part) for part in sent_path.split("/")]
    assert sent == [HARD if part.startswith("{") else part for part in path.split("/")]
    params = sync.requests[-1].url.params
    assert {key: params.get_list(key) for key in params} == {
        key: value if isinstance(value, list) else [value] for key, value in query.items()
    }
    parameters = {parameter["name"].lower() for parameter in operation.get("parameters", [])}
    assert headers["has key"] == str("idempotency-key" in parameters)
    if "requestBody" in operation:
        assert headers["Content-Type"] in operation["requestBody"]["content"]
        assert body == (b"bytes" if positional[-1] == b"bytes" else b'{"name": "x"}')
    else:
        assert (headers["Content-Type"], body) == ("", b"")


def _references(value: Any) -> Iterator[str]:
    yield from re.findall(r'"#/components/schemas/(\w+)"', json.dumps(value))


def test_each_field_of_the_document_has_a_type() -> None:
    """Read from the module itself, not from the generator."""
    for name, schema in _document()["components"]["schemas"].items():
        if "properties" not in schema or set(schema["properties"]) == {"items", "next_cursor"}:
            continue
        typed = getattr(types, name)
        assert set(typed.__annotations__) == set(schema["properties"]), name
    for _, _, operation in _operations().values():
        assert all(hasattr(types, ref) or "Page" in ref for ref in _references(operation))


def test_the_generator_knows_odd_forms() -> None:
    """Names that Python does not allow, schemas that say little, and headers of an operation."""
    body = {"$ref": "#/components/schemas/Thing-Input"}
    operation = {
        "operationId": "make_thing",
        "parameters": [
            {"name": "svix-id", "in": "header", "schema": {"type": "string"}},
            {"name": "class", "in": "path", "required": True, "schema": {"type": "string"}},
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"content": {"application/json": {}}}},
    }
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["from"],
        "properties": {
            "from": {"type": "string"},
            "User-Agent": {"type": ["string", "null"]},
            "extra": {"type": "object", "additionalProperties": True},
        },
    }
    document = {
        "paths": {"/things/{class}": {"post": operation}},
        "components": {"schemas": {"Thing-Input": schema}},
    }
    modules = generate.generate(document)
    for name, text in modules.items():
        compile(text, name, "exec")
    assert '{"from": "Required[str]", "User-Agent": "Any"}' in modules["types.py"]
    assert "    extra: Mapping[str, Any]\n" in modules["types.py"]
    assert "class_: str, body: types.ThingInput, *, svix_id: str | None" in modules["operations.py"]
    assert 'headers={"svix-id": svix_id}' in modules["operations.py"]
