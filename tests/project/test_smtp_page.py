"""The settings that docs/guide/smtp.md shows for programs work as they are pasted."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import django
import httpx
import pytest
import trustme

from benchmarks.trial.processes import held_port
from tests.project.pages import rows
from tests.project.shell_blocks import blocks
from tests.support.dev_process import developing
from tests.support.mail_clients import NEEDS_MSMTP, NEEDS_NODEMAILER, NODEMAILER
from tests.support.processes.forked import Forker
from tests.support.servers.satellite import Satellite, satellite
from tests.support.terminal import ROOT, NearTerminal, Terminal
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS

__all__ = ["satellite"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.one_database]

PAGE: Final = (ROOT / "docs/guide/smtp.md").read_text()
# What to change for `make run`: by program, a text and what to write instead.
CHANGES: Final = {
    row[0]: (row[1].strip("`"), row[2].strip("`"))
    for row in rows(PAGE, "Program")
    if row[0] in {"Django", "Nodemailer", "Postfix", "msmtp"}
}
SENDER: Final = "billing@example.com"
MESSAGE: Final = f"From: {SENDER}\r\nSubject: Your receipt\r\n\r\nThanks.\r\n"


@dataclass(frozen=True)
class Place:
    """A running Heloise, and what to paste of it."""

    url: str
    port: int
    key: str
    authority: Path
    has_tls: bool

    def fill_in(self, heading: str) -> list[str]:
        """The blocks below a heading, with this place's host, port and key."""
        texts = [block.text for block in blocks(PAGE) if block.heading == heading]
        assert texts, heading
        old, new = CHANGES.get(heading.partition(" ")[0], ("", ""))
        if not self.has_tls:
            assert old in "".join(texts), heading
            texts = [text.replace(old, new) for text in texts]
        words = {
            "mail-api.example.com": "localhost",
            "587": str(self.port),
            "hel_…": self.key,
        }
        for word, value in words.items():
            texts = [text.replace(word, value) for text in texts]
        return texts

    def wait_message(self, recipient: str) -> None:
        """Return once a message for a recipient is stored; with `make run`, once it is sent."""
        bearer = {"Authorization": f"Bearer {self.key}"}
        params = {"recipient": recipient, "status": "queued" if self.has_tls else "sent"}
        deadline = time.monotonic() + PATIENCE_SECONDS
        with httpx.Client(base_url=self.url, headers=bearer, timeout=60) as http:
            while not http.get("/messages", params=params).json()["items"]:
                assert time.monotonic() < deadline, recipient
                time.sleep(POLL_SECONDS)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, forking: Forker) -> Iterator[Place]:
    """`heloise serve` with a certificate."""
    authority = trustme.CA()
    folder = tmp_path_factory.mktemp("serve")
    terminal = NearTerminal(folder, forker=forking)
    terminal.environment["HELOISE_DATABASE_URL"] = f"sqlite:///{folder / 'heloise.db'}"
    terminal.environment["HELOISE_SECRET_KEYS"] = terminal.done("secret-key").out.strip()
    terminal.done("migrate")
    terminal.done("tenant", "create", "acme")
    key = terminal.done("key", "create", "-t", "acme", "--name", "mailer", "--json").json["key"]
    host = ("--host", "smtp.example.com", "--ehlo-name", "mail.example.com")
    terminal.done("profile", "create", "-t", "acme", "--name", "transactional", *host)
    certificate = authority.issue_cert("localhost").private_key_and_cert_chain_pem
    certificate.write_to_path(str(folder / "certificate.pem"))
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    with ExitStack() as stack:
        http_port, port, tls_port = [stack.enter_context(held_port()) for _ in range(3)]
        variables = {
            "PORT": http_port,
            "SUBMISSION": "true",
            "SUBMISSION_PORTS": port,
            "SUBMISSION_TLS_PORTS": tls_port,
            "SUBMISSION_TLS_CERTIFICATE": folder / "certificate.pem",
        }
        process = terminal.start(
            "serve", "--no-delivery", **{name: str(value) for name, value in variables.items()}
        )
        url = f"http://127.0.0.1:{http_port}"
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=9), timeout=60) as http:
                assert http.get(f"{url}/readyz").status_code == 200
            yield Place(url, port, key, folder / "authority.pem", has_tls=True)
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory, forking: Forker) -> Iterator[Place]:
    """`heloise dev`, as `make run` starts it."""
    folder = tmp_path_factory.mktemp("dev")
    with developing(Terminal(folder, forker=forking)) as dev:
        key = dev.printed("password")
        yield Place(dev.url, dev.submission_port, key, Path("/dev/null"), has_tls=False)


