"""What is published: a wheel that holds everything, and works where there is no checkout."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from app import __version__
from tests.support.terminal import ROOT

pytestmark = pytest.mark.slow

BUILD = """
import sys
from hatchling import build
print(build.build_wheel(sys.argv[1]), build.build_sdist(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source archive, as the build backend makes them."""
    folder = tmp_path_factory.mktemp("dist")
    result = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wheel, sdist = result.stdout.split()
    return folder / wheel, folder / sdist


def test_the_wheel_holds_code_and_migrations_and_nothing_else(
    distributions: tuple[Path, Path],
) -> None:
    """Types are declared, and the licence is there."""
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = set(wheel.namelist())
    assert {"app/py.typed", "app/main.py", "app/migrations/env.py"} <= names
    assert any(name.startswith("app/migrations/versions/0001") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"app", f"heloise-{__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_source_archive_can_be_built_and_tested(distributions: tuple[Path, Path]) -> None:
    """It holds what `make` needs, and no secret, database or cache of this folder."""
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "constraints.txt", "requirements.txt", "Makefile", "LICENSE"} <= names
    assert {"app/main.py", "migrations/env.py", "tests/conftest.py", ".env.example"} <= names
    assert not [name for name in names if ".venv" in name or name.endswith((".db", ".env"))]


def test_the_wheel_migrates_outside_the_checkout(
    distributions: tuple[Path, Path], tmp_path: Path
) -> None:
    """In a new environment, to which only the dependencies are lent."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    install(distributions[0], python)
    path = tmp_path / "made.db"
    environment = {"HELOISE_DATABASE_URL": f"sqlite:///{path}", "PATH": "/usr/bin:/bin"}

    def run(*words: str) -> str:
        result = subprocess.run(  # noqa: S603 - the script that was just installed
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return result.stdout

    where = run(str(python), "-c", "import app; print(app.__file__)")
    assert Path(where.strip()).is_relative_to(home)
    assert run(str(home / "bin" / "heloise"), "version") == f"{__version__}\n"
    assert run(str(home / "bin" / "heloise"), "migrate").startswith("The schema is at ")
    assert path.stat().st_size > 0


def install(wheel: Path, python: Path) -> None:
    """Install the wheel alone; what it depends on is found where this interpreter has it."""
    subprocess.run(  # noqa: S603 - pip of our own environment
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"),
            *("--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", str(wheel)),
        ],
        check=True,
        capture_output=True,
    )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = python.parent.parent / "lib" / version / "site-packages"
    # Behind its own packages: our checkout, which is installed there too, is not lent.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
