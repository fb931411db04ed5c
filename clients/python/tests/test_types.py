"""Type checkers know every field: what is misspelt is an error, and nothing else is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.terminal import ROOT

PROGRAM: Final = Path(__file__).parent / "typed_program.py"
PACKAGE: Final = ROOT / "clients" / "python"
PROJECT: Final = Path(__file__).parent / "pyright"
PYRIGHT: Final = PROJECT / "node_modules" / ".bin" / "pyright"


def _refused_lines() -> set[int]:
    lines = PROGRAM.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if "# refused" in line}


def _run(*command: str) -> str:
    """What a checker prints, whether or not it found errors."""
    return subprocess.run(  # noqa: S603 - our own tools
        command,
        cwd=PACKAGE,
        env=os.environ | {"MYPYPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


@pytest.mark.slow
def test_mypy_refuses_what_is_misspelt(tmp_path: Path) -> None:
    """With all that --strict checks."""
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n")
    printed = _run(
        *(sys.executable, "-m", "mypy", "--config-file", str(config)),
        *("--cache-dir", str(tmp_path), str(PROGRAM)),
    )
    errors = {int(line) for line in re.findall(r"typed_program\.py:(\d+): error", printed)}
    assert errors == _refused_lines(), printed
    assert "heloise_client/" not in printed


@pytest.mark.slow
@pytest.mark.pyright
@pytest.mark.skipif(not PYRIGHT.exists(), reason="pyright is not installed: see .ci/run")
def test_pyright_refuses_what_is_misspelt() -> None:
    """In its strict mode, which finds nothing in the client's own modules."""
    printed = _run(
        *(str(PYRIGHT), "--project", str(PROJECT), "--outputjson"),
        *("--pythonpath", sys.executable),
    )
    errors = json.loads(printed)["generalDiagnostics"]
    others = [error for error in errors if Path(error["file"]) != PROGRAM]
    assert not others
    assert {error["range"]["start"]["line"] + 1 for error in errors} == _refused_lines()
