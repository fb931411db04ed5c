"""The commands and the examples of docs/ work as the pages show them."""

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from standardwebhooks.webhooks import Webhook

from app.cli import DeferredCommand, heloise, load_command
from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Failure, Stage
from app.domain.outcome.replies import Reply
from tests.project.shell_blocks import blocks, shell
from tests.support.dev_process import Dev, developing
from tests.support.processes.forked import Forker
from tests.support.servers.dns_server import DnsServer
from tests.support.terminal import ROOT, Terminal

# All of them speak to one `heloise dev`.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.one_database]

API = "http://localhost:8000"
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = {
    path.relative_to(DOCS).as_posix(): list(blocks(path.read_text()))
    for path in sorted(DOCS.rglob("*.md"))
}
SHELL = {
    name: commands
    for name, page in PAGES.items()
    if (commands := [block for block in page if block.language == "sh"])
}
STREAM = "curl -N "
NO_COMMANDS = {"json", "mermaid", "text"}
RUN_ELSEWHERE = {
    ("guide/client.md", "python"): "clients/python/tests/test_distribution.py",
    **{
        ("guide/smtp.md", language): "tests/project/test_smtp_page.py"
        for language in ("ini", "js", "python")
    },
    ("operations/backup.md", "sh"): "tests/project/test_backup_page.py",
    ("operations/deploy.md", "sh"): "tests/project/test_readme.py",
}
# Settings of programs that the tests do not install: Go, Loco, Nextcloud, Rails and GitLab.
NOT_RUN = {("guide/smtp.md", language) for language in ("go", "php", "ruby", "rust", "yaml")}
RUN_HERE = {("guide/events.md", "python"), ("guide/resend.md", "python")}
PREPARING = "index.md"  # its commands prepare a terminal for those of all other pages


def write_account(folder: Path) -> None:
    """Write the file that only Google can give: the key of a service account."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "a@b.iam.example", "private_key": pem}
    (folder / "account.json").write_text(json.dumps(account))


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, forking: Forker) -> Terminal:
    """A folder with what a clone has once `make run` has run."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / ".venv").symlink_to(sys.prefix)
    write_account(folder)
    return Terminal(folder, forker=forking)


@pytest.fixture(scope="module")
def dev(terminal: Terminal) -> Iterator[Dev]:
    """`heloise dev`, and a terminal that the first page has prepared."""
    with DnsServer() as dns:
        terminal.environment["HELOISE_DNS_SERVERS"] = dns.setting
        with developing(terminal) as running:
            [preparing] = SHELL[PREPARING]
            *_, variables = shell(f"{preparing.text}echo\nenv -0", terminal).rpartition("\n\n")
            terminal.environment |= dict(
                line.split("=", 1) for line in variables.split("\0") if "=" in line
            )
            yield running


