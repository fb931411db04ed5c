"""`column IN (…)` as one statement whatever it is compared with: compiled, and prepared, once."""

from collections.abc import Iterable
from typing import Any, Self

from pydantic_core import to_json
from sqlalchemy import Boolean, ColumnElement, Dialect, Text, bindparam, column
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeDecorator, TypeEngine


class _Texts(TypeDecorator[list[str]]):
    """Several texts as one parameter: an array on PostgreSQL, a JSON array on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(ARRAY(Text()))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Iterable[str] | None, dialect: Dialect) -> object:
        texts = list(value or ())
        return texts if dialect.name == "postgresql" else to_json(texts).decode()


class _Among(FunctionElement[bool]):
    type = Boolean()
    name = "among"
    inherit_cache = True

    def self_group(self, against: object = None) -> Self:  # noqa: ARG002 - SQLAlchemy's own signature
        """Itself: on SQLite `= 1` would be put after it, and no index be used."""
        return self


def among(column: ColumnElement[str], parameter: str) -> ColumnElement[bool]:
    """Whether a column has one of the texts that this parameter is given when it is executed."""
    return _Among(column, bindparam(parameter, type_=_Texts()))


class _Each(FunctionElement[str]):
    type = Text()
    name = "each"
    inherit_cache = True


def each_of(parameter: str) -> TableValuedAlias:
    """The texts that this parameter is given when it is executed, as a table: `value`."""
    return _Each(bindparam(parameter, type_=_Texts())).table_valued(column("value", Text()))


@compiles(_Each, "sqlite")
def _each_in_sqlite(each: _Each, compiler: SQLCompiler, **words: Any) -> str:  # noqa: ANN401 - the compiler's own
    return f"json_each({compiler.process(each.clauses, **words)})"


@compiles(_Each, "postgresql")
def _each_in_postgresql(each: _Each, compiler: SQLCompiler, **words: Any) -> str:  # noqa: ANN401 - as above
    return f"(SELECT unnest({compiler.process(each.clauses, **words)}) AS value)"


@compiles(_Among, "sqlite")
def _in_sqlite(among: _Among, compiler: SQLCompiler, **words: Any) -> str:  # noqa: ANN401 - the compiler's own
    column, texts = (compiler.process(each, **words) for each in among.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608 - of compiled expressions


@compiles(_Among, "postgresql")
def _in_postgresql(among: _Among, compiler: SQLCompiler, **words: Any) -> str:  # noqa: ANN401 - as above
    column, texts = (compiler.process(each, **words) for each in among.clauses)
    return f"{column} = ANY ({texts})"
