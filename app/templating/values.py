"""Present JSON values to templates, without exposing Python objects.

A key is all that an object has. A method of Python's, such as `items` or `upper`, can be called
where no key has its name; it is no value and cannot be printed. What is printed is text, a number,
or JSON; null is nothing.
"""

import json
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined
from jinja2.environment import TemplateModule
from jinja2.runtime import LoopContext
from markupsafe import Markup


class Null:
    """JSON's null: nothing, in whatever text it is put. Equal to `none`."""

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

# What JSON has, and Markup, which is text; exactly these types, not what is derived from them.
KINDS: Final[Mapping[type, str]] = {
    dict: "this object",
    list: "this list",
    str: "this text",
    Markup: "this text",
    int: "this number",
    float: "this number",
    bool: "true or false",
    Null: "null",
}

# What methods, filters and functions give in place of lists.
LISTED: Final = (Iterator, ItemsView, KeysView, ValuesView, range)


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
    """A value as JSON, `ensure_ascii` and the like as `json.dumps` has them."""
    return json.dumps(value, default=_convert, **options)


def format_value(value: Any) -> str:  # noqa: ANN401 - whatever a template prints
    """Convert to what `{{ value }}` prints. Raises TemplateRuntimeError for other types."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Undefined):  # which raises
        return str(value)
    if isinstance(value, TemplateModule):
        return Markup(value)  # noqa: S704 - what the other template has made and escaped
    return "" if is_null(value) else to_json(value, ensure_ascii=False)


def _convert(value: object) -> object:
    if value is NULL:
        return None
    if isinstance(value, LISTED) and not isinstance(value, LoopContext):
        return list(value)
    raise TemplateRuntimeError("cannot print this: it is neither text nor a value")
