"""What bodies share: strictness, and the types of their fields.

No message of a check quotes a value that may be secret.
"""

import re
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.domain.addresses import make_mailbox, parse_mailbox
from app.domain.ehlo import parse_ehlo_name
from app.domain.errors import FieldError, InvalidRequest
from app.domain.ids import Prefix, is_id
from app.domain.types import Mailbox

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NEEDS_QUOTES: Final = re.compile(r'[()<>\[\]:;@\\,."]')
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# What profiles and templates are called by.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_NAMED_FIELDS: Final = 30
MAX_KEY_CHARACTERS: Final = 60


class Answer(BaseModel):
    """An answer or part of one; it is built when it is first used.

    There are a hundred, of which most processes need few.
    """

    model_config = ConfigDict(defer_build=True)


class Body(BaseModel):
    """A request's body or part of one: an unknown field is refused, never ignored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        known = _known(cls)
        if not given.keys() <= known.keys():
            unknown = [str(key) for key in given if key not in known]
            raise ValidationError.from_exception_data(
                cls.__name__, [_unknown(key, list(known)) for key in unknown[:MAX_NAMED_FIELDS]]
            )
        return given


@cache
def _known(body: type[Body]) -> dict[str, None]:
    """The names of a body's fields, in order."""
    return {info.alias or name: None for name, info in body.model_fields.items()}


def _unknown(key: str, known: list[str]) -> InitErrorDetails:
    likely = get_close_matches(key[:MAX_KEY_CHARACTERS], known, n=1)
    hint = f"did you mean {likely[0]!r}?" if likely else f"known here are {', '.join(known)}"
    kind = PydanticCustomError("extra_forbidden", "unknown field: {hint}", {"hint": hint})
    return InitErrorDetails(type=kind, loc=(key,), input=None)


def _storable(text: str) -> str:
    # A pattern looks at every character; these two are as fast as memory for what is usual.
    if "\0" in text or not (text.isascii() or _UNSTORABLE.search(text) is None):
        raise ValueError("it holds a NUL or half a surrogate pair; leave such characters out")
    return text


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("it holds a line break or another control character; leave them out")
    return text


def check_name(name: str, *, prefix: Prefix) -> str:
    """A name that is no id of its kind; raises ValueError."""
    if NAME.fullmatch(name) is None:
        raise ValueError("write 1 to 100 of letters, digits and `._-`, a letter or digit first")
    if is_id(name, prefix):
        raise ValueError("it looks like an id; choose a name")
    return name


def check_nulls(body: BaseModel, may_be_null: AbstractSet[str] = frozenset()) -> None:
    """Raise InvalidRequest where null is given for a field that cannot be without a value."""
    given = body.model_fields_set - may_be_null
    nulls = sorted(name for name in given if getattr(body, name) is None)
    if nulls:
        msg = "null is no value for this; leave it out to keep it as it is"
        wrong = [FieldError(("body", name), msg) for name in nulls]
        raise InvalidRequest(f"{nulls[0]}: {msg}", wrong)


def _storable_secret(secret: SecretStr) -> SecretStr:
    _storable(secret.get_secret_value())
    return secret


def _dated(given: object) -> object:
    """A number, in a string too, would be taken for seconds since 1970, which nobody means."""
    if isinstance(given, str | int | float) and _DATE.match(str(given)) is None:
        raise ValueError("write a time with its zone, such as 2026-01-16T09:30:00Z (RFC 3339)")
    return given


def _to_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("it is out of range") from None


Line = Annotated[str, AfterValidator(_one_line)]
Text = Annotated[str, AfterValidator(_storable)]
Secret = Annotated[SecretStr, AfterValidator(_storable_secret)]
Instant = Annotated[AwareDatetime, BeforeValidator(_dated), AfterValidator(_to_utc)]
EhloName = Annotated[
    str,
    Field(max_length=255, examples=["mail.example.com"]),
    AfterValidator(parse_ehlo_name),
]


class AddressObject(Body):
    """An address in two parts."""

    email: str = Field(max_length=320, examples=["bob@example.org"])
    name: str = Field(default="", max_length=500, examples=["Bob"])


def _mailbox(value: object) -> Mailbox:
    if isinstance(value, Mailbox):
        return value
    if isinstance(value, str):
        return parse_mailbox(value)
    if isinstance(value, dict):
        given = AddressObject.model_validate(value)
        return make_mailbox(given.email, given.name)
    raise PydanticCustomError(
        "address_type", 'write "a@b.example", "Name <a@b.example>" or {"email", "name"}'
    )


def format_mailbox(mailbox: Mailbox) -> str:
    """`a@b` or `Name <a@b>`, the name in its own script, quoted where it must be (RFC 5322 3.4)."""
    if not mailbox.name:
        return mailbox.address
    name = mailbox.name
    if _NEEDS_QUOTES.search(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{mailbox.address}>"


_FORMS: Final[Any] = str | AddressObject
Address = Annotated[
    Mailbox,
    PlainValidator(_mailbox, json_schema_input_type=_FORMS),
    PlainSerializer(format_mailbox, return_type=str),
]
