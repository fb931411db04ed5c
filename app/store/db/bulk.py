"""Write many rows of one or more tables in one statement.

SQLAlchemy spends more on each row's parameters than the database spends on the row. On PostgreSQL,
where each execution costs a round trip, all rows of a table go as one JSON parameter: asyncpg's
array encoding is slower than JSON on both ends. SQLite executes per row, in one turn of the
connection's thread.
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
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import TypeEngine

from app.store.db.array_params import expect_few
from app.store.db.sqlite_driver import STATEMENT_END

Row = Mapping[str, Any]
Processor = Callable[[Any], Any]
# Computes the value of one parameter from the rows.
_Parameter = Callable[[Sequence[Row]], Any]
_ROWS: Final = "rows"
_NUMBER: Final = "number"


class Write:
    """An INSERT or UPDATE for rows that map column names to values.

    A missing value is NULL. `computed` are expressions that the statement evaluates itself. With
    `is_repeatable`, an INSERT skips rows that exist.
    """

    def __init__(
        self,
        table: Table,
        keys: Sequence[str],
        values: Sequence[str],
        computed: Mapping[str, ColumnElement[Any]],
        *,
        is_repeatable: bool = False,
    ) -> None:
        self._table = table
        self._keys = [table.c[name] for name in keys]
        self._values = [table.c[name] for name in values]
        self._computed = computed
        self._is_repeatable = is_repeatable

    @classmethod
    def insert(
        cls,
        table: Table,
        columns: Sequence[str] = (),
        *,
        is_repeatable: bool = False,
        **computed: Any,  # noqa: ANN401 - an expression of any type
    ) -> Self:
        """Insert into these columns, or into all."""
        columns = columns or [table_column.name for table_column in table.c]
        return cls(table, (), columns, computed, is_repeatable=is_repeatable)

    @classmethod
    def update(
        cls,
        table: Table,
        *,
        keys: Sequence[str],
        values: Sequence[str],
        **computed: Any,  # noqa: ANN401 - as above
    ) -> Self:
        """Set `values` in the row with these `keys`."""
        return cls(table, keys, values, computed)

    def build_for_row(self) -> Insert | Update:
        """Build the statement with one parameter per column, for a single row."""
        columns = [*self._keys, *self._values]
        return self._build_statement(
            {
                table_column.name: _parameter(table_column, table_column.type)
                for table_column in columns
            }
        )

    def build_for_rows(self) -> Insert | Update:
        """Build the statement with one JSON parameter for all rows, and arrays of bytes."""
        expressions = self._build_expressions()
        if self._keys:
            return self._build_statement(expressions, expect_few(expressions[self._keys[0].name]))
        set_to = {**expressions, **self._computed}
        statement = postgresql.insert(self._table).from_select(
            list(set_to), select(*set_to.values())
        )
        return statement.on_conflict_do_nothing() if self._is_repeatable else statement

    def _build_expressions(self) -> dict[str, ColumnElement[Any]]:
        """Build the expressions that read the columns from the rows."""
        columns = [*self._keys, *self._values]
        typed_columns = [
            column(table_column.name, _unbounded(table_column.type)) for table_column in columns
        ]
        json_columns = [
            json_column for json_column in typed_columns if json_column.name not in self._binary
        ]
        if self._binary:
            json_columns.append(column(_NUMBER, Integer()))
        rows = bindparam(f"{_prefix(self._table)}{_ROWS}", type_=Text())
        record_set = func.json_to_recordset(cast(rows, JSON)).table_valued(*json_columns)
        table = record_set.render_derived(with_types=True)
        arrays = {
            table_column.name: _parameter(table_column, ARRAY(table_column.type))
            for table_column in columns
        }
        return {
            table_column.name: Grouping(arrays[table_column.name])[table.c[_NUMBER]]
            if table_column.name in self._binary
            else table.c[table_column.name]
            for table_column in columns
        }

    @property
    def _binary(self) -> frozenset[str]:
        """The columns whose values JSON cannot express."""
        return frozenset(
            table_column.name
            for table_column in self._values
            if isinstance(table_column.type, LargeBinary)
        )

    def _build_statement(
        self, expressions: Mapping[str, ColumnElement[Any]], *conditions: ColumnElement[bool]
    ) -> Insert | Update:
        set_to = {value.name: expressions[value.name] for value in self._values} | dict(
            self._computed
        )
        if not self._keys:
            statement = sqlite.insert(self._table).values(set_to)
            return statement.on_conflict_do_nothing() if self._is_repeatable else statement
        by_key = [key == expressions[key.name] for key in self._keys]
        return update(self._table).where(*by_key, *conditions).values(set_to)

    def build_parameters(self, compiled: SQLCompiler, dialect: Dialect) -> "list[_Parameter]":
        """Return this table's parameters of a compiled statement, in order."""
        prefix = _prefix(self._table)
        return [
            self._parameter(name.removeprefix(prefix), dialect)
            for name in compiled.positiontup or ()
            if name.startswith(prefix)
        ]

    def _parameter(self, name: str, dialect: Dialect) -> "_Parameter":
        if name == _ROWS:
            return partial(_number_rows, self._binary) if self._binary else _json
        assert isinstance(dialect, DefaultDialect)  # noqa: S101 - as every dialect is
        process = self._table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        return partial(_column, name, process)


