"""What a process imports is what it costs to begin, and memory for as long as it runs.

No time is measured here: where one of these modules comes in again, the test names it.
"""

import ast
import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from app.cli import COMMANDS
from tests.support.processes.forked import Forker, forker
from tests.support.terminal import ROOT

SHOW = "import sys; print(*sys.modules, file=sys.stderr)"
RUN = """
import sys
from app.cli import run
sys.argv = ["heloise", *{arguments!r}]
try:
    run()
except SystemExit as ended:
    assert not ended.code, ended.code
"""
# Only a process that sends, serves or posts needs these.
SERVICE = {"fastapi", "starlette", "uvicorn", "httpx2", "dns", "aiosmtplib", "app.main"}
# Few services use these, and import them then.
RARE = {
    *("authlib", "joserfc", "httpx2", "alembic", "scramp", "structlog", "imap_tools"),
    "cryptography.x509",  # faults, pins and verify read certificates
}
API = {"fastapi", "app.main", "app.api.app"}
RENDERING = {"jinja2", "mjml", "css_inline", "jsonschema_rs", "turbohtml"}
DATABASE = {"sqlalchemy", "asyncpg", "aiosqlite"}
TABLES = {"rich"}  # of commands alone
# FastAPI imports the API of OpenTelemetry; its SDK is for those who set an endpoint.
TRACES = {"opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation"}
MAIL = {"email_validator", "idna", "cryptography"}

WITHOUT = {
    "import app.main": RARE
    | RENDERING
    | TABLES
    | TRACES
    | {"typer", "uvicorn", "click", "filelock", "pydantic.v1.main"},
    "import app.worker, app.cli.processes": API | RARE | RENDERING | TABLES | {"opentelemetry"},
    "import app.cli.doctor": API | RARE | RENDERING | TABLES | {"app.worker", "app.metrics"},
    "import app.cli.profiles": SERVICE | RARE | RENDERING | TABLES | {"app.worker"},
    "tenant list": SERVICE | RARE | RENDERING | {"filelock"},
    "tenant list --json": SERVICE | RARE | RENDERING | TABLES,
    "queue": SERVICE | RARE | RENDERING | {"filelock"},
    "queue --json": SERVICE | RARE | RENDERING | TABLES,
    "import app.cli.messages": SERVICE | RARE | RENDERING | TABLES | {"app.worker"},
    "import app.cli.events": SERVICE | RARE | RENDERING | TABLES | {"app.worker"},
    "import app.cli.send": SERVICE | RARE | RENDERING | TABLES | {"app.worker"},
    "secret-key": SERVICE | RARE | RENDERING | DATABASE | TABLES | MAIL,
    "settings": SERVICE | RARE | RENDERING | DATABASE | MAIL - {"idna"},
    "settings --json": SERVICE | RARE | RENDERING | DATABASE | MAIL - {"idna"} | TABLES,
}


# What all that use the database import: to import it once leaves less to each of them. It hides
# nothing, for a process has all that the one has that it is forked from.
SHARED = ("app.settings.model", "app.store.tenants.queries")


@pytest.fixture(scope="session")
def forking_shared() -> Iterator[Forker]:
    """What processes that use the database are forked from."""
    with forker(SHARED) as started:
        yield started


def run_python(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that has imported nothing."""
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", script],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("what", WITHOUT)
def test_nothing_is_imported_that_is_not_needed(
    what: str, sqlite_template: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A service and commands of each kind leave out what is another one's."""
    python = what if what.startswith("import ") else RUN.format(arguments=what.split())
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HELOISE_")
    }
    if what.startswith(("tenant", "queue")):
        path = shutil.copy(sqlite_template, tmp_path)
        environment["HELOISE_DATABASE_URL"] = f"sqlite:///{path}"
    script = f"{python}\n{SHOW}"
    if DATABASE & WITHOUT[what]:
        result = run_python(script, environment)
        assert result.returncode == 0, result.stderr
        imported = result.stderr
    else:
        shared: Forker = request.getfixturevalue("forking_shared")
        process = shared.start_piped(
            "tests.support.processes.script", [script], env=environment, cwd=ROOT
        )
        _, imported = process.communicate()
        assert process.returncode == 0, imported
    assert not WITHOUT[what] & set(imported.split())


def test_a_submission_server_imports_the_app_first() -> None:
    """It tunes the garbage collector for the other imports; none is left for when it serves."""
    script = "from app.cli.processes import submission\ntry:\n    submission()\nfinally:\n    {}"
    key = base64.b64encode(bytes(32)).decode()
    environment = {"HELOISE_DATABASE_URL": "sqlite:///nowhere.db", "HELOISE_SECRET_KEYS": key}
    result = run_python(script.format(SHOW), environment)
    assert "needs PostgreSQL" in result.stderr
    order = result.stderr.split()
    assert order.index("app.main") < order.index("app.submission_server")


def modules() -> dict[str, Path]:
    """Each module of the service by its name; that of a package is its `__init__`."""
    paths = {path.relative_to(ROOT): path for path in (ROOT / "app").rglob("*.py")}
    return {
        ".".join(short.with_suffix("").parts).removesuffix(".__init__"): path
        for short, path in paths.items()
    }


def imports_at_once(body: Sequence[ast.stmt]) -> Iterator[str]:
    """What is imported when a module is, and not when one of its functions is called."""
    for statement in body:
        match statement:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                pass
            case ast.If() | ast.Try() | ast.With():
                yield from imports_at_once(statement.body)


def with_parents(name: str) -> set[str]:
    """A module and the packages that are imported before it."""
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def import_graph(paths: Mapping[str, Path]) -> dict[str, set[str]]:
    """What has to be imported before each module is complete."""
    graph = {}
    for name, path in paths.items():
        before = [
            with_parents(other)
            for other in imports_at_once(ast.parse(path.read_text()).body)
            if other in paths
        ]
        graph[name] = set().union(*before) - with_parents(name)
    return graph


def test_every_module_can_be_imported_first() -> None:
    """No imports go round in a circle: each command, and each process, begins with another one."""
    order = set(TopologicalSorter(import_graph(modules())).static_order())
    assert {place.partition(":")[0] for place, _ in COMMANDS.values()} <= order


def test_a_circle_of_imports_is_seen(tmp_path: Path) -> None:
    """Through a package's `__init__` too, but not through a function."""
    contents = {
        "app": "",
        "app.a": "from app.a.first import x",
        "app.a.first": "from app.b import y",
        "app.a.second": "",
        "app.b": "from app.a.second import z",
        "app.c": "def later():\n    from app.d import f",
        "app.d": "import app.c",
    }
    paths = {name: tmp_path / name for name in contents}
    for name, content in contents.items():
        paths[name].write_text(content)
    with pytest.raises(CycleError):
        list(TopologicalSorter(import_graph(paths)).static_order())
    del paths["app.a"]
    list(TopologicalSorter(import_graph(paths)).static_order())
