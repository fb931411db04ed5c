"""Pass lists as single parameters, so that statements compile once."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Boolean,
    ColumnClause,
    ColumnElement,
    Dialect,
    Text,
    bindparam,
    cast,
    column,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeDecorator, TypeEngine

from app.store.db.expressions import DialectExpression


class _Texts(TypeDecorator[list[str]]):
    """A list of texts as one parameter: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(ARRAY(Text()))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Iterable[str] | None, dialect: Dialect) -> object:
        texts = list(value or ())
        return texts if dialect.name == "postgresql" else to_json(texts).decode()


class _AnyOf(DialectExpression[bool]):
    type = Boolean()
    inherit_cache = True
    sqlite = "{0} IN (SELECT value FROM json_each({1}))"
    postgresql = "{0} = ANY ({1})"

    def self_group(self, against: object = None) -> Self:  # noqa: ARG002 - SQLAlchemy's own signature
        """Add no parentheses: SQLite would append `= 1` and use no index."""
        return self


def any_of(column: ColumnElement[str], parameter: str) -> ColumnElement[bool]:
    """Build the condition that a column has one of the texts in a parameter."""
    return _AnyOf(column, bindparam(parameter, type_=_Texts()))


class _Unnest(DialectExpression[str]):
    type = Text()
    name = "each"
    inherit_cache = True
    sqlite = "json_each({0})"
    postgresql = "(SELECT unnest({0}) AS value)"


def unnest(parameter: str) -> TableValuedAlias:
    """Build a table from the texts in a parameter; its column is `value`."""
    return _Unnest(bindparam(parameter, type_=_Texts())).table_valued(column("value", Text()))


class _Pairs(TypeDecorator[Mapping[str, Iterable[str]]]):
    """Texts by text as one parameter: a JSON object `{value: key, ...}`, its names not unique.

    SQLite reads a member of an object in a quarter of the time of an array in an array.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str:  # noqa: ARG002 - as above
        assert isinstance(value, Mapping)  # noqa: S101 - its callers pass one
        members = (to_json(dict.fromkeys(texts, key))[1:-1] for key, texts in value.items())
        return f"{{{b','.join(members).decode()}}}"


class _UnnestPairs(DialectExpression[str]):
    type = Text()
    name = "each_pair"
    inherit_cache = True
    sqlite = "(SELECT value AS first, key AS second FROM json_each({0}))"
    postgresql = "(SELECT value AS first, key AS second FROM json_each_text(CAST({0} AS JSON)))"


def unnest_pairs(parameter: str) -> TableValuedAlias:
    """Build a table from texts by text in a parameter: `first` is the key, `second` its text."""
    columns = (column(name, Text()) for name in ("first", "second"))
    return _UnnestPairs(bindparam(parameter, type_=_Pairs())).table_valued(*columns)


class _Records(TypeDecorator[Iterable[Mapping[str, Any]]]):
    """Rows as one JSON parameter."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str:  # noqa: ARG002 - as above
        return to_json(value).decode()


def unnest_records(parameter: str, *columns: ColumnClause[Any]) -> TableValuedAlias:
    """Build a table from the rows in a parameter, which map names to values; PostgreSQL only."""
    records = cast(bindparam(parameter, type_=_Records()), JSON)
    return func.json_to_recordset(records).table_valued(*columns).render_derived(with_types=True)


def expect_few(key: ColumnElement[Any]) -> ColumnElement[bool]:
    """Build a condition on rows in a parameter that is always true.

    PostgreSQL expects one row of two hundred to meet it, and else a hundred rows in each parameter.
    So it looks what belongs to them up by an index, and reads no table from end to end.
    """
    return func.coalesce(key, key) == key