def _json(rows: Sequence[Row]) -> str:
    return to_json(rows).decode()


def _number_rows(left_out: frozenset[str], rows: Sequence[Row]) -> str:
    """Number the rows and drop the binary columns: arrays hold these, by number."""
    numbered_rows = [
        {name: value for name, value in row.items() if name not in left_out} for row in rows
    ]
    for number, row in enumerate(numbered_rows, start=1):
        row[_NUMBER] = number
    return _json(numbered_rows)


def _column(name: str, process: Processor | None, rows: Sequence[Row]) -> list[Any]:
    values = [row.get(name) for row in rows]
    return values if process is None else [process(value) for value in values]


class _Compiled(NamedTuple):
    sql: str
    parameters: list[list[_Parameter]]  # for each write


class Bulk:
    """Writes to different tables that run as one statement."""

    def __init__(self, *writes: Write) -> None:
        self._writes = writes
        self._compiled: dict[str, _Compiled] = {}

    async def execute(self, connection: AsyncConnection, *rows: Sequence[Row]) -> None:
        """Run each write for its rows; raise what `AsyncConnection.execute` raises."""
        if not any(rows):
            return
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        columns = [
            [parameter(write_rows) for parameter in parameters]
            for write_rows, parameters in zip(rows, compiled.parameters, strict=True)
        ]
        if dialect.name == "postgresql":
            arguments = tuple(column for write_columns in columns for column in write_columns)
        else:
            arguments = tuple(list(zip(*write_columns, strict=True)) for write_columns in columns)
        await connection.exec_driver_sql(compiled.sql, arguments)

    def _compile(self, dialect: Dialect) -> _Compiled:
        if dialect.name == "postgresql":
            *statements, last_statement = [write.build_for_rows() for write in self._writes]
            ctes = [statement.cte(f"write_{number}") for number, statement in enumerate(statements)]
            compiled = _text(last_statement.add_cte(*ctes), dialect)
            parameters = [write.build_parameters(compiled, dialect) for write in self._writes]
            return _Compiled(compiled.string, parameters)
        texts = [_text(write.build_for_row(), dialect) for write in self._writes]
        return _Compiled(
            "".join(f"{text.string}{STATEMENT_END}" for text in texts),
            [
                write.build_parameters(text, dialect)
                for write, text in zip(self._writes, texts, strict=True)
            ],
        )


def _text(statement: Insert | Update, dialect: Dialect) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - what a statement compiles to
    return compiled


def _unbounded(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Drop a length: a cast to VARCHAR(n) would silently truncate."""
    return Text() if isinstance(type_, String) else type_


def _parameter(table_column: Column[Any], type_: TypeEngine[Any]) -> ColumnElement[Any]:
    return bindparam(f"{_prefix(table_column.table)}{table_column.name}", type_=type_)


def _prefix(table: Table) -> str:
    """Return the prefix of a table's parameter names, which is unique."""
    return f"{table.name}__"
