"""Write the types and the methods of the client from the OpenAPI document: `make client`.

    .venv/bin/python clients/python/generate.py

A body becomes a TypedDict, a list of values a Literal, an operation a method with the operation's
name. `heloise_client` says what they do; nothing here runs in the client.
"""

import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from app.api.openapi import OPENAPI_KWARGS, build_document
from app.api.routers import admin_routers, routers

PACKAGE: Final = Path(__file__).parent / "heloise_client"
WIDTH: Final = 100
# Headers that the connection sends, and one that a stream sends when it continues.
OWN_HEADERS: Final = frozenset({"heloise-tenant", "idempotency-key", "last-event-id"})
PAGE: Final = {"items", "next_cursor"}
PAGING: Final = {"limit", "cursor"}
JSON: Final = "application/json"
TYPES: Final = {"boolean": "bool", "integer": "int", "number": "float", "null": "None"}
HEADER: Final = "# Generated from the OpenAPI document by `make client`. Do not edit.\n"

Schema = Mapping[str, Any]


class Types:
    """The types of a document's schemas, as Python writes them."""

    def __init__(self, document: Schema) -> None:
        self._schemas: Mapping[str, Schema] = document["components"]["schemas"]

    def page_item(self, schema: Schema) -> str | None:
        """Return the type of a page's items; None if the schema is no page."""
        fields = self._resolve(schema).get("properties", {})
        return self.annotate(fields["items"]["items"]) if set(fields) == PAGE else None

    def _resolve(self, schema: Schema) -> Schema:
        return self._schemas[_ref_name(schema)] if "$ref" in schema else schema

    def annotate(  # noqa: C901, PLR0911 - a case for each form of a schema
        self, schema: Schema, *, is_request: bool = False, prefix: str = ""
    ) -> str:
        """Return the annotation of a schema. A request may hold more than an answer does."""

        def inner(part: Schema) -> str:
            return self.annotate(part, is_request=is_request, prefix=prefix)

        match schema:
            case {"$ref": _}:
                name = _ref_name(schema)
                return prefix + _class_name(name) if _is_defined(self._schemas[name]) else "Any"
            case {"const": value}:
                return f"Literal[{value!r}]"
            case {"enum": values}:
                return f"Literal[{', '.join(map(repr, values))}]"
            case {"anyOf": parts} | {"oneOf": parts}:
                # Anything at all would hide the fields of the other parts.
                known = [part for part in parts if part] if is_request else parts
                return " | ".join(dict.fromkeys(inner(part) for part in known))
            case {"allOf": [part]}:
                return inner(part)
            case {"type": "array"}:
                item = inner(schema.get("items", {}))
                return f"Sequence[{item}]" if is_request else f"list[{item}]"
            case {"type": "object"}:
                value = inner(schema.get("additionalProperties") or {})
                return f"{'Mapping' if is_request else 'dict'}[str, {value}]"
            case {"type": "string", "format": "date-time"} if is_request:
                return "str | datetime"
            case {"type": "string"}:
                return "str"
            case {"type": str(kind)}:
                return TYPES[kind]
        return "Any"

    def annotate_parameter(self, schema: Schema) -> str:
        """Return the annotation of a query parameter: text or numbers, or a list of them."""
        if "$ref" in schema and "properties" in self._resolve(schema):
            return "None"
        if parts := schema.get("anyOf"):
            members = [self.annotate_parameter(part) for part in parts]
            return " | ".join(dict.fromkeys(member for member in members if member != "None"))
        if schema.get("type") == "array":
            return f"Sequence[{self.annotate_parameter(schema['items'])}]"
        return self.annotate(schema, is_request=True)

    def write(self) -> Iterator[str]:
        """Write each schema: lists of values first, because Python reads them at once."""
        for name, schema in self._schemas.items():
            if "enum" in schema:
                yield f"{_class_name(name)} = {self.annotate(schema)}\n"
        for name, schema in self._schemas.items():
            if "properties" in schema and self.page_item(schema) is None:
                yield self._write_class(_class_name(name), schema)

    def _write_class(self, name: str, schema: Schema) -> str:
        required = schema.get("required", ())
        is_request = schema.get("additionalProperties") is False
        fields = {
            field: (
                self.annotate(value, is_request=is_request),
                field in required,
                value.get("description", ""),
            )
            for field, value in schema["properties"].items()
        }
        return write_typed_dict(name, "TypedDict", schema.get("description", ""), fields)


