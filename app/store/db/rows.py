"""Map dataclasses to rows by the names that fields and columns have in common."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Table

Value = TypeVar("Value")


def to_row(value: object, table: Table) -> dict[str, Any]:
    """Return the fields of a dataclass that are columns of the table."""
    return {name: getattr(value, name) for name in _list_fields(type(value)) if name in table.c}


def from_row(kind: type[Value], row: Mapping[Any, Any], /, **values: object) -> Value:
    """Build a dataclass from `values`, and from a row's columns for other fields."""
    names = [name for name in _list_fields(kind) if name not in values]
    return kind(**{name: row[name] for name in names}, **values)


def _list_fields(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
