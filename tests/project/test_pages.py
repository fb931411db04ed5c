"""The commands and the examples of docs/ work as the pages show them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Failure, Stage
from app.domain.outcome.replies import Reply
from tests.project.shell_blocks import blocks, shell
from tests.support.dev_process import Dev, developing
from tests.support.servers.dns_server import DnsServer
from tests.support.terminal import ROOT, Terminal

# All of them speak to one `heloise dev`.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.one_database]

API = "http://localhost:8000"
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(DOCS).as_posix(): list(blocks(path.read_text()))
    for path in sorted(DOCS.rglob("*.md"))
}
COMMANDS = {
    name: found
    for name, page in PAGES.items()
    if name != "operations/deploy.md"  # it sets up servers: test_readme.py runs it
    if (found := [block for block in page if block.language == "sh"])
}
STREAM = "curl -N "
RAW_MESSAGE = """\
From: billing@mail.dev.example
To: ann@example.org, bob@example.org
Subject: Your receipt
Date: Thu, 15 Jan 2026 09:30:00 +0000
Message-ID: <1@mail.dev.example>

Thanks.
"""
BOUNCE = """\
From: mailer-daemon@example.org
To: billing@mail.dev.example
Subject: Undelivered Mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=next

--next
Content-Type: message/delivery-status

Reporting-MTA: dns; example.org

Final-Recipient: rfc822; ann@example.org
Action: failed
Status: 5.1.1

--next
Content-Type: message/rfc822

Message-ID: <1@mail.dev.example>

--next--
"""


def files(folder: Path) -> None:
    """Write the files that the pages name."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    contents = {
        "account.json": json.dumps({"client_email": "a@b.iam.example", "private_key": pem}),
        "bounce.eml": BOUNCE.replace("\n", "\r\n"),
        "message.eml": RAW_MESSAGE.replace("\n", "\r\n"),
        "messages.jsonl": json.dumps({"to": ["ann@example.org"], "text": "Thanks."}) + "\n",
        "receipt.pdf": "%PDF-1.7\n",
    }
    for name, content in contents.items():
        (folder / name).write_text(content, newline="")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A folder with the files that the pages name."""
    folder = tmp_path_factory.mktemp("pages")
    files(folder)
    return Terminal(folder)


@pytest.fixture(scope="module")
def dev(terminal: Terminal) -> Iterator[Dev]:
    """`heloise dev`, and the commands in the same folder speak to its database."""
    with DnsServer() as dns:
        terminal.environment["HELOISE_DNS_SERVERS"] = dns.setting
        with developing(terminal) as running:
            terminal.environment |= running.sourced()
            terminal.done("tenant", "create", "acme")
            yield running


def first_line(command: str, terminal: Terminal, dev: Dev) -> str:
    """The first line that a command without an end prints."""
    process = subprocess.Popen(  # noqa: S603 - the project's own command
        ["bash", "-c", f"exec {command}"],  # noqa: S607 - as above
        cwd=terminal.folder,
        env=terminal.environment | {"KEY": dev.printed("key")},
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
@pytest.mark.parametrize("page", COMMANDS)
def test_every_command_of_a_page_runs(page: str, terminal: Terminal, dev: Dev) -> None:
    """In the page's order, on `heloise dev`."""
    for block in COMMANDS[page]:
        text = block.text.replace(API, dev.url)
        if text.startswith(STREAM):
            assert first_line(text.replace("curl", "curl --fail", 1), terminal, dev)
        else:
            text = re.sub(r"^curl ", "curl --fail-with-body ", text, flags=re.MULTILINE)
            shell(text, terminal, KEY=dev.printed("key"))


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
        shown = [*replies(parsed), *replies(http.get("/openapi.json").json())]
    assert shown
    for reply in shown:
        assert reply["classification"] in classifications(reply), reply
