"""Write SQL expressions that differ by database."""

from typing import Any, ClassVar, TypeVar

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

T = TypeVar("T")


class DialectExpression(FunctionElement[T]):
    """An expression with a template for each database, where `{0}` is its first argument."""

    sqlite: ClassVar[str]
    postgresql: ClassVar[str]


@compiles(DialectExpression)
def _compile(element: DialectExpression[Any], compiler: SQLCompiler, **named: Any) -> str:  # noqa: ANN401 - as SQLAlchemy has it
    template: str = getattr(element, compiler.dialect.name)
    return template.format(*(compiler.process(clause, **named) for clause in element.clauses))