def run(place: Place, folder: Path, *words: str, stdin: str = "", **variables: str) -> None:
    """Run a program that trusts the authority; it has to succeed."""
    trust = {"SSL_CERT_FILE": str(place.authority), "NODE_EXTRA_CA_CERTS": str(place.authority)}
    result = subprocess.run(  # noqa: S603 - programs of the tests
        words,
        cwd=folder,
        env=os.environ | (trust if place.has_tls else {}) | variables,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def django_sends(place: Place, folder: Path, recipient: str, _: Callable[[], Satellite]) -> None:
    """With a module of settings."""
    pasted = place.fill_in("Django")
    (folder / "pasted.py").write_text(pasted[django.VERSION >= (6, 1)])
    program = f"""
from django.core.mail import send_mail
assert send_mail("Your receipt", "Thanks.", None, ["{recipient}"]) == 1
"""
    variables = {"DJANGO_SETTINGS_MODULE": "pasted", "PYTHONPATH": str(folder)}
    run(place, folder, sys.executable, "-c", program, **variables)


def nodemailer_sends(
    place: Place, folder: Path, recipient: str, _: Callable[[], Satellite]
) -> None:
    """With a module that sends."""
    [pasted] = place.fill_in("Nodemailer")
    (folder / "node_modules").symlink_to(NODEMAILER / "node_modules")
    mail = f'{{ from: "{SENDER}", to: "{recipient}", subject: "Your receipt", text: "Thanks." }}'
    (folder / "pasted.mjs").write_text(f"{pasted}\nawait transporter.sendMail({mail});\n")
    run(place, folder, "node", "pasted.mjs")


def msmtp_sends(place: Place, folder: Path, recipient: str, _: Callable[[], Satellite]) -> None:
    """With a file of settings."""
    [pasted] = place.fill_in("msmtp")
    file = folder / "msmtprc"
    file.touch(mode=0o600)
    file.write_text(f"{pasted}tls_trust_file {place.authority}\n")
    run(place, folder, "msmtp", "--file", str(file), recipient, stdin=MESSAGE)


def postfix_sends(
    place: Place, folder: Path, recipient: str, satellite: Callable[[], Satellite]
) -> None:
    """With its two files; a program of the machine hands it a message."""
    main_cf, logins = place.fill_in("Postfix as a satellite")
    satellite().configure(main_cf, logins, place.authority)
    program = f"""
import smtplib
with smtplib.SMTP("127.0.0.1", {satellite().port}) as client:
    client.sendmail("{SENDER}", ["{recipient}"], {MESSAGE!r})
"""
    run(place, folder, sys.executable, "-c", program)


PROGRAMS: Final = [
    pytest.param(django_sends, id="django"),
    pytest.param(nodemailer_sends, id="nodemailer", marks=NEEDS_NODEMAILER),
    pytest.param(msmtp_sends, id="msmtp", marks=NEEDS_MSMTP),
    pytest.param(postfix_sends, id="postfix", marks=pytest.mark.postfix),
]
Sends = Callable[[Place, Path, str, Callable[[], Satellite]], None]


@pytest.mark.parametrize("sends", PROGRAMS)
@pytest.mark.parametrize("place", ["serve", "make_run"])
def test_the_settings_of_the_page_send(
    sends: Sends, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As pasted, through `heloise serve` with TLS, and through `make run`."""
    running: Place = request.getfixturevalue(place)
    recipient = f"{sends.__name__}@example.org"
    sends(running, tmp_path, recipient, lambda: request.getfixturevalue("satellite"))
    running.wait_message(recipient)


def test_the_login_of_the_page_sends(serve: Place, tmp_path: Path) -> None:
    """Python's program."""
    [pasted] = serve.fill_in("Log in")
    run(serve, tmp_path, sys.executable, "-c", f"message = {MESSAGE!r}\n{pasted}")
    serve.wait_message("ann@example.org")
