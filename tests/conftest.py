"""Databases for every test that wants one: the same test on SQLite and PostgreSQL (invariant 11).

A test marked `postgresql` or `postfix` is skipped where the machine has no such server, and fails
instead where HELOISE_TEST_REQUIRE names the mark (`HELOISE_TEST_REQUIRE="postgresql postfix"`).
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from app.store import schema
from app.store.database import Database
from tests.fixtures.postgresql import PostgreSQL, running_postgresql

REQUIRED = os.environ.get("HELOISE_TEST_REQUIRE", "").split()

# Time is no property of the code: machines are shared.
hypothesis.settings.register_profile("heloise", deadline=None)
hypothesis.settings.load_profile("heloise")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A required test that was skipped has failed."""
    report = yield
    missing = [name for name in REQUIRED if item.get_closest_marker(name) is not None]
    if report.skipped and missing and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{' and '.join(missing)} must not be skipped here: {reason}"
    return report


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server for all tests of this process."""
    try:
        server = running_postgresql()
        running = server.__enter__()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no PostgreSQL server can be started here: {error}")
    try:
        yield running
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    """Which database: every test that uses one runs on each."""
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "heloise.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgreSQL) -> str:
    """A migrated PostgreSQL database, to be copied."""
    name = postgresql.create()
    _migrate(postgresql.url(name))
    return name


def _migrate(url: str) -> None:
    async def migrate() -> None:
        database = Database(url)
        await schema.migrate(database)
        await database.close()

    asyncio.run(migrate())


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of the test's own, for this process and others."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'heloise.db'}"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def migrated_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of the test's own whose schema is at head."""
    if backend == "sqlite":
        path = tmp_path / "heloise.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = server.create(template=request.getfixturevalue("postgresql_template"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """A database whose schema is at head."""
    database = Database(migrated_url)
    yield database
    await database.close()
