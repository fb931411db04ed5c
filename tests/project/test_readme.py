"""Every command of the README and of the page on deploying runs, and answers as shown."""

import json
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.trial.processes import held_port
from tests.project.shell_blocks import Block, blocks, shell
from tests.support.database.postgresql import Server
from tests.support.dev_process import developing
from tests.support.servers.dns_server import DnsServer
from tests.support.terminal import ROOT, NearTerminal, Terminal

README = (ROOT / "README.md").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
API = "http://localhost:8000"
SUBMISSION = "smtp://localhost:2587"
DATABASE = "postgresql://heloise:secret@localhost/heloise"


DEPLOY = (ROOT / "docs" / "operations" / "deploy.md").read_text()
BLOCKS = [*blocks(README), *blocks(DEPLOY)]
SHELL = [block for block in BLOCKS if block.language == "sh"]
CURL = [block for block in SHELL if block.text.startswith("curl ")]
CONTAINERS = [block for block in SHELL if "docker compose" in block.text]
MAKE = [block for block in SHELL if block.text.startswith("make ") and block not in CONTAINERS]
SETTING_UP = [block for block in SHELL if block.text.startswith("export ")]
RUNNING = [block for block in SHELL if block.text.startswith("heloise ")]


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """An empty folder without any setting."""
    return Terminal(tmp_path)


def test_every_block_is_run_here() -> None:
    """A new kind of block has to be taught to this file."""
    known = [*CURL, *CONTAINERS, *MAKE, *SETTING_UP, *RUNNING]
    assert sorted(map(SHELL.index, known)) == list(range(len(SHELL)))
    assert all([CURL, CONTAINERS, MAKE, SETTING_UP, RUNNING])
    assert {block.language for block in BLOCKS} == {"sh", "json", "text"}


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_every_curl_is_accepted(terminal: Terminal) -> None:
    """By a real `heloise dev`, one after the other; each answers what is shown below it."""
    with DnsServer() as dns:
        terminal.environment["HELOISE_DNS_SERVERS"] = dns.setting
        _paste_all(terminal)


def _paste_all(terminal: Terminal) -> None:
    with developing(terminal) as dev:
        for block in CURL:
            text = block.text.replace("curl -sS", "curl -sS --fail-with-body").replace(API, dev.url)
            text = text.replace(SUBMISSION, f"smtp://localhost:{dev.submission_port}")
            answer = shell(text, terminal, KEY=dev.printed("key"))
            below = BLOCKS[BLOCKS.index(block) + 1]
            if below.language == "json":
                assert keys_of(json.loads(answer)) == keys_of(json.loads(below.text))
        with dev.http() as http:
            [message] = http.get("/messages?source=smtp").json()["items"]
        assert message["profile"] == "transactional"


def keys_of(value: Any) -> Any:
    """The shape of an answer: its fields, and theirs."""
    if isinstance(value, dict):
        return {key: keys_of(item) for key, item in value.items()}
    return [keys_of(item) for item in value] if isinstance(value, list) else None


@pytest.mark.parametrize(
    "line", [line for block in [*MAKE, *CONTAINERS] for line in block.commands() if "make" in line]
)
def test_every_make_target_exists(line: str) -> None:
    """`make --dry-run` knows it."""
    words = shlex.split(line)
    subprocess.run([*words, "--dry-run"], cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - as above


@pytest.mark.parametrize("block", CONTAINERS, ids=lambda block: block.heading)
def test_what_is_run_in_a_container_runs(block: Block, tmp_path: Path) -> None:
    """In a service that there is, with its variables: here without the container."""
    terminal = NearTerminal(tmp_path)
    lines = [line for line in block.commands() if line.startswith("docker ")]
    assert lines[0] == "docker compose up --build --detach"
    service = COMPOSE["services"]["api"]
    terminal.environment |= {
        name: str(value)
        for name, value in service["environment"].items()
        if name != "HELOISE_EHLO_NAME"
    }
    terminal.environment["HELOISE_SECRET_KEYS"] = terminal.done("secret-key").out.strip()
    terminal.done("migrate")
    for line in lines[1:]:
        assert line.startswith("docker compose exec api heloise ")
        terminal.done(*shlex.split(line.removeprefix("docker compose exec api heloise ")))
    shown = terminal.done("profile", "show", "caught", "-t", "acme", "--json").json
    assert shown["host"] in COMPOSE["services"]


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.timeout(600)
def test_it_runs_on_postgresql_as_is_said(postgresql: Server, terminal: Terminal) -> None:
    """All is set up by one block, and then both processes serve until they are told to stop."""
    (setting_up,), (running,) = SETTING_UP, RUNNING
    assert DATABASE in setting_up.text
    text = setting_up.text.replace(DATABASE, f"'{postgresql.empty()}'")
    printed = shell(f"{text}env", terminal).splitlines()
    variables = [line for line in printed if line.startswith("HELOISE_")]
    terminal.environment |= dict(line.split("=", 1) for line in variables)
    with held_port() as port:
        commands = [shlex.split(line)[1:] for line in running.commands()]
        processes = [terminal.start(*words, PORT=str(port)) for words in commands]
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=9), timeout=60) as http:
                assert http.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
                process.communicate()
    assert [process.returncode for process in processes] == [0, 0]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", README))))
def test_every_link_leads_somewhere(path: str) -> None:
    """Within this repository."""
    assert (ROOT / path).exists()


def test_every_setting_that_is_named_is_one() -> None:
    """In the README and in all of docs."""
    known = (ROOT / ".env.example").read_text()
    texts = [README, *(path.read_text() for path in (ROOT / "docs").rglob("*.md"))]
    named = set(re.findall(r"\bHELOISE_[A-Z_]+[A-Z]\b", "".join(texts)))
    assert {name for name in named if f"#{name}=" not in known} <= {"HELOISE_TEST_REQUIRE"}
