"""Every command of the README and of the page on deploying runs, and answers as shown."""

import asyncio
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from app.settings.model import PREFIX, Settings
from benchmarks.trial.processes import held_port
from tests.project.shell_blocks import blocks, shell
from tests.support.database.postgresql import Server, binaries
from tests.support.dev_process import developing
from tests.support.processes.forked import Forker
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.smtp_server import SmtpServer
from tests.support.terminal import ROOT, Terminal

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
API = "http://localhost:8000"
SUBMISSION = "smtp://localhost:2587"
DATABASE = "postgresql://heloise:secret@localhost/heloise"
AS_POSTGRES = "sudo -u postgres psql"
COMPOSE_UP = "docker compose up --build --detach\n"
IN_CONTAINER = re.compile(r"docker compose exec (-T )?api heloise ")
# What is run in a container is run here without it.
DOCKER = 'docker() { while [ "$1" != heloise ]; do shift; done; "$@"; }\n'
NEXT = "--- the next block ---"
NEWCOMER = "newcomer"  # the name of a role and its database

README = (ROOT / "README.md").read_text()
DEPLOY = (ROOT / "docs" / "operations" / "deploy.md").read_text()
BLOCKS = list(blocks(README))
SHELL = [block for block in BLOCKS if block.language == "sh"]
MAKE = [block for block in SHELL if block.text.startswith("make ")]
PASTED = [block for block in SHELL if block not in MAKE]
DEPLOYING = [block for block in blocks(DEPLOY) if block.language == "sh"]

needs_curl_and_jq = pytest.mark.skipif(
    None in map(shutil.which, ("curl", "jq")), reason="needs curl and jq"
)


def section(heading: str) -> list[str]:
    """The commands of each block below a heading of the page on deploying."""
    texts = [block.text for block in DEPLOYING if block.heading == heading]
    return [text.replace("curl -sS", "curl -sS --fail-with-body") for text in texts]


@pytest.fixture
def terminal(tmp_path: Path, forking: Forker) -> Terminal:
    """An empty folder without any setting."""
    return Terminal(tmp_path, forker=forking)


def test_every_block_is_run_here() -> None:
    """A new kind of block has to be taught to this file."""
    assert {block.language for block in BLOCKS} == {"sh", "json", "text"}
    assert {block.heading for block in DEPLOYING} == {"PostgreSQL", "Docker Compose"}


@pytest.mark.timeout(600)
@needs_curl_and_jq
def test_the_readme_can_be_pasted_from_top_to_bottom(terminal: Terminal) -> None:
    """Into one shell beside `make run`; each request is answered as is shown below it."""
    (terminal.folder / ".venv").symlink_to(sys.prefix)
    with DnsServer() as dns:
        terminal.environment["HELOISE_DNS_SERVERS"] = dns.setting
        with developing(terminal) as dev:
            text = f"echo '{NEXT}'\n".join(block.text for block in PASTED)
            text = text.replace("curl -sS", "curl -sS --fail-with-body").replace(API, dev.url)
            text = text.replace(SUBMISSION, f"smtp://localhost:{dev.submission_port}")
            answers = shell(text, terminal).split(f"{NEXT}\n")
            with dev.http() as http:
                [message] = http.get("/messages?source=smtp").json()["items"]
    assert message["profile"] == "transactional"
    for block, answer in zip(PASTED, answers, strict=True):
        for below in BLOCKS[BLOCKS.index(block) + 1 :][:1]:
            if below.language == "json":
                assert keys_of(json.loads(answer)) == keys_of(json.loads(below.text))


def keys_of(value: Any) -> Any:
    """The shape of an answer: its fields, and theirs."""
    if isinstance(value, dict):
        return {key: keys_of(item) for key, item in value.items()}
    return [keys_of(item) for item in value] if isinstance(value, list) else None


