"""Define the base classes of JSON bodies and common field types.

Error messages never quote a value that may be secret.
"""

import re
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Final, Self, Unpack, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from app.domain.address.parse import (
    format_named_address,
    make_named_address,
    parse_named_address,
)
from app.domain.ehlo import parse_ehlo_name
from app.domain.errors import FieldError, InvalidRequest
from app.domain.ids import Prefix, is_id
from app.domain.types import NamedAddress

SOURCE: Final = (
    "How the message reached Heloise: by this API, by SMTP, by the Resend-compatible API or by the"
    " command line. `notice`: Heloise wrote it, because a profile of the tenant fails or recovers."
    " Null: an earlier version of Heloise accepted the message."
)
KEY_ID: Final = (
    "The id of the API key that sent it, or `admin:` and the name of an admin key. It stays after"
    " the key is revoked. Null for a `notice`, and like `source`."
)
REQUEST_ID: Final = (
    "The id of the request that sent it, as in the header `X-Request-ID`, or of the SMTP session."
    " Null like `source`, and for a message of the command line."
)
CLIENT_ADDRESS: Final = (
    "The IP address of the client that sent it. Heloise deletes it with the content. Null without"
    " HELOISE_STORE_CLIENT_ADDRESSES, and for a message of the command line or a `notice`."
)
TRACE_ID: Final = (
    "The id of its trace, from the header `traceparent` of the request or from Heloise's own"
    " tracing. Null without a trace."
)
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# An unescaped + in a URL becomes a blank.
_UNESCAPED: Final = re.compile(r" \d\d:?\d\d\Z", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# Names of profiles and templates.
NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCALE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")  # RFC 5646 section 2.1, roughly
MAX_NAMED_FIELDS: Final = 30
# Schema keywords that describe the field rather than its value.
ANNOTATION_KEYS: Final = frozenset({"title", "description", "default", "examples"})
MAX_KEY_CHARACTERS: Final = 60


class ResponseModel(BaseModel):
    """An answer or part of one, built when it is first used."""

    model_config = ConfigDict(defer_build=True, from_attributes=True)

    @classmethod
    def build(cls, *sources: object, **values: Any) -> Self:  # noqa: ANN401 - the fields' types
        """Build from `values`, and other fields from the first source with that attribute."""
        for name in cls.model_fields.keys() - values.keys():
            for source in sources:
                if hasattr(source, name):
                    values[name] = getattr(source, name)
                    break
        return cls(**values)


class RequestModel(BaseModel):
    """A request's body or part of one: an unknown field is refused, never ignored.

    It is built when it is first used, as most processes need few of them.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: object) -> object:
        """Drop nulls of fields that are not nullable, so that null means omitted.

        Many languages serialize an omitted field as null.
        """
        if not isinstance(value, dict):
            return value
        fields = _map_droppable_fields(cls)
        if not value.keys() <= fields.keys():
            unknown_keys = [str(key) for key in value if key not in fields]
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    _build_unknown_field_error(key, list(fields))
                    for key in unknown_keys[:MAX_NAMED_FIELDS]
                ],
            )
        if None not in value.values():
            return value
        return {
            key: field_value
            for key, field_value in value.items()
            if field_value is not None or not fields[key]
        }

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        if handler.mode == "validation":
            properties = handler.resolve_ref_schema(schema).get("properties", {})
            for name, is_droppable in _map_droppable_fields(cls).items():
                if is_droppable and name in properties:
                    properties[name] = _add_null(properties[name])
        return schema


class Patch(RequestModel):
    """Changes to an object: every field of the model `of`, each of which may be left out.

    A subclass declares only the fields that have another type than in `of`.
    """

    def __init_subclass__(cls, *, of: type[RequestModel], **options: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(**options)
        declared, types = cls.__annotations__, get_type_hints(of, include_extras=True)
        derived = {name: types[name] for name in of.model_fields if name not in declared}
        for name, kind in derived.items():
            derived[name] = kind if _takes_null(kind) else kind | None
            setattr(cls, name, None)
        fields = declared | derived
        cls.__annotations__ = {name: fields[name] for name in of.model_fields | declared}


def _takes_null(kind: Any) -> bool:  # noqa: ANN401 - a type as pydantic has it
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return type(None) in get_args(plain)


@cache
def _map_droppable_fields(body: type[RequestModel]) -> dict[str, bool]:
    """Map each field name to whether null means omitted."""
    return {
        info.alias or name: not info.is_required() and type(None) not in get_args(info.annotation)
        for name, info in body.model_fields.items()
    }


def _add_null(schema: dict[str, Any]) -> dict[str, Any]:
    annotations = {name: schema[name] for name in schema if name in ANNOTATION_KEYS}
    type_schema = {name: value for name, value in schema.items() if name not in ANNOTATION_KEYS}
    alternatives = type_schema["anyOf"] if type_schema.keys() == {"anyOf"} else [type_schema]
    return {"anyOf": [*alternatives, {"type": "null"}], **annotations}


def _build_unknown_field_error(key: str, field_names: list[str]) -> InitErrorDetails:
    matches = get_close_matches(key[:MAX_KEY_CHARACTERS], field_names, n=1)
    hint = (
        f"did you mean {matches[0]!r}?" if matches else f"known fields are {', '.join(field_names)}"
    )
    kind = PydanticCustomError("extra_forbidden", "unknown field: {hint}", {"hint": hint})
    return InitErrorDetails(type=kind, loc=(key,), input=None)


def _check_storable(text: str) -> str:
    # Searching for NUL and testing for ASCII are much faster than a pattern.
    if "\0" in text or not (text.isascii() or _UNSTORABLE.search(text) is None):
        raise ValueError("contains a NUL or a lone surrogate; leave such characters out")
    return text


def _check_one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("contains a line break or another control character; leave them out")
    return text


def check_name(name: str, *, prefix: Prefix) -> str:
    """Return the name if it is valid and not an id; raises ValueError."""
    if NAME_PATTERN.fullmatch(name) is None:
        raise ValueError(
            "write 1 to 100 letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        )
    if is_id(name, prefix):
        raise ValueError("looks like an id; choose another name")
    return name


def _check_locale(tag: str) -> str:
    if _LOCALE.fullmatch(tag) is None:
        raise ValueError("write a language tag such as de or de-AT")
    return tag


def check_nulls(body: BaseModel, may_be_null: AbstractSet[str] = frozenset()) -> None:
    """Raise InvalidRequest if a field that is not nullable is null."""
    set_fields = body.model_fields_set - may_be_null
    nulls = sorted(name for name in set_fields if getattr(body, name) is None)
    if nulls:
        msg = "this field cannot be null; leave it out to keep its value"
        errors = [FieldError(("body", name), msg) for name in nulls]
        raise InvalidRequest(f"{nulls[0]}: {msg}", errors)


def _check_storable_secret(secret: SecretStr) -> SecretStr:
    _check_storable(secret.get_secret_value())
    return secret


def _check_date(value: object) -> object:
    """Reject numbers, which Pydantic reads as seconds since 1970."""
    if isinstance(value, str) and _UNESCAPED.search(value):
        raise ValueError("has a blank before its offset; in a URL write + as %2B: %2B01:00")
    if isinstance(value, str | int | float) and _DATE.match(str(value)) is None:
        raise ValueError("write a time with an offset, such as 2026-01-16T09:30:00Z (RFC 3339)")
    return value


def _to_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("out of range") from None


Line = Annotated[str, AfterValidator(_check_one_line)]
Text = Annotated[str, AfterValidator(_check_storable)]
Secret = Annotated[SecretStr, AfterValidator(_check_storable_secret)]
Instant = Annotated[AwareDatetime, BeforeValidator(_check_date), AfterValidator(_to_utc)]
Locale = Annotated[Line, Field(max_length=35, examples=["de-AT"]), AfterValidator(_check_locale)]
EhloName = Annotated[
    str,
    Field(max_length=255, examples=["mail.example.com"]),
    AfterValidator(parse_ehlo_name),
]


class AddressObject(RequestModel):
    """An address and a display name."""

    email: str = Field(max_length=320, examples=["bob@example.org"])
    name: str = Field(default="", max_length=500, examples=["Bob"])


def _parse_named_address(value: object) -> NamedAddress:
    if isinstance(value, NamedAddress):
        return value
    if isinstance(value, str):
        return parse_named_address(value)
    if isinstance(value, dict):
        address = AddressObject.model_validate(value)
        return make_named_address(address.email, address.name)
    raise PydanticCustomError(
        "address_type", 'write "a@b.example", "Name <a@b.example>" or {"email", "name"}'
    )


def allow_single(kind: Any) -> BeforeValidator:  # noqa: ANN401 - a type as pydantic has it
    """Accept a single item in place of a list."""
    return BeforeValidator(_wrap_in_list, json_schema_input_type=kind | list[kind])


def _wrap_in_list(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


_FORMS: Final[Any] = str | AddressObject
Address = Annotated[
    NamedAddress,
    PlainValidator(_parse_named_address, json_schema_input_type=_FORMS),
    PlainSerializer(format_named_address, return_type=str),
]
