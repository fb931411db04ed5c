"""What is published: a small wheel that works where there is nothing else."""

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Final

import pytest

import app
from clients.python.tests.conftest import Service
from heloise_client import __version__
from tests.project.shell_blocks import blocks
from tests.support.terminal import ROOT

PACKAGE: Final = ROOT / "clients" / "python"
GUIDE: Final = ROOT / "docs" / "guide" / "client.md"
MAX_PACKAGES: Final = 10
URL: Final = "http://localhost:8000"


def _run(*command: object, cwd: Path = ROOT, check: bool = True) -> str:
    result = subprocess.run(  # noqa: S603 - our own interpreters
        [str(word) for word in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or result.returncode == 0, (command, result.stdout, result.stderr)
    return result.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source archive, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "hatchling", "build", "--directory", folder, cwd=PACKAGE)
    [wheel], [archive] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


@pytest.fixture(scope="module")
def python(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment into which only the wheel was installed, from PyPI."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if not _run(*pip, "index", "versions", "httpx2", check=False):
        pytest.skip("PyPI cannot be reached")
    _run(*pip, "--python", python, "install", "--quiet", distributions[0])
    return python


def test_the_version_is_that_of_the_service() -> None:
    """The client is made from the service's document."""
    assert __version__ == app.__version__


def test_the_licence_is_the_same() -> None:
    """A source archive holds no file from outside its folder."""
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_client_imports_nothing_of_the_service() -> None:
    """And the service nothing of the client."""
    for folder, other in ((PACKAGE / "heloise_client", "app"), (ROOT / "app", "heloise_client")):
        modules = list(folder.rglob("*.py"))
        assert len(modules) > 10
        pattern = re.compile(rf"^\s*(?:from|import) {other}\b", re.MULTILINE)
        assert [path for path in modules if pattern.search(path.read_text())] == []


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    """Its types are declared; neither tests nor the generator are in it."""
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = set(wheel.namelist())
    information = f"heloise_client-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"heloise_client", information}
    assert {"heloise_client/py.typed", f"{information}/licenses/LICENSE"} <= names
    with tarfile.open(distributions[1]) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "heloise_client/types.py"} <= files
    assert not [name for name in files if name.startswith("tests")]


@pytest.mark.long
@pytest.mark.pypi
def test_the_wheel_brings_few_packages(python: Path) -> None:
    """Itself included; no framework, no database."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    installed = {package["name"] for package in json.loads(_run(*pip, "list", "--format", "json"))}
    assert {"heloise-client", "httpx2"} <= installed
    assert len(installed) <= MAX_PACKAGES, installed
    assert _run(python, "-c", "import heloise_client; print(heloise_client.__version__)")


@pytest.mark.long
@pytest.mark.pypi
def test_the_readme_runs(python: Path, service: Service, tmp_path: Path) -> None:
    """Every block of it, in the empty environment, against what `make run` starts."""
    programs = [
        block.text
        for block in blocks((PACKAGE / "README.md").read_text())
        if block.language == "python"
    ]
    assert len(programs) == 3
    text = "\n".join(programs).replace(URL, service.url).replace("hel_…", service.key)
    printed = _run(python, "-W", "error", "-c", text, cwd=tmp_path).splitlines()
    assert printed[0] in {"queued", "sending", "sent"}
    assert printed[1].startswith("invalid-request ")
    assert len(printed) >= 3


def test_the_guide_runs(service: Service, tmp_path: Path) -> None:
    """Every block of it."""
    programs = [block.text for block in blocks(GUIDE.read_text()) if block.language == "python"]
    text = "\n".join(programs).replace(URL, service.url).replace("hel_…", service.key)
    result = subprocess.run(  # noqa: S603 - our own page
        [sys.executable, "-W", "error", "-c", text],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() in {"queued", "sending", "sent"}