@pytest.mark.parametrize(
    "line",
    [
        line
        for block in [*MAKE, *DEPLOYING]
        for line in block.commands()
        if line.startswith("make ")
    ],
)
def test_every_make_target_exists(line: str) -> None:
    """`make --dry-run` knows it."""
    words = shlex.split(line)
    subprocess.run([*words, "--dry-run"], cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - as above


@contextmanager
def running(terminal: Terminal, *services: tuple[list[str], dict[str, str]]) -> Iterator[None]:
    """Run commands, each with its variables, while the block runs; then they stop in order."""
    processes = [terminal.start(*words, **variables) for words, variables in services]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.communicate()
    assert [process.returncode for process in processes] == [0] * len(processes)


def wait_ready(port: int) -> None:
    """Return once the API is ready."""
    with httpx.Client(transport=httpx.HTTPTransport(retries=9), timeout=60) as http:
        assert http.get(f"http://127.0.0.1:{port}/readyz?delivery=false").status_code == 200


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.timeout(600)
@needs_curl_and_jq
def test_it_runs_on_postgresql_as_is_said(postgresql: Server, terminal: Terminal) -> None:
    """With a role of its own, which may do no more than its database's owner."""
    creating, setting_up, serving, sending = section("PostgreSQL")
    folder, server = binaries(), urlsplit(postgresql.empty())
    assert folder is not None
    psql = shlex.join([str(folder / "psql"), server.geturl()])
    shell(creating.replace("heloise", NEWCOMER).replace(AS_POSTGRES, psql), terminal)
    url = f"postgresql://{NEWCOMER}:secret@{server.netloc.rpartition('@')[2]}/{NEWCOMER}"
    assert DATABASE in setting_up
    printed = shell(f"{setting_up.replace(DATABASE, url)}env", terminal).splitlines()
    terminal.environment |= {
        line.partition("=")[0]: line.partition("=")[2]
        for line in printed
        if line.startswith(("HELOISE_", "KEY="))
    }
    with DnsServer() as dns, held_port() as port, held_port() as worker_port:
        environment = {
            "DNS_SERVERS": dns.setting,
            "PORT": str(port),
            "WORKER_PORT": str(worker_port),
        }
        commands = [shlex.split(line.removesuffix("&"))[1:] for line in serving.splitlines()]
        with running(terminal, *((words, environment) for words in commands)):
            wait_ready(port)
            answer = shell(sending.replace(API, f"http://127.0.0.1:{port}"), terminal)
    assert json.loads(answer)["profile"] == "transactional"


def in_compose(name: str, **variables: str) -> tuple[list[str], dict[str, str]]:
    """A service's command and environment, with what is another one without containers."""
    declared = {
        variable.removeprefix(PREFIX): str(value)
        for variable, value in SERVICES[name]["environment"].items()
    }
    declared["EHLO_NAME"] = ""
    return SERVICES[name]["command"], declared | variables


def check_health(name: str, port: int) -> None:
    """Run the service's health check until it passes, on the port that the service has here."""
    words = SERVICES[name]["healthcheck"]["test"]
    check = words[-1].replace(str(Settings.model_fields["worker_port"].default), str(port))
    shell(f"until {shlex.join([*words[1:-1], check])} 2>&-; do sleep 0.1; done", Terminal(ROOT))


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.timeout(600)
@needs_curl_and_jq
async def test_compose_ends_with_mails_in_the_catcher(
    postgresql: Server, terminal: Terminal
) -> None:
    """The commands of its services on one machine, with their variables and secrets."""
    setting_up, sending = section("Docker Compose")
    making, with_containers = setting_up.split(COMPOSE_UP)
    text = with_containers + sending
    lines = [line for line in text.splitlines() if "docker " in line]
    assert lines
    assert all(IN_CONTAINER.search(line) for line in lines)
    shutil.copy(ROOT / "Makefile", terminal.folder)
    shell(making, terminal)
    secrets = terminal.folder / "secrets"
    (secrets / "heloise_database_url").write_text(await asyncio.to_thread(postgresql.empty))
    async with SmtpServer() as catcher, AsyncExitStack() as stack:
        dns = stack.enter_context(DnsServer())
        dns.add("mailpit", "A", "127.0.0.1")
        api_port, *worker_ports = (stack.enter_context(held_port()) for _ in range(3))
        environment = {
            "SECRETS_DIR": str(secrets),
            "DNS_SERVERS": dns.setting,
            "ALLOWED_PORTS": str(catcher.port),
            "PORT": str(api_port),
        }
        migrate, migrate_variables = in_compose("migrate", **environment)
        await asyncio.to_thread(terminal.done, *migrate, **migrate_variables)
        api = in_compose("api", **environment)
        workers = [
            in_compose("worker", **environment, WORKER_PORT=str(port)) for port in worker_ports
        ]
        assert len(workers) == SERVICES["worker"]["deploy"]["replicas"]
        stack.enter_context(running(terminal, api, *workers))
        await asyncio.to_thread(wait_ready, api_port)
        for port in worker_ports:
            await asyncio.to_thread(check_health, "worker", port)
        text = text.replace("--port 1025", f"--port {catcher.port}")
        text = text.replace(API, f"http://127.0.0.1:{api_port}")
        variables = {f"{PREFIX}{name}": value for name, value in api[1].items()}
        await asyncio.to_thread(partial(shell, f"{DOCKER}{text}", terminal, **variables))
        first, second = await catcher.wait_for_messages(2)
    assert b"Subject: Test mail from Heloise" in first.data
    assert b"Subject: Your receipt" in second.data


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
