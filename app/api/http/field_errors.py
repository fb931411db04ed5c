"""Turn validation errors into a problem that names each invalid value."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from app.domain.errors import FieldError, InvalidRequest

MAX_LOC_CHARACTERS: Final = 100
Body = TypeVar("Body", bound=BaseModel)


def build_field_error(item: Mapping[str, Any]) -> FieldError:
    """Convert a Pydantic error to a FieldError that quotes no value."""
    loc, kind = tuple(item["loc"]), str(item["type"])
    if kind == "json_invalid":
        return FieldError(loc, str(item.get("ctx", {}).get("error", "ends too early")), kind)
    if kind == "missing":
        return FieldError(loc, _describe_missing(loc), kind)
    if kind in {"too_long", "too_short"}:
        return FieldError(loc, _describe_length(kind, item["ctx"]), kind)
    return FieldError(loc, str(item["msg"]).removeprefix("Value error, "), kind)


def validate_body(model: type[Body], value: object) -> Body:
    """Validate a body, or a part of one, outside FastAPI; raises InvalidRequest."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    raise build_invalid_request(
        [build_field_error({**detail, "loc": ("body", *detail["loc"])}) for detail in details]
    )


def _describe_length(kind: str, details: Mapping[str, Any]) -> str:
    # Pydantic calls a string that a validator returned a "Value" and counts its "items".
    unit = "characters" if details["field_type"] == "Value" else "items"
    bound = (
        f"most {details['max_length']}" if kind == "too_long" else f"least {details['min_length']}"
    )
    actual = details["actual_length"]  # None of an object
    return f"write at {bound} {unit}" + ("" if actual is None else f", not {actual}")


def _describe_missing(loc: Sequence[str | int]) -> str:
    return "send a JSON object as the body" if loc == ("body",) else "required"


def build_invalid_request(errors: Sequence[FieldError]) -> InvalidRequest:
    """Build a problem with all errors. Its `detail` names the first."""
    place = ".".join(str(part)[:MAX_LOC_CHARACTERS] for part in errors[0].loc)
    detail = f"{place}: {errors[0].msg}"
    if len(errors) > 1:
        detail = f"{len(errors)} values are invalid; the first is {detail}"
    return InvalidRequest(detail, errors)
