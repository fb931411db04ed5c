"""Present JSON values to templates, without exposing Python objects.

Objects have only their keys. Templates can call a Python method, such as `items` or `upper`, unless
a key has its name; a method is not a value and cannot be printed. Templates print text, numbers and
JSON; null prints nothing.
"""

import json
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined
from jinja2.environment import TemplateModule
from jinja2.runtime import LoopContext
from markupsafe import Markup


class Null:
    """JSON's null: prints nothing, and equals `none`."""

    __slots__ = ()
    __hash__ = None.__hash__

    def __str__(self) -> str:
        return ""

    __html__ = __str__

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or other is self


NULL: Final = Null()

# The types of JSON, and Markup, which is text. Subclasses do not count.
TYPE_NAMES: Final[Mapping[type, str]] = {
    dict: "this object",
    list: "this list",
    str: "this text",
    Markup: "this text",
    int: "this number",
    float: "this number",
    bool: "true or false",
    Null: "null",
}

# Methods, filters and functions return these instead of lists.
ITERABLES: Final = (Iterator, ItemsView, KeysView, ValuesView, range)


class Method(StrictUndefined):
    """A method of a JSON value: it can be called, and is undefined otherwise."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any], hint: str) -> None:
        super().__init__(hint)
        self.function = function


def is_null(value: object) -> bool:
    """Whether the value is null, or the `none` of templates."""
    return value is None or value is NULL


def from_json(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Convert a JSON value for templates: NULL replaces None."""
    if value is None:
        return NULL
    if isinstance(value, dict):
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return value


def to_json(value: object, **options: Any) -> str:  # noqa: ANN401 - json's own
    """Convert a value to JSON, with the options of `json.dumps`."""
    return json.dumps(value, default=_convert, **options)


def format_value(value: Any) -> str:  # noqa: ANN401 - whatever a template prints
    """Convert to what `{{ value }}` prints. Raises TemplateRuntimeError for other types."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Undefined):  # Undefined raises
        return str(value)
    if isinstance(value, TemplateModule):
        return Markup(value)  # noqa: S704 - what the other template has made and escaped
    return "" if is_null(value) else to_json(value, ensure_ascii=False)


def _convert(value: object) -> object:
    if value is NULL:
        return None
    if isinstance(value, ITERABLES) and not isinstance(value, LoopContext):
        return list(value)
    raise TemplateRuntimeError(
        "cannot print this: it is neither text nor a value; print a variable"
    )
