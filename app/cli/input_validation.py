"""Validate command-line input with the API's request models."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.domain.errors import FieldError, InvalidRequest

Body = TypeVar("Body", bound=BaseModel)


def validate_body(model: type[Body], fields: object) -> Body:
    """Validate a body. Raises InvalidRequest with the invalid fields, without their values."""
    try:
        return model.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
    # Raised outside `except`: the context would contain the ValidationError with the values.
    raise _make_refusal(_list_errors(details))


@contextmanager
def validation_errors() -> Iterator[None]:
    """Report the API's refusals of a body like `validate_body`."""
    try:
        yield
    except InvalidRequest as error:
        errors = error.errors
    else:
        return
    raise _make_refusal(errors)


def _list_errors(details: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    return [
        FieldError(tuple(item["loc"]), item["msg"].removeprefix("Value error, "), item["type"])
        for item in details
    ]


def _make_refusal(errors: Iterable[FieldError]) -> InvalidRequest:
    """Build the refusal, with field locations as in the input."""
    fields = [
        FieldError(
            error.loc[1:] if error.loc[:1] == ("body",) else error.loc, error.msg, error.type
        )
        for error in errors
    ]
    return InvalidRequest("Invalid input:", fields)


def read_json(path: Path) -> object:
    """Read JSON from a file, or from stdin for `-`. Raises InvalidRequest."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        reason = f"{path} is not JSON: {error.msg} at {place}."
    # Raised outside `except`: the context would contain the text, which may contain a password.
    raise InvalidRequest(reason)


def read_text(path: Path) -> str:
    """Read text from a file, or from stdin for `-`. Raises InvalidRequest."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8 text.") from None
