"""Proof that each statement of `app/store` runs on both databases (invariant 11).

`pytest --every-statement` notes from which line of `app/store` each statement comes and on which
database it runs, in this process and in those of xdist. The run fails where a line that executes a
statement ran on one database and not on the other, or on neither.
"""

import ast
import asyncio
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeGuard

import greenlet
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

STORE: Final = Path(__file__).parents[3] / "app" / "store"
DATABASES: Final = ("sqlite", "postgresql")
EXECUTING: Final = frozenset({"execute", "scalar", "scalars", "stream", "exec_driver_sql"})
EXECUTING_FUNCTIONS: Final = frozenset({"delete_oldest", "get_row", "group_rows"})
OF_ONE_DATABASE: Final = {
    "db.bulk": "how each database takes many rows",
    "db.backup.remove_mark": "only SQLite has the mark of a copy",
    "db.copy": "COPY is PostgreSQL's",
    "db.database": "connections, and NOTIFY and LISTEN of PostgreSQL",
    "db.clock": "SQLite has the clock of its machine",
    "db.replica": "SQLite has no standby",
    "health.postgresql": "what PostgreSQL says about itself",
    "health.sqlite": "what SQLite says about its file",
    "events.horizon": "PostgreSQL orders events by transactions, SQLite by numbers",
    "events._has_restored": "only PostgreSQL's positions have transactions",
    "migrations.migrate": "PostgreSQL is locked while it migrates",
    "outbox.leases.end_leases": "only on PostgreSQL does a worker see that another one is gone",
    "outbox.acceptance.is_committed": "PostgreSQL may still be writing for a client that has gone",
    "delivery.shared_limits.lease_connections": "SQLite has one worker, which shares none",
    "db.sqlite_driver": "the driver of SQLite",
}

# Runs each step of a task.
_RUN: Final = asyncio.Handle._run.__code__  # noqa: SLF001 - it has no public name
Line = tuple[str, int]  # the file under app/store, and the line
Ran = set[tuple[str, Line]]  # the database, and what ran on it


@cache
def lines_that_execute() -> dict[Line, range]:
    """Where `app/store` executes a statement: the lines that each such expression spans.

    Raises:
        pytest.UsageError: `OF_ONE_DATABASE` names what `app/store` does not have.
    """
    lines = {}
    unknown = set(OF_ONE_DATABASE)
    for path in sorted(STORE.rglob("*.py")):
        file = path.relative_to(STORE).as_posix()
        module = file.removesuffix(".py").replace("/", ".")
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            if names := OF_ONE_DATABASE.keys() & {module, f"{module}.{function.name}"}:
                unknown -= names
                continue
            for node in ast.walk(function):
                if _executes(node):
                    lines[file, node.lineno] = range(node.lineno, (node.end_lineno or 0) + 1)
    if unknown:
        message = f"{__file__}: OF_ONE_DATABASE names what app/store does not have: {unknown}"
        raise pytest.UsageError(message)
    return lines


def _executes(node: ast.AST) -> TypeGuard[ast.Await]:
    if not isinstance(node, ast.Await) or not isinstance(node.value, ast.Call):
        return False
    function = node.value.func
    if isinstance(function, ast.Name):
        return function.id in EXECUTING_FUNCTIONS
    return isinstance(function, ast.Attribute) and function.attr in EXECUTING


class StatementRecorder:
    """Notes what runs, and tells at the end what did not."""

    def __init__(self) -> None:
        self._ran: Ran = set()

    def __call__(self, connection: Any, *_: object) -> None:
        name = connection.dialect.name
        for frame in _frames():
            if (file := _FILES[frame.f_code.co_filename]) is not None:
                self._ran.add((name, (file, frame.f_lineno)))

    def pytest_sessionstart(self) -> None:
        lines_that_execute()
        event.listen(Engine, "before_cursor_execute", self)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what ran in a process of xdist."""
        for name, file, line in getattr(node, "workeroutput", {}).get("statements", []):
            self._ran.add((name, (file, line)))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        event.remove(Engine, "before_cursor_execute", self)
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output["statements"] = [(name, *line) for name, line in self._ran]
        elif self.missing() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for (file, line), databases in self.missing().items():
            terminalreporter.write_line(
                f"app/store/{file}:{line}: no test ran this statement on {' or '.join(databases)}",
                red=True,
            )

    def missing(self) -> dict[Line, list[str]]:
        """What did not run, and on which databases."""
        missing = {}
        for (file, line), span in lines_that_execute().items():
            databases = [
                name
                for name in DATABASES
                if not any((name, (file, number)) in self._ran for number in span)
            ]
            if databases:
                missing[file, line] = databases
        return missing


class _Files(dict[str, str | None]):
    """The files under `app/store` by their paths; None for others."""

    def __missing__(self, path: str) -> str | None:
        prefix = f"{STORE}/"
        file = path.removeprefix(prefix) if path.startswith(prefix) else None
        self[path] = file
        return file


# Each statement asks for a hundred paths, and there are few.
_FILES: Final = _Files()


def _frames() -> Iterator[FrameType]:
    """The frames that led here: SQLAlchemy's driver runs in a greenlet, its caller in another."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - what it is for
    while frame is not None:
        yield frame
        frame = frame.f_back
    parent = greenlet.getcurrent().parent
    frame = parent.gr_frame if parent is not None else None
    # What called the event loop runs no statement.
    while frame is not None and frame.f_code is not _RUN:
        yield frame
        frame = frame.f_back
