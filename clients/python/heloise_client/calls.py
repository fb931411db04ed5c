"""Describe requests and parse answers, without I/O."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

import httpx2

from heloise_client.errors import ApiError

T = TypeVar("T")
Item = TypeVar("Item")

Answer = Literal["json", "text", "bytes", "none"]

quote_path: Final = partial(quote, safe="")


class Page(TypedDict, Generic[Item]):
    """A page of a list. Pass `next_cursor` as `cursor` to get the next one."""

    items: list[Item]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """A request whose answer is a T."""

    method: str
    path: str
    query: Mapping[str, object] | None = None
    headers: Mapping[str, str | None] | None = None
    json: object = None
    content: bytes | None = None
    content_type: str = "application/json"
    idempotency_key: str | None = None
    answer: Answer = "json"

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice has the same effect as sending it once."""
        return self.method in {"GET", "PUT", "DELETE"} or self.idempotency_key is not None

    def encode_body(self) -> bytes | None:
        """Return the body: the content, or the JSON."""
        if self.json is None:
            return self.content
        return json.dumps(self.json, ensure_ascii=False, default=_encode_value).encode()

    def encode_query(self) -> list[tuple[str, str | int | float | bool | None]]:
        """Return the parameters that are set, one for each value of a list."""
        return [
            (name, _encode_parameter(value))
            for name, values in (self.query or {}).items()
            for value in _as_list(values)
            if value is not None
        ]

    def encode_headers(self) -> dict[str, str]:
        """Return the headers that are set."""
        headers = {name: value for name, value in (self.headers or {}).items() if value is not None}
        if self.json is not None or self.content is not None:
            headers["Content-Type"] = self.content_type
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        return headers

    def parse(self, response: httpx2.Response) -> T:
        """Return the answer of a successful response."""
        return cast("T", self._parse(response))

    def _parse(self, response: httpx2.Response) -> object:
        match self.answer:
            case "none":
                return None
            case "text":
                return response.text
            case "bytes":
                return response.content
            case "json":
                return _parse_json(response)


def make_key(key: str | None) -> str:
    """Return the caller's idempotency key, or a new one."""
    return key or str(uuid4())


def read_problem(response: httpx2.Response) -> dict[str, Any]:
    """Return the problem of an error response; empty where a proxy answered something else."""
    try:
        problem = response.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", problem) if isinstance(problem, dict) else {}


def is_gone(call: Call[Any], response: httpx2.Response) -> bool:
    """Whether a deletion found nothing to delete."""
    is_missing = response.status_code == HTTPStatus.NOT_FOUND
    return is_missing and call.method == "DELETE" and call.answer == "none"


def _parse_json(response: httpx2.Response) -> object:
    try:
        return response.json()
    except ValueError:
        problem = {"detail": f"{response.url} did not answer JSON: is it Heloise's URL?"}
        raise ApiError(response.status_code, problem) from None


def _as_list(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else [value]


def _encode_value(value: object) -> object:
    """Encode what JSON does not have."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    raise TypeError(f"{value!r} is no JSON value; write a str, number, bool, list or dict")


def _encode_parameter(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)
