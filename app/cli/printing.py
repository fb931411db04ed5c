"""Print tables and JSON."""

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Final

import typer
from pydantic_core import to_jsonable_python

PIPED_COLUMNS = 200
UNITS: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: object) -> None:
    """Print a value as the API would write it: snake_case, times in RFC 3339."""
    typer.echo(json.dumps(to_jsonable_python(value), indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Collection[object]]) -> None:
    """Print rows under their headings; long values wrap, nothing is cut off."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_format_value(cell) for cell in row))
    _print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print one object, one field per line."""
    from rich.table import Table

    grid = Table.grid("", "", padding=(0, 2))
    for name, value in fields:
        grid.add_row(name, _format_value(value))
    _print(grid)


def format_age(moment: datetime | None, now: datetime) -> str | None:
    """Format how long ago a moment was, or in how long it is: `5m ago`, `in 2h`."""
    if moment is None:
        return None
    seconds = round((now - moment).total_seconds())
    for unit, length in UNITS.items():
        if abs(seconds) >= length:
            amount = f"{abs(seconds) // length}{unit}"
            return f"{amount} ago" if seconds > 0 else f"in {amount}"
    return "now"


def _print(table: object) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPED_COLUMNS
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def _format_value(value: object) -> str:
    plain = to_jsonable_python(value)
    if plain is None:
        return "-"
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if isinstance(plain, list):
        return ", ".join(map(str, plain)) or "-"
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, dict) else str(plain)
