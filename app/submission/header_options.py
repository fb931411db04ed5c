"""Read the options that a client sets in header fields.

They are taken out of the message before it is stored, as Bcc is.
"""

import json
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from app.api.http.field_errors import build_field_error
from app.api.http.fields import Instant, RequestModel, Text
from app.api.messages.idempotency import MAX_CHARACTERS, PATTERN
from app.api.messages.schemas import MAX_TAGS, Metadata, Tag, Variables
from app.domain.errors import InvalidRequest
from app.domain.mime.header_reader import Header, decode_words
from app.domain.trace_context import parse_traceparent
from app.domain.types import Guarantee, Priority

PREFIX: Final = "x-heloise-"
IDEMPOTENCY_KEY: Final = "idempotency-key"


def _split_tags(value: object) -> object:
    return [tag.strip() for tag in value.split(",")] if isinstance(value, str) else value


def _parse_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parsed: object = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('write a JSON object such as {"order": "42"}') from None
    return parsed


def _parse_traceparent(value: object) -> object:
    """Ignore a malformed value, as over HTTP: a trace holds no mail up."""
    return (
        parse_traceparent(value.strip().encode("ascii", "replace"))
        if isinstance(value, str)
        else value
    )


def _name_header_field(option: str) -> str:
    return PREFIX + option.replace("_", "-")


class Options(RequestModel):
    """The options of one message: `send_at` is the header field `X-Heloise-Send-At`."""

    model_config = ConfigDict(alias_generator=_name_header_field)

    idempotency_key: str | None = Field(
        default=None,
        alias=IDEMPOTENCY_KEY,
        min_length=1,
        max_length=MAX_CHARACTERS,
        pattern=PATTERN,
    )
    profile: Text | None = Field(default=None, max_length=100)
    tags: Annotated[list[Tag], BeforeValidator(_split_tags)] = Field(
        default_factory=list, max_length=MAX_TAGS
    )
    metadata: Annotated[Metadata, BeforeValidator(_parse_json)] = Field(default_factory=dict)
    send_at: Instant | None = None
    traceparent: Annotated[str | None, BeforeValidator(_parse_traceparent)] = None
    priority: Priority = Priority.NORMAL
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    sensitive: bool = False
    template: Text | None = Field(default=None, max_length=100)
    variables: Annotated[Variables, BeforeValidator(_parse_json)] = Field(default_factory=dict)


def is_option(name: str) -> bool:
    """Whether a header field, its name in lower case, is an option."""
    return name == IDEMPOTENCY_KEY or name.startswith(PREFIX)


def read_options(header: Header) -> Options:
    """Return the options in a header; raises InvalidRequest."""
    values = dict[str, Any]()
    for name in filter(is_option, header.values):
        value, *repetitions = header.values[name]
        if repetitions:
            raise InvalidRequest(f"{name.title()}: stands twice in the header; write it once")
        values[name] = decode_words(value)
    if "x-heloise-variables" in values and "x-heloise-template" not in values:
        raise InvalidRequest("X-Heloise-Variables: set X-Heloise-Template too, or leave it out")
    try:
        return Options.model_validate(values)
    except ValidationError as error:
        raise first_error(error) from None


def first_error(error: ValidationError) -> InvalidRequest:
    """Return a problem that names the first invalid field."""
    first = build_field_error(error.errors(include_url=False, include_input=False)[0])
    return InvalidRequest(f"{'.'.join(map(str, first.loc)).title()}: {first.msg}")