def write_typed_dict(
    name: str, base: str, description: str, fields: Mapping[str, tuple[str, bool, str]]
) -> str:
    """Write a TypedDict of fields: their annotation, whether they are required, what they are."""
    total = all(is_required for _, is_required, _ in fields.values())
    suffix = "" if total else ", total=False"

    def annotation(field: str) -> str:
        kind, is_required, _ = fields[field]
        return f"Required[{kind}]" if is_required and not total else kind

    text = ""
    # No class can have a field `from`, or `user-agent`.
    if reserved := [field for field in fields if _identifier(field) != field.lower()]:
        parts = ", ".join(f"{field!r}: {annotation(field)!r}" for field in reserved)
        text = f"_{name} = TypedDict('_{name}', {{{parts}}}{suffix})\n\n\n"
        base = f"_{name}"
    text += f"class {name}({base}{suffix}):\n{write_docstring(description or name)}\n"
    for field in fields:
        if field not in reserved:
            text += f"    {field}: {annotation(field)}\n"
            text += write_docstring(fields[field][2]) if fields[field][2] else ""
    return text + "\n\n"


def write_docstring(text: str, indent: str = "    ") -> str:
    """Write the first sentence of a description."""
    sentence = re.split(r"(?<=\.)\s+(?=[A-Z`])", text.strip())[0].replace("\\", "\\\\")
    if sentence[-1] not in ".?!:":
        sentence += "."
    lines = textwrap.wrap(f'"""{sentence}"""', WIDTH - len(indent))
    return "".join(f"{indent}{line}\n" for line in lines)


class Operation:
    """An operation of the document, and the method that calls it."""

    def __init__(self, types: Types, method: str, path: str, operation: Schema) -> None:
        self.name: str = operation["operationId"]
        self._types = types
        self._method = method.upper()
        self._path = path
        self._operation = operation
        self._parameters: Sequence[Schema] = operation.get("parameters", ())
        self._answers = next(
            answer.get("content", {})
            for status, answer in operation["responses"].items()
            if status.startswith("2")
        )

    def _named(self, place: str) -> list[Schema]:
        return [parameter for parameter in self._parameters if parameter["in"] == place]

    @property
    def query_name(self) -> str:
        """The name of the type of the query."""
        return f"{self.name.title().replace('_', '')}Query"

    def write_query(self) -> str:
        """Write the type of the query; empty if there is no query."""
        fields = {
            parameter["name"]: (
                self._types.annotate_parameter(parameter["schema"]),
                parameter.get("required", False),
                parameter.get("description", ""),
            )
            for parameter in self._named("query")
        }
        if not fields:
            return ""
        description = f"Parameters of `{self.name}`."
        if not fields.keys() >= PAGING:
            return write_typed_dict(self.query_name, "TypedDict", description, fields)
        filters = {name: field for name, field in fields.items() if name not in PAGING}
        if not filters:
            return ""
        return write_typed_dict(self.query_name, "PageQuery", description, filters)

    def _query_annotation(self) -> str | None:
        names = {parameter["name"] for parameter in self._named("query")}
        if not names:
            return None
        return "types.PageQuery" if names == PAGING else f"types.{self.query_name}"

    def write_method(self, mode: str) -> str:
        """Write the method; the mode is "" or "async"."""
        arguments, values = ["self"], [f"method={self._method!r}", f"path={self._write_path()}"]
        names = re.findall(r"\{(\w+)\}", self._path)
        arguments += [f"{_identifier(name)}: str" for name in names]
        body_arguments, body_values = self._write_body()
        arguments += body_arguments
        values += body_values
        options, headers = [], []
        for header in self._named("header"):
            name = header["name"].lower()
            if name == "idempotency-key":
                options.append("idempotency_key: str | None = None")
                values.append("idempotency_key=make_key(idempotency_key)")
            elif name not in OWN_HEADERS:
                options.append(f"{_identifier(name)}: str | None = None")
                headers.append(f"{header['name']!r}: {_identifier(name)}")
        if headers:
            values.append(f"headers={{{', '.join(headers)}}}")
        arguments += ["*", *options] if options else []
        if query := self._query_annotation():
            arguments.append(f"**query: Unpack[{query}]")
            values.append("query=query")
        kind, answer, is_lazy = self._answer()
        if answer != "json" and not is_lazy:
            values.append(f"answer={answer!r}")
        call = f"Call{'[None]' if answer == 'none' else ''}({', '.join(values)})"
        word, wait = ("async ", "await ") if mode == "async" and not is_lazy else ("", "")
        if is_lazy:
            kind = f"Async{kind}" if mode == "async" else kind
            result = f"{kind.partition('[')[0]}(self, {call})"
        else:
            result = f"{wait}self.call({call})"
        if answer != "none":
            result = f"return {result}"
        return (
            f"    {word}def {self.name}({', '.join(arguments)}) -> {kind}:\n"
            f"{self._write_docstring()}"
            f"        {result}\n\n"
        )

    def _write_docstring(self) -> str:
        summary = self._operation.get("summary", self.name)
        description = self._operation.get("description", summary).partition("\n\n")[0]
        text = write_docstring(" ".join(description.split()), " " * 8)
        is_line = text.count("\n") == 1
        return text if is_line else write_docstring(summary, " " * 8)

    def _write_path(self) -> str:
        path = re.sub(
            r"\{(\w+)\}",
            lambda match: f"{{quote_path({_identifier(match[1])})}}",
            self._path,
        )
        return f'{"f" if path != self._path else ""}"{path}"'

    def _write_body(self) -> tuple[list[str], list[str]]:
        body = self._operation.get("requestBody")
        if body is None:
            return [], []
        content = body["content"]
        if JSON not in content:
            kind = next(iter(content))
            return ["body: bytes"], ["content=body", f"content_type={kind!r}"]
        annotation = self._types.annotate(content[JSON]["schema"], is_request=True, prefix="types.")
        annotation = "object" if annotation == "Any" else annotation
        if not body.get("required"):
            annotation = f"{annotation.removesuffix(' | None')} | None = None"
        return [f"body: {annotation}"], ["json=body"]

    def _answer(self) -> tuple[str, str, bool]:
        """Return the type of the answer, how to read it, and whether it arrives in parts."""
        if not self._answers:
            return "None", "none", False
        if JSON in self._answers:
            schema = self._answers[JSON].get("schema", {})
            if (item := self._types.page_item(schema)) is not None:
                return f"Listing[types.{item}]", "json", True
            return self._types.annotate(schema, prefix="types."), "json", False
        kind = next(iter(self._answers))
        if kind == "text/event-stream":
            return "EventStream", "text", True
        is_text = kind.startswith("text/") or kind == "application/jsonl"
        if is_text and self._method == "GET" and kind != "text/plain":
            return "Lines", "text", True
        return ("str", "text", False) if is_text else ("bytes", "bytes", False)


