"""`make`, constraints and CI: two commands on a fresh machine, and exact versions."""

import re
import subprocess
import tomllib
from importlib.metadata import distributions
from itertools import chain

import pytest
import yaml

from tests.support.terminal import ROOT

TARGETS = (
    *(
        "run",
        "test-quick",
        "test",
        "test-long",
        "fuzz",
        "check",
        "docs",
        "bench",
        "bench-quick",
        "soak",
        "fmt",
        "client",
        "dist",
    ),
    *("constraints", "sbom", "audit"),
)


def run_make(*words: str) -> str:
    """What make prints."""
    result = subprocess.run(  # noqa: S603 - our own Makefile
        ["make", "--no-print-directory", *words],  # noqa: S607 - whichever make there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_make_prints_what_there_is() -> None:
    """Every target, with what it does."""
    printed = run_make()
    for target in TARGETS:
        assert re.search(rf"^  make {target} +\w", printed, re.MULTILINE)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_knows_how(target: str) -> None:
    """Each can be asked for what it would do."""
    assert run_make("--dry-run", target)


def test_the_environment_is_made_again_when_what_it_needs_changes() -> None:
    """Its stamps are older than neither file."""
    text = (ROOT / "Makefile").read_text()
    assert "$(RUN): pyproject.toml constraints.txt" in text
    assert "$(STAMP): $(RUN)" in text


def normal(name: str) -> str:
    """A package's name as an index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def load_pins() -> dict[str, str]:
    """What constraints.txt says, by package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!+]+", line) for line in pins)
    return {normal(name): version for name, version in (line.split("==") for line in pins)}


def test_constraints_are_exact_versions_and_name_no_index() -> None:
    """Of everything that is needed, and they are what is installed here."""
    pins = load_pins()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras.pop("dev") == [f"heloise[{','.join(extras)}]"]
    for requirement in chain(project["dependencies"], *extras.values()):
        match = re.match(r"[A-Za-z0-9_.-]+", requirement)
        assert match is not None
        assert normal(match[0]) in pins
    installed = {
        normal(distribution.metadata["Name"]): distribution.version
        for distribution in distributions()
    }
    differing = {name for name in pins.keys() & installed if pins[name] != installed[name]}
    assert not differing


def test_ci_checks_and_tests_and_skips_nothing() -> None:
    """What needs a server has to run there."""
    script = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    required = re.search(r'HELOISE_TEST_REQUIRE="([^"]*)"', script)
    assert required is not None
    assert required[1].replace("\\\n", "").split() == [
        *("postgresql", "postfix", "dovecot", "exim", "mail_dkim", "nginx", "pgbouncer", "patroni"),
        *("nodemailer", "swaks", "msmtp", "prometheus", "pyright", "pypi", "resend_node"),
        *("chromium", "helm", "oidc_provider", "axe"),
    ]
    assert script.index("make check") < script.index("make test")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_hooks_run_the_projects_own_tools() -> None:
    """No second set of versions."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    for repository in config["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].startswith(".venv/bin/")


def test_the_changelog_has_a_place_for_what_comes() -> None:
    """Keep a Changelog."""
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_site_has_each_page_once() -> None:
    """A page that no menu names cannot be found; decisions have an index of their own."""
    menu = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    entries = [entry for section in menu for entry in section.values()]
    named = chain.from_iterable([entry] if isinstance(entry, str) else entry for entry in entries)
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    assert sorted(named) == sorted(page for page in pages if not page.startswith("decisions/0"))
