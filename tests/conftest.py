"""What every test may ask for: a database of its own, once on SQLite and once on PostgreSQL."""

import asyncio
import gc
import os
import shutil
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Final, Literal

import hypothesis
import pytest
from fastapi.dependencies import models

from app.store.db.database import Database
from app.store.migrations import migrate as migrating
from tests.support.database.compiled_statements import shared_statements
from tests.support.database.postgresql import Server, postgresql_server
from tests.support.database.store_statements import StatementRecorder
from tests.support.memory import memory_folder
from tests.support.processes.forked import Forker, forker
from tests.support.required import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

# Nothing of what is imported and collected is garbage, so none is looked for until then.
gc.disable()

# A busy machine is slow at times, and that is no fault of the code. The examples are the same on
# every run, so that a commit that has passed once passes again.
hypothesis.settings.register_profile(
    "heloise", deadline=None, derandomize=True, database=None, max_examples=50
)
hypothesis.settings.load_profile("heloise")

# Here pytest makes `tmp_path`.
if (folder := memory_folder()) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))

MANY_FUNCTIONS: Final = 500  # five times as many as the API has

Backend = Literal["sqlite", "postgresql"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--every-statement`."""
    parser.addoption(
        "--every-statement",
        action="store_true",
        help="fail where a statement of app/store did not run on both databases",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Note the statements that run, where that was asked for."""
    if config.getoption("every_statement"):
        config.pluginmanager.register(StatementRecorder())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start slow tests first: each process of xdist finds its part of them ahead of its share.

    A slow test that starts last is waited for by all. Slow tests that share a fixture of their
    module stay in one process, or else each process would make what they share.
    """
    processes = int(getattr(config, "workerinput", {}).get("workercount", 1))
    slow: dict[str, list[pytest.Item]] = {}
    quick: list[pytest.Item] = []
    for item in items:
        if item.get_closest_marker("slow") is None:
            quick.append(item)
        else:
            slow.setdefault(_what_is_shared(item), []).append(item)
    ordered: list[pytest.Item] = []
    for number in range(processes):
        size = (len(items) - len(ordered)) // (processes - number)  # as `--dist worksteal` has it
        first = [item for group in list(slow.values())[number::processes] for item in group]
        rest = max(size - len(first), 0)
        ordered += [*first, *quick[:rest]]
        del quick[:rest]
    items[:] = ordered


def _what_is_shared(item: pytest.Item) -> str:
    """The id of a test's module where the test uses a fixture of that scope, or else its own."""
    fixtures = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way
    is_shared = any(definitions[-1].scope == "module" for definitions in fixtures.values())
    return item.nodeid.partition("::")[0] if is_shared else item.nodeid


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage once all is collected, and only among what the tests make."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a database on SQLite and on PostgreSQL (invariant 11).

    A test marked `one_database` runs on SQLite alone: its claim does not depend on the database.
    """
    is_chosen = any(
        "backend" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")
    )
    if "backend" not in metafunc.fixturenames or is_chosen:
        return
    backends = [pytest.param("sqlite")]
    if metafunc.definition.get_closest_marker("one_database") is None:
        backends.append(pytest.param("postgresql", marks=pytest.mark.postgresql))
    metafunc.parametrize("backend", backends, indirect=True)


@pytest.fixture(autouse=True)
def forget_apps() -> Iterator[None]:
    """Let go of the apps that tests made.

    FastAPI remembers thousands of functions of routes, and by theirs hundreds of apps: a process of
    tests would look through all of them for garbage.
    """
    yield
    for cached in vars(models).values():
        if hasattr(cached, "cache_info") and cached.cache_info().currsize > MANY_FUNCTIONS:
            cached.cache_clear()


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """Which database the test runs on."""
    kind: Backend = request.param
    return kind


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server, started when the first test needs it."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """What one test has made SQL of, the next ones need not."""
    with shared_statements():
        yield


@pytest.fixture(scope="session")
def forking() -> Iterator[Forker]:
    """What the commands of all tests of this process are forked from."""
    with forker() as started:
        yield started


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"

    async def migrate() -> None:
        database = Database(f"sqlite:///{path}")
        await migrating.migrate(database)
        await database.close()

    asyncio.run(migrate())
    return path


@pytest.fixture
def database_url(backend: Backend, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a new database without any table; other processes may use it too."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'heloise.db'}"
    server: Server = request.getfixturevalue("postgresql")
    return server.empty()


@pytest.fixture
def migrated_url(backend: Backend, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a migrated database without any row; other processes may use it too."""
    if backend == "sqlite":
        path = tmp_path / "heloise.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: Server = request.getfixturevalue("postgresql")
    with server.migrated() as url:
        yield url


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """A migrated database without any row, open."""
    database = Database(migrated_url)
    # There is no pooler. To find that out, each test would open one more connection.
    database._is_pooled = False  # noqa: SLF001 - it has no public setter
    yield database
    await database.close()