def _ref_name(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _class_name(name: str) -> str:
    """Return the name of a schema's class; FastAPI calls some `Message-Input`."""
    return re.sub(r"\W", "", name)


def _is_defined(schema: Schema) -> bool:
    return "properties" in schema or "enum" in schema


def _identifier(name: str) -> str:
    """Return a name as Python allows it."""
    word = re.sub(r"\W", "_", name).lower()
    return f"{word}_" if keyword.iskeyword(word) else word


TYPES_HEAD: Final = '''"""Define the types of requests and answers; `/docs` explains each.

A request has the fields that you set; an answer has every field. Times in answers are texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Required, TypedDict

'''
PAGE_QUERY: Final = '''class PageQuery(TypedDict, total=False):
    """Parameters of a list: the size of a page, and the page to begin with."""

    limit: int
    cursor: str | None


'''
OPERATIONS_HEAD: Final = '''"""Define a method for each operation of the API."""

from typing import Unpack

from heloise_client import types
from heloise_client.calls import Call, make_key, quote_path
from heloise_client.connection import AsyncConnection, Connection
from heloise_client.listings import (
    AsyncEventStream,
    AsyncLines,
    AsyncListing,
    EventStream,
    Lines,
    Listing,
)

'''


def generate(document: Schema) -> dict[str, str]:
    """Return the text of each module that the document makes."""
    types = Types(document)
    operations = [
        Operation(types, method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    queries = [operation.write_query() for operation in operations]
    type_text = HEADER + TYPES_HEAD + "".join([*types.write(), PAGE_QUERY, *queries])
    methods = HEADER + OPERATIONS_HEAD
    for mode, prefix, doc in (
        ("", "", "The client of a service."),
        ("async", "Async", "The client of a service, for asyncio."),
    ):
        methods += f'\n\nclass {prefix}Heloise({prefix}Connection):\n    """{doc}"""\n\n'
        methods += "".join(operation.write_method(mode) for operation in operations)
    return {"types.py": _format(type_text), "operations.py": _format(methods)}


def _format(text: str) -> str:
    """Format a module as `make fmt` does."""
    ruff = Path(sys.executable).parent / "ruff"
    result = subprocess.run(  # noqa: S603 - our own tool
        [ruff, "format", "--stdin-filename", PACKAGE / "generated.py", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def read_document() -> Schema:
    """Return the OpenAPI document of the service in this folder."""
    app = FastAPI(**OPENAPI_KWARGS)
    for router in [*routers, *admin_routers]:
        app.router.routes.extend(router.routes)
    return build_document(app)


def main() -> None:
    """Write the modules."""
    for name, text in generate(read_document()).items():
        (PACKAGE / name).write_text(text)


if __name__ == "__main__":
    main()
