"""What a process imports is what it costs to begin, and memory for as long as it runs.

No time is measured here: where one of these modules comes in again, the test names it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
RARE = {"authlib", "joserfc", "httpx2", "alembic", "scramp", "structlog"}
API = {"fastapi", "app.main", "app.api.app"}
RENDERING = {"jinja2", "mjml", "css_inline", "jsonschema_rs", "turbohtml"}
DATABASE = {"sqlalchemy", "asyncpg", "aiosqlite"}
TABLES = {"rich"}  # of commands alone
MAIL = {"email_validator", "idna", "cryptography"}

WITHOUT = {
    "import app.main": RARE | RENDERING | TABLES | {"typer", "uvicorn", "click", "filelock"},
    "import app.cli.worker": API | RARE | RENDERING | TABLES,
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


@pytest.mark.parametrize("what", WITHOUT)
def test_nothing_is_imported_that_is_not_needed(
    what: str, sqlite_template: Path, tmp_path: Path
) -> None:
    """A service and commands of each kind leave out what is another one's."""
    python = what if what.startswith("import ") else RUN.format(arguments=what.split())
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HELOISE_")
    }
    if what.startswith(("tenant", "queue")):
        path = shutil.copy(sqlite_template, tmp_path)
        environment["HELOISE_DATABASE_URL"] = f"sqlite:///{path}"
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", f"{python}\n{SHOW}"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert not WITHOUT[what] & set(done.stderr.split())
