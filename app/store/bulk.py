"""Many rows by one statement, compiled once.

SQLAlchemy compiles a statement once too, but what it does for the parameters of each row costs more
than the database does for the row. SQLite runs the statement for each row; PostgreSQL, for which
each run has a cost of its own, is given the rows column by column and runs it once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    Insert,
    String,
    Table,
    Text,
    Update,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

Row = Mapping[str, Any]
Processor = Callable[[Any], Any]
Computed = Mapping[str, ColumnElement[Any]]


class _Compiled(NamedTuple):
    """The text; and of each parameter, in order, the column and what makes it the driver's own."""

    sql: str
    parameters: tuple[tuple[str, Processor | None], ...]


class Bulk:
    """A statement whose parameters each row gives by the names of columns; what it lacks is NULL.

    `computed` are columns that the statement itself knows what to set to.
    """

    def __init__(
        self, table: Table, keys: Sequence[str], values: Sequence[str], computed: Computed
    ) -> None:
        self._table = table
        self._keys = [table.c[name] for name in keys]
        self._values = [table.c[name] for name in values]
        self._computed = dict(computed)
        self._compiled: dict[str, _Compiled] = {}

    @classmethod
    def insert(cls, table: Table, columns: Sequence[str] = (), **computed: Any) -> Self:  # noqa: ANN401 - an expression of any type
        """Into these columns of a table, or into all."""
        return cls(table, (), columns or [each.name for each in table.c], computed)

    @classmethod
    def update(
        cls,
        table: Table,
        *,
        keys: Sequence[str],
        values: Sequence[str],
        **computed: Any,  # noqa: ANN401 - as above
    ) -> Self:
        """Set `values` where `keys` are those of the row."""
        return cls(table, keys, values, computed)

    async def execute(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Do it for each row; raises as `AsyncConnection.execute` does."""
        if not rows:
            return
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        columns = [_column(rows, *each) for each in compiled.parameters]
        if dialect.name == "postgresql":
            await connection.exec_driver_sql(compiled.sql, tuple(columns))
        else:
            await connection.exec_driver_sql(compiled.sql, list(zip(*columns, strict=True)))

    def _compile(self, dialect: Dialect) -> _Compiled:
        at_once = dialect.name == "postgresql"
        statement = self._for_all() if at_once else self._for_each()
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - what a statement compiles to
        assert isinstance(dialect, DefaultDialect)  # noqa: S101 - as every dialect is
        names = compiled.positiontup or ()
        types = {name: self._type(name).dialect_impl(dialect) for name in names}
        return _Compiled(
            compiled.string,
            tuple((_name(name), types[name].bind_processor(dialect)) for name in names),
        )

    def _type(self, parameter: str) -> TypeEngine[Any]:
        return self._table.c[_name(parameter)].type

    def _for_each(self) -> Insert | Update:
        given = {each.name: _parameter(each, each.type) for each in (*self._keys, *self._values)}
        set_to = {each.name: given[each.name] for each in self._values} | self._computed
        if not self._keys:
            return insert(self._table).values(set_to)
        mine = [each == given[each.name] for each in self._keys]
        return update(self._table).where(*mine).values(set_to)

    def _for_all(self) -> Insert | Update:
        given = _unnested([*self._keys, *self._values])
        set_to = {each.name: given.c[each.name] for each in self._values} | self._computed
        if not self._keys:
            return insert(self._table).from_select(list(set_to), select(*set_to.values()))
        mine = [each == given.c[each.name] for each in self._keys]
        return update(self._table).where(*mine).values(set_to)


def _column(rows: Sequence[Row], name: str, process: Processor | None) -> list[Any]:
    values = [row.get(name) for row in rows]
    return values if process is None else [process(each) for each in values]


def _unnested(columns: Sequence[Column[Any]]) -> TableValuedAlias:
    """A table of these columns, each of which is one parameter: an array."""
    types = {each.name: _unbounded(each.type) for each in columns}
    arrays = [_parameter(each, ARRAY(types[each.name])) for each in columns]
    named = [column(name, of) for name, of in types.items()]
    return func.unnest(*arrays).table_valued(*named).render_derived()


def _unbounded(of: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type to send: a cast to one with a length would cut what is too long without a word."""
    return Text() if isinstance(of, String) else of


def _parameter(of: Column[Any], type_: TypeEngine[Any]) -> ColumnElement[Any]:
    """A parameter of which SQLAlchemy does not think that it is the column's own in an UPDATE."""
    return bindparam(f"b_{of.name}", type_=type_)


def _name(parameter: str) -> str:
    return parameter.removeprefix("b_")
