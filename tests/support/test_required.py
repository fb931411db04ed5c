"""HELOISE_TEST_REQUIRE: where a server must be there, a skip is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """\
import pytest

@pytest.fixture
def server():
    pytest.skip("no server here")

@pytest.mark.postgresql
def test_marked(server): ...

def test_unmarked(server): ...

@pytest.mark.postgresql
@pytest.mark.xfail(raises=ValueError)
def test_expected(): raise ValueError
"""


@pytest.mark.parametrize(
    ("required", "code", "counts"),
    [
        ("", 0, "2 skipped, 1 xfailed"),
        ("postfix", 0, "2 skipped, 1 xfailed"),
        ("postgresql postfix", 1, "1 skipped, 1 xfailed, 1 error"),
    ],
)
def test_a_required_test_may_not_be_skipped(
    tmp_path: Path, required: str, code: int, counts: str
) -> None:
    """It fails, and says why it was skipped; what is not required may be."""
    (tmp_path / "test_them.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-c", ROOT / "pyproject.toml", "--rootdir"]
    result = subprocess.run(  # noqa: S603 - our own interpreter and test file
        [*command, tmp_path, "-p", "no:cacheprovider", "-p", "tests.support.required", tmp_path],
        cwd=ROOT,
        env=os.environ | {"HELOISE_TEST_REQUIRE": required, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert counts in result.stdout, result.stdout
    assert result.returncode == code
    assert ("HELOISE_TEST_REQUIRE has postgresql" in result.stdout) is (code == 1)
