"""What every test may ask for: a database of its own, once on SQLite and once on PostgreSQL."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import hypothesis
import pytest
from fastapi.dependencies import models

from app.store import migrating
from app.store.database import Database
from tests.fixtures.postgresql import Server, postgresql_server
from tests.fixtures.required import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

# A busy machine is slow at times, and that is no fault of the code.
hypothesis.settings.register_profile("heloise", deadline=None)
hypothesis.settings.load_profile("heloise")

Backend = Literal["sqlite", "postgresql"]


@pytest.fixture(autouse=True)
def forget_apps() -> Iterator[None]:
    """Let go of the app that a test made.

    FastAPI remembers thousands of functions of routes, and by theirs hundreds of apps: a process of
    tests had gigabytes, and stood still for half a minute while they were looked through for
    garbage.
    """
    yield
    for each in vars(models).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Which database the test runs on: each one in turn (invariant 11)."""
    kind: Backend = request.param
    return kind


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server, started when the first test needs it."""
    with postgresql_server() as server:
        yield server


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
    yield database
    await database.close()
