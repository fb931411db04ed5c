"""Read rows, and map dataclasses to them by the names of fields and columns."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import RowMapping, Select, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound

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


async def get_row(
    connection: AsyncConnection,
    query: Select[Any],
    noun: str,
    name: str,
    *,
    for_update: bool = False,
) -> RowMapping:
    """Return the row of a query, locked with `for_update`; raise NotFound for this name."""
    if for_update:
        query = query.with_for_update()
    row: RowMapping | None = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound(noun, name)
    return row


async def group_rows(
    connection: AsyncConnection,
    query: Select[Any],
    column: str,
    build: Callable[[RowMapping], Value],
) -> dict[str, tuple[Value, ...]]:
    """Return what is built from the rows of a query, by the column that sorts them first."""
    rows = (await connection.execute(query)).mappings()
    return {key: tuple(map(build, group)) for key, group in groupby(rows, key=itemgetter(column))}
