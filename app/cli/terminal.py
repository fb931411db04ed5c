"""Ask for confirmation, show progress, and print tables and JSON."""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from pydantic_core import to_jsonable_python

from app.domain.errors import SettingsError

PIPED_COLUMNS = 200
UNITS: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
ShowProgress = Callable[[int, int | None], None]


def confirm(question: str, *, is_confirmed: bool) -> None:
    """Ask for confirmation, unless `--yes` gave it; a no ends the command with exit code 1.

    Raises SettingsError if there is no terminal to ask at.
    """
    if is_confirmed:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{question} This cannot be undone: add --yes to confirm")
    typer.confirm(f"{question} This cannot be undone.", abort=True, err=True)


@contextmanager
def progress_bar(description: str) -> Iterator[ShowProgress]:
    """Yield a function that shows how much is done, of how much if that is known.

    It shows nothing unless stderr is a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


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


def print_transcript(lines: Iterable[Any]) -> None:
    """Print a dialogue of the API, line by line: milliseconds, who, and what."""
    marks = {"client": "C:", "server": "S:", "note": "--"}
    for line in lines:
        typer.echo(f"{line.ms:10.1f} {marks[line.by]} {line.text}")


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