def first_line(command: str, terminal: Terminal) -> str:
    """The first line that a command without an end prints."""
    process = subprocess.Popen(  # noqa: S603 - the project's own command
        ["bash", "-c", f"exec {command}"],  # noqa: S607 - as above
        cwd=terminal.folder,
        env=terminal.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        return process.stdout.readline()
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.skipif(None in map(shutil.which, ("curl", "jq")), reason="needs curl and jq")
@pytest.mark.parametrize(
    "page", [name for name in SHELL if name != PREPARING and (name, "sh") not in RUN_ELSEWHERE]
)
def test_every_command_of_a_page_runs(page: str, terminal: Terminal, dev: Dev) -> None:
    """In the page's order, on `heloise dev`."""
    for block in SHELL[page]:
        text = block.text.replace(API, dev.url)
        if text.startswith(STREAM):
            assert first_line(text.replace("curl", "curl --fail", 1), terminal)
        else:
            text = re.sub(r"^curl ", "curl --fail-with-body ", text, flags=re.MULTILINE)
            shell(text, terminal)


def test_every_block_is_run() -> None:
    """Here, by the test that is named, or it is listed; a new language has to be taught here."""
    kinds = {(name, block.language) for name, page in PAGES.items() for block in page}
    commands = {kind for kind in kinds if kind[1] not in NO_COMMANDS}
    here = RUN_HERE | {kind for kind in kinds if kind[1] == "sh"} - RUN_ELSEWHERE.keys()
    assert here | RUN_ELSEWHERE.keys() | NOT_RUN == commands
    for (name, _), test in RUN_ELSEWHERE.items():
        assert Path(name).name in (ROOT / test).read_text()


def python_of(page: str) -> str:
    """The program that a page shows."""
    [program] = [block.text for block in PAGES[page] if block.language == "python"]
    return program


def test_the_program_of_resends_page_sends(terminal: Terminal, dev: Dev) -> None:
    """With its two variables."""
    variables = {
        "RESEND_API_URL": f"{dev.url}/resend",
        "RESEND_API_KEY": terminal.environment["KEY"],
    }
    printed = shell(f"python -c {shlex.quote(python_of('guide/resend.md'))}", terminal, **variables)
    with dev.http() as http:
        [message] = http.get("/messages?source=resend&limit=1").json()["items"]
    assert message["id"].partition("_")[2] in printed.replace("-", "")


def test_the_program_of_the_webhooks_verifies_what_is_signed() -> None:
    """As Heloise signs events, by Standard Webhooks."""
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    body, now = '{"type": "message.sent"}', datetime.now(UTC)
    signature = Webhook(secret).sign("evt_1", now, body)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    names: dict[str, Any] = {"secret": secret, "body": body, "headers": headers}
    exec(python_of("guide/events.md"), names)  # noqa: S102 - the program that we show
    assert names["event"] == {"type": "message.sent"}


INLINE = sorted(
    {
        " ".join(command.split())
        for text in [README, *(path.read_text() for path in DOCS.rglob("*.md"))]
        for command in re.findall(r"(?<!`)`((?:heloise|make) [^`]+)`", text)
    }
)


@pytest.mark.parametrize("command", INLINE)
def test_every_command_within_a_sentence_exists(command: str) -> None:
    """With its options; `create|update` names two of them."""
    program, *words = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{words[0]}:", MAKEFILE, re.MULTILINE)
        return
    assert_is_command(heloise, words)


def assert_is_command(command: Any, words: list[str]) -> None:
    """The words name a command of ours, and options of its own."""
    if isinstance(command, DeferredCommand):
        command = load_command(command.name)
    subcommands = getattr(command, "commands", {})
    if subcommands and words and not words[0].startswith("-"):
        for name in words[0].split("|"):
            assert_is_command(subcommands[name], words[1:])
        return
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("page", SHELL)
def test_every_shell_takes_the_commands(page: str) -> None:
    """Zsh refuses a URL with `?` or `*` that is not quoted: it looks for files of that name."""
    for block in SHELL[page]:
        line = re.sub(r"<<'END'\n.*?^END$", "", block.text, flags=re.DOTALL | re.MULTILINE)
        unquoted = re.sub(r"""'[^']*'|"[^"]*\"""", "", line)
        urls = [word for word in unquoted.split() if "://" in word]
        assert not set("?*[") & set("".join(urls)), block.text


def replies(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within a value that shows how Heloise classifies a reply."""
    if isinstance(value, dict):
        if "classification" in value and isinstance(value.get("code"), int):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from replies(item)


def classifications(shown: dict[str, Any]) -> set[str]:
    """What the failure table makes of the reply that is shown, at each stage."""
    reply = Reply(shown["code"], shown["text"], shown["enhanced_code"])
    if reply.is_positive:
        return {"delivered"}
    return {
        classify(Failure(stage, reply), fresh=True, authenticated=True).classification
        for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)
    }


def test_every_reply_shown_is_classified_as_heloise_does(dev: Dev) -> None:
    """In the pages and in the OpenAPI document."""
    texts = [block.text for page in PAGES.values() for block in page if block.language == "json"]
    parsed = [json.loads(text) for text in texts if ", …" not in text]
    with dev.http() as http:
        examples = [*replies(parsed), *replies(http.get("/openapi.json").json())]
    assert examples
    for reply in examples:
        assert reply["classification"] in classifications(reply), reply
