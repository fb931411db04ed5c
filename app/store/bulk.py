"""One statement for many rows, compiled once.

SQLAlchemy compiles a statement once too, but what it does for the parameters of each row costs more
than the database does for the row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from sqlalchemy import Dialect, Insert, Table, Update, insert
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler

Row = Mapping[str, Any]
Processor = Callable[[Any], Any]


class _Compiled(NamedTuple):
    """The text; and of each parameter, in order, the name and what makes it the driver's own."""

    sql: str
    parameters: tuple[tuple[str, Processor | None], ...]


class Bulk:
    """A statement whose parameters each row gives by their names; what it lacks is NULL."""

    def __init__(self, statement: Insert | Update, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    @classmethod
    def insert(cls, table: Table) -> Self:
        """Into every column of a table."""
        return cls(insert(table), [each.name for each in table.c])

    async def execute(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Do it for each row; raises as `AsyncConnection.execute` does."""
        if not rows:
            return
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        parameters = compiled.parameters
        values = [
            tuple(
                row.get(name) if process is None else process(row.get(name))
                for name, process in parameters
            )
            for row in rows
        ]
        await connection.exec_driver_sql(compiled.sql, values)

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - what a statement compiles to
        assert isinstance(dialect, DefaultDialect)  # noqa: S101 - as every dialect is
        return _Compiled(
            compiled.string,
            tuple(
                (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
                for name in compiled.positiontup or ()
            ),
        )
