"""docs/contributing keeps up with the code."""

import re
import subprocess
from collections.abc import Iterator

from tests.support.terminal import ROOT

CONTRIBUTING = ROOT / "docs" / "contributing"
CITED_IN = ("app", "benchmarks", "migrations", "tests", "docs", "README.md", "CONTRIBUTING.md")


def list_files(*paths: str) -> list[str]:
    """The files that git knows of, or all where this is no checkout."""
    result = subprocess.run(  # noqa: S603 - git itself
        ["git", "ls-files", *paths],  # noqa: S607 - whichever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return result.stdout.splitlines()
    files = (file for path in paths for file in (ROOT / path).rglob("*") if file.is_file())
    return [file.relative_to(ROOT).as_posix() for file in files]


def list_numbers(text: str) -> Iterator[int]:
    """The numbers of "invariant 5", "invariants 3 and 4", "invariants 1 to 5"."""
    for match in re.finditer(r"\binvariants? (\d+)(?:,? (and|to) (\d+))?", text, re.IGNORECASE):
        first, last = int(match[1]), int(match[3] or match[1])
        yield from range(first, last + 1) if match[2] == "to" else (first, last)


def test_each_invariant_that_is_cited_has_a_heading() -> None:
    """In code, tests and pages, by its number."""
    page = (CONTRIBUTING / "invariants.md").read_text()
    defined = {int(number) for number in re.findall(r"^## (\d+)\. ", page, re.MULTILINE)}
    assert defined == set(range(1, len(defined) + 1))
    paths = [path for path in list_files(*CITED_IN) if path.endswith((".py", ".md"))]
    citations = {number for path in paths for number in list_numbers((ROOT / path).read_text())}
    assert len(citations) > 10
    assert citations <= defined


def test_each_path_that_a_page_names_exists() -> None:
    """In CONTRIBUTING.md and in the pages for contributors; `<noun>` stands for any."""
    pages = [ROOT / "CONTRIBUTING.md", *CONTRIBUTING.glob("*.md")]
    text = "".join(page.read_text() for page in pages)
    paths = set(re.findall(r"`((?:app|benchmarks|migrations|tests)(?:/[\w.]+)*)`", text))
    assert len(paths) > 80
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_the_architecture_names_each_folder() -> None:
    """Of the service's package."""
    text = (CONTRIBUTING / "architecture.md").read_text()
    folders = {path.rpartition("/")[0] for path in list_files("app") if path.endswith(".py")} - {
        "app"
    }
    assert {folder for folder in folders if f"`{folder}`" not in text} == set()
