"""What validators find wrong, as the problem that names each wrong value."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.domain.errors import FieldError, InvalidRequest

MAX_LOC_CHARACTERS: Final = 100


def field_error(item: Mapping[str, Any]) -> FieldError:
    """What a validator found wrong, in words that quote no value."""
    loc, kind = tuple(item["loc"]), str(item["type"])
    if kind == "json_invalid":
        return FieldError(loc, str(item.get("ctx", {}).get("error", "it ends too early")), kind)
    if kind == "missing":
        return FieldError(loc, _missing(loc), kind)
    return FieldError(loc, str(item["msg"]).removeprefix("Value error, "), kind)


def _missing(loc: Sequence[str | int]) -> str:
    return "send a JSON object as the body" if loc == ("body",) else "this is required"


def invalid(wrong: Sequence[FieldError]) -> InvalidRequest:
    """The problem that names each wrong value, and in its `detail` the first."""
    place = ".".join(str(part)[:MAX_LOC_CHARACTERS] for part in wrong[0].loc)
    detail = f"{place}: {wrong[0].msg}"
    if len(wrong) > 1:
        detail = f"{len(wrong)} values are wrong; the first is {detail}"
    return InvalidRequest(detail, wrong)
