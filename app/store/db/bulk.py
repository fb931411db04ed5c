"""Write many rows of one or more tables in one statement.

SQLAlchemy's work on each row's parameters costs more than the database's work on the row.
PostgreSQL, where each execution has a cost of its own, gets all rows of a table as JSON and
executes once: asyncpg's array encoding is slower than JSON on both ends. SQLite executes per row,
all in one turn of the connection's thread.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Self

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Dialect,
    Insert,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    Update,
    bindparam,
    cast,
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
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import TypeEngine

from app.store.db.sqlite_driver import END

Row = Mapping[str, Any]
Processor = Callable[[Any], Any]
# What makes of rows the value of one parameter.
_Parameter = Callable[[Sequence[Row]], Any]
_ROWS: Final = "rows"
_NUMBER: Final = "number"


class Write:
    """An INSERT or UPDATE for rows that give its values by the names of columns.

    What a row lacks is NULL. `computed` are columns that the statement itself knows what to set to.
    """

    def __init__(
        self,
        table: Table,
        keys: Sequence[str],
        values: Sequence[str],
        computed: Mapping[str, ColumnElement[Any]],
    ) -> None:
        self._table = table
        self._keys = [table.c[name] for name in keys]
        self._values = [table.c[name] for name in values]
        self._computed = computed

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

    def for_each(self) -> Insert | Update:
        """The statement with a parameter for each column of one row."""
        columns = [*self._keys, *self._values]
        return self._setting({each.name: _parameter(each, each.type) for each in columns})

    def for_all(self) -> Insert | Update:
        """The statement with one parameter for all rows, JSON, and arrays of what is binary."""
        given = self._given()
        if self._keys:
            return self._setting(given)
        set_to = {**given, **self._computed}
        return insert(self._table).from_select(list(set_to), select(*set_to.values()))

    def _given(self) -> dict[str, ColumnElement[Any]]:
        """What the rows give, by the names of columns."""
        columns = [*self._keys, *self._values]
        named = [column(each.name, _unbounded(each.type)) for each in columns]
        texts = [each for each in named if each.name not in self._binary]
        if self._binary:
            texts.append(column(_NUMBER, Integer()))
        rows = bindparam(f"{_prefix(self._table)}{_ROWS}", type_=Text())
        of = func.json_to_recordset(cast(rows, JSON)).table_valued(*texts)
        table = of.render_derived(with_types=True)
        arrays = {each.name: _parameter(each, ARRAY(each.type)) for each in columns}
        return {
            each.name: Grouping(arrays[each.name])[table.c[_NUMBER]]
            if each.name in self._binary
            else table.c[each.name]
            for each in columns
        }

    @property
    def _binary(self) -> frozenset[str]:
        """The columns for whose values JSON has no form."""
        return frozenset(e.name for e in self._values if isinstance(e.type, LargeBinary))

    def _setting(self, given: Mapping[str, ColumnElement[Any]]) -> Insert | Update:
        set_to = {value.name: given[value.name] for value in self._values} | dict(self._computed)
        if not self._keys:
            return insert(self._table).values(set_to)
        mine = [key == given[key.name] for key in self._keys]
        return update(self._table).where(*mine).values(set_to)

    def parameters(self, compiled: SQLCompiler, dialect: Dialect) -> "list[_Parameter]":
        """The parameters of a compiled statement that are of this table, in its order."""
        prefix = _prefix(self._table)
        return [
            self._parameter(each.removeprefix(prefix), dialect)
            for each in compiled.positiontup or ()
            if each.startswith(prefix)
        ]

    def _parameter(self, name: str, dialect: Dialect) -> "_Parameter":
        if name == _ROWS:
            return partial(_numbered, self._binary) if self._binary else _json
        assert isinstance(dialect, DefaultDialect)  # noqa: S101 - as every dialect is
        process = self._table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        return partial(_column, name, process)


def _json(rows: Sequence[Row]) -> str:
    return to_json(rows).decode()


def _numbered(left_out: frozenset[str], rows: Sequence[Row]) -> str:
    """With the place of each, where in the arrays what is left out of it stands."""
    kept = [{name: of for name, of in row.items() if name not in left_out} for row in rows]
    for number, row in enumerate(kept, start=1):
        row[_NUMBER] = number
    return _json(kept)


def _column(name: str, process: Processor | None, rows: Sequence[Row]) -> list[Any]:
    given = [row.get(name) for row in rows]
    return given if process is None else [process(each) for each in given]


class _Compiled(NamedTuple):
    sql: str
    parameters: list[list[_Parameter]]  # of each of its writes


class Bulk:
    """Writes that are done together, each to a table of its own."""

    def __init__(self, *writes: Write) -> None:
        self._writes = writes
        self._compiled: dict[str, _Compiled] = {}

    async def execute(self, connection: AsyncConnection, *rows: Sequence[Row]) -> None:
        """Do each for its rows; raises as `AsyncConnection.execute` does."""
        if not any(rows):
            return
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        columns = [
            [parameter(of) for parameter in parameters]
            for of, parameters in zip(rows, compiled.parameters, strict=True)
        ]
        if dialect.name == "postgresql":
            given = tuple(column for of in columns for column in of)
        else:
            given = tuple(list(zip(*of, strict=True)) for of in columns)
        await connection.exec_driver_sql(compiled.sql, given)

    def _compile(self, dialect: Dialect) -> _Compiled:
        if dialect.name == "postgresql":
            *others, last = [each.for_all() for each in self._writes]
            ctes = [each.cte(f"write_{number}") for number, each in enumerate(others)]
            whole = _text(last.add_cte(*ctes), dialect)
            parameters = [each.parameters(whole, dialect) for each in self._writes]
            return _Compiled(whole.string, parameters)
        texts = [_text(each.for_each(), dialect) for each in self._writes]
        return _Compiled(
            "".join(f"{each.string}{END}" for each in texts),
            [
                write.parameters(text, dialect)
                for write, text in zip(self._writes, texts, strict=True)
            ],
        )


def _text(statement: Insert | Update, dialect: Dialect) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - what a statement compiles to
    return compiled


def _unbounded(of: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type to send: a cast to one with a length would cut what is too long without a word."""
    return Text() if isinstance(of, String) else of


def _parameter(of: Column[Any], type_: TypeEngine[Any]) -> ColumnElement[Any]:
    return bindparam(f"{_prefix(of.table)}{of.name}", type_=type_)


def _prefix(table: Table) -> str:
    """What the names of a table's parameters begin with: no other table's do."""
    return f"{table.name}__"
