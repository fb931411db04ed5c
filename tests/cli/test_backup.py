"""`heloise backup`: a complete copy while others write, or none."""

import errno
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from app.domain.errors import SettingsError, Unavailable
from app.store.db import backup
from tests.support.terminal import Terminal

pytestmark = pytest.mark.one_database


def count_tenants(path: Path) -> int:
    """How many tenants a file holds; nobody needs to migrate or repair it."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        [count] = connection.execute("SELECT count(*) FROM tenants").fetchone()
        return int(count)


def database_of(operator: Terminal) -> Path:
    """The file of the operator's database."""
    return Path(operator.environment["HELOISE_DATABASE_URL"].removeprefix("sqlite:///"))


def test_the_copy_is_one_private_file(operator: Terminal) -> None:
    """With all that is committed; the result says where and how large it is."""
    operator.done("tenant", "create", "acme")
    target = operator.folder / "copies" / "monday.db"
    target.parent.mkdir()
    result = operator.done("backup", str(target), "--json").json
    assert result["path"] == str(target)
    assert result["size_bytes"] == target.stat().st_size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]
    assert count_tenants(target) == 1
    assert "acme" in operator.done("tenant", "list", DATABASE_URL=f"sqlite:///{target}").out


def test_the_copy_holds_no_key(operator: Terminal) -> None:
    """The copy alone decrypts no password, and the command says so."""
    target = operator.folder / "copy.db"
    assert "does not contain HELOISE_SECRET_KEYS" in operator.done("backup", "copy.db").out
    assert operator.environment["HELOISE_SECRET_KEYS"].encode() not in target.read_bytes()


def test_nothing_is_overwritten(operator: Terminal) -> None:
    """Neither an earlier copy, nor the database, nor what another backup writes."""
    before = database_of(operator).read_bytes()
    (operator.folder / "other.db.partial").touch()
    operator.done("backup", "copy.db")
    for target in ("copy.db", str(database_of(operator)), ".", "other.db"):
        result = operator.run("backup", target)
        assert (result.code, "exists" in result.err) == (2, True)
    assert database_of(operator).read_bytes() == before
    assert not (operator.folder / "other.db").exists()


@pytest.mark.parametrize("has_links", [True, False])
def test_what_appears_during_the_copy_is_not_overwritten(
    operator: Terminal, monkeypatch: pytest.MonkeyPatch, *, has_links: bool
) -> None:
    """Whether or not the file system, such as FAT, has hard links; without them it copies too."""
    if not has_links:
        monkeypatch.setattr(os, "link", refuse_link)
    target = operator.folder / "copy.db"

    def create(_: int, __: int | None) -> None:
        target.write_text("of somebody else")

    with pytest.raises(SettingsError, match="exists"):
        backup.copy_database(database_of(operator), target, create)
    assert target.read_text() == "of somebody else"
    target.unlink()
    backup.copy_database(database_of(operator), target, lambda _, __: None)
    assert count_tenants(target) == 0
    assert not list(operator.folder.glob("*.partial*"))


def refuse_link(*_: object, **__: object) -> None:
    """Do as a file system without hard links."""
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_folder_must_exist(operator: Terminal) -> None:
    """A typo creates no folder."""
    result = operator.run("backup", "missing/copy.db")
    assert (result.code, "existing folder" in result.err) == (2, True)


def test_a_database_must_exist(terminal: Terminal) -> None:
    """None is created to be copied."""
    result = terminal.run("backup", "copy.db")
    assert (result.code, "heloise.db does not exist" in result.err) == (2, True)
    assert not list(terminal.folder.iterdir())


def test_postgresql_has_a_tool_of_its_own(terminal: Terminal) -> None:
    """The command names it."""
    result = terminal.run(
        "backup", "copy.db", DATABASE_URL="postgresql://heloise@localhost/heloise"
    )
    assert (result.code, "use pg_dump" in result.err) == (2, True)


def test_a_copy_that_fails_leaves_nothing(terminal: Terminal) -> None:
    """The reason is SQLite's."""
    (terminal.folder / "heloise.db").write_text("not a database " * 1000)
    result = terminal.run("backup", "copy.db")
    assert (result.code, "file is not a database" in result.err) == (1, True)
    assert [path.name for path in terminal.folder.iterdir()] == ["heloise.db"]


def test_a_copy_that_breaks_off_leaves_no_log(operator: Terminal) -> None:
    """SQLite may leave its write-ahead log, with content of messages."""

    def break_off(_: int, __: int | None) -> None:
        (operator.folder / "copy.db.partial-wal").touch()
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(Unavailable, match="disk I/O error"):
        backup.copy_database(database_of(operator), operator.folder / "copy.db", break_off)
    assert not list(operator.folder.glob("copy.db*"))


def test_a_damaged_copy_is_no_backup(operator: Terminal) -> None:
    """The integrity check reads all of it."""
    path = database_of(operator)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [page] = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'ix_audit_log_tenant'"
        ).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)
    result = operator.run("backup", "copy.db")
    assert (result.code, "integrity check" in result.err) == (1, True)
    assert not (operator.folder / "copy.db").exists()


def test_the_copy_is_of_one_moment(operator: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others commit during the copy neither gets into it nor starts it again."""
    monkeypatch.setattr(backup, "PAGES_PER_STEP", 1)
    operator.done("tenant", "create", "acme")
    steps = list[int]()
    with closing(sqlite3.connect(database_of(operator), isolation_level=None)) as other:
        columns = "slug, name, created_at, updated_at"

        def commit(done: int, total: int | None) -> None:
            steps.append(done)
            values = f"SELECT 'ten_{done}', '{done}', name, created_at, updated_at"
            other.execute(f"INSERT INTO tenants (id, {columns}) {values} FROM tenants LIMIT 1")
            assert total is not None

        backup.copy_database(database_of(operator), operator.folder / "copy.db", commit)
    assert steps == sorted(set(steps))
    assert len(steps) > 10
    assert count_tenants(database_of(operator)) == 1 + len(steps)
    assert count_tenants(operator.folder / "copy.db") == 1
