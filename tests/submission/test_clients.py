"""Programs in wide use submit messages, and what is stored is what they sent."""

import asyncio
import re
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path
from typing import Final

import pytest
import trustme

from tests.support.api_client import Caller
from tests.support.submission import HOST, Submission, key_of

SENDER: Final = "billing@example.com"
CHANGED: Final = re.compile(rb"(?:received|bcc|x-heloise-[a-z-]+):", re.IGNORECASE)


def _message(subject: str = "Invoice") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = SENDER
    message["To"] = "ann@example.org"
    message["Bcc"] = "hidden@example.org"
    message["Subject"] = subject
    message["Date"] = "Mon, 05 Jan 2026 10:00:00 +0000"
    message["Message-ID"] = "<1@example.com>"
    message["X-Heloise-Tags"] = "invoice"
    return message


def _text() -> bytes:
    message = _message()
    message.set_content("One line.\n.\n..a line with dots\n.\n")
    return message.as_bytes()


def _html_with_files() -> bytes:
    message = _message()
    message.set_content("Text")
    message.add_alternative("<p>HTML</p>", subtype="html")
    message.add_attachment(
        bytes(range(256)) * 40, maintype="application", subtype="pdf", filename="Rechnung März.pdf"
    )
    return message.as_bytes()


def _other_scripts() -> bytes:
    message = _message("Счёт 請求書 فاتورة")
    message.set_content("Grüße, 世界\n", cte="8bit")
    return message.as_bytes(policy=SMTPUTF8.clone(cte_type="8bit", utf8=False))


CONTENTS: Final[dict[str, tuple[Callable[[], bytes], int]]] = {
    "text": (_text, 1),
    "html-with-files": (_html_with_files, 1),
    "many-recipients": (_text, 100),
    "other-scripts": (_other_scripts, 1),
}


class Target:
    """Where a client submits, and how it logs in."""

    def __init__(self, submission: Submission, key: str, authority: Path) -> None:
        self.submission, self.key, self.authority = submission, key, authority


async def _smtplib(target: Target, content: bytes, rcpts: list[str], *, tls: bool) -> None:
    """Python's client; it stuffs dots, and verifies the certificate."""

    def send() -> None:
        context = ssl.create_default_context(cafile=str(target.authority))
        if tls:
            client = smtplib.SMTP_SSL(HOST, target.submission.tls_port, context=context)
        else:
            client = smtplib.SMTP(HOST, target.submission.port)
        with client:
            if not tls:
                client.starttls(context=context)
            client.login("transactional", target.key)
            assert client.sendmail(SENDER, rcpts, content, ["BODY=8BITMIME"]) == {}

    await asyncio.to_thread(send)


async def _curl(target: Target, content: bytes, rcpts: list[str], *, tls: bool) -> None:
    """curl, which requires TLS and verifies the certificate."""
    scheme, port = (
        ("smtps", target.submission.tls_port) if tls else ("smtp", target.submission.port)
    )
    arguments = ["--ssl-reqd", "--cacert", str(target.authority), "--mail-from", SENDER]
    for rcpt in rcpts:
        arguments += ["--mail-rcpt", rcpt]
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--url", f"{scheme}://{HOST}:{port}/localhost"),
        *("--user", f"transactional:{target.key}", "--upload-file", "-", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(content)
    assert process.returncode == 0, errors.decode()


CLIENTS: Final = {"smtplib": _smtplib, "curl": _curl}


def _unchanged(content: bytes) -> bytes:
    """The content without the fields that a submission server changes."""
    header, separator, body = content.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", header)
    return b"\r\n".join(each for each in fields if not CHANGED.match(each)) + separator + body


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The authority's certificate as a file."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.mark.one_database
@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "implicit-tls"])
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_what_is_stored_is_what_the_client_sent(
    submission: Submission,
    sender: Caller,
    authority_file: Path,
    client: str,
    content: str,
    *,
    tls: bool,
) -> None:
    """Byte for byte, except for Received, Bcc and the options."""
    build, count = CONTENTS[content]
    sent = build()
    rcpts = [f"user{number}@example.org" for number in range(count)]
    target = Target(submission, key_of(sender), authority_file)
    await CLIENTS[client](target, sent, rcpts, tls=tls)
    [listed] = (await sender.read("/messages"))["items"]
    message = await sender.read(f"/messages/{listed['id']}")
    assert [each["address"] for each in message["recipients"]] == rcpts
    assert message["tags"] == ["invoice"]
    stored = (await sender("GET", f"/messages/{listed['id']}/raw")).content
    assert b"hidden@example.org" not in stored
    assert b"X-Heloise" not in stored
    assert stored.startswith(b"Received: ")
    assert _unchanged(stored) == _unchanged(sent)
