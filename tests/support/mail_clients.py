"""Programs in wide use that submit mail, each called as a person or a program calls it."""

import asyncio
import json
import re
import shutil
import smtplib
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formataddr
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import aiosmtplib
import pytest
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend

from tests.support.servers.satellite import Satellite
from tests.support.terminal import ROOT

HOST: Final = "localhost"
SENDER: Final = "billing@example.com"
PROFILE: Final = "transactional"
HIDDEN: Final = "hidden@example.org"  # in the header alone
NODEMAILER: Final = ROOT / "tests/submission/nodemailer"

# What clients would choose anew for each message.
FIELDS: Final = {
    "Date": "Mon, 05 Jan 2026 10:00:00 +0000",
    "Message-ID": "<1@example.com>",
    "X-Heloise-Tags": "invoice",
}


@dataclass(frozen=True)
class Target:
    """Where a client submits, how it logs in, and a folder for its files."""

    port: int
    tls_port: int
    key: str
    authority: Path
    folder: Path
    satellite: Callable[[], Satellite]

    def choose_port(self, *, tls: bool) -> int:
        """The port for TLS from the first byte, or for STARTTLS."""
        return self.tls_port if tls else self.port

    def trust(self) -> ssl.SSLContext:
        """TLS that verifies the server's certificate."""
        return ssl.create_default_context(cafile=str(self.authority))


@dataclass(frozen=True)
class Mail:
    """What a client submits: parts, for a client that builds messages itself."""

    text: str
    recipients: Sequence[str]
    subject: str = "Invoice"
    name: str = "Billing"
    html: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def options(self) -> list[str]:
        """The parameters of MAIL, for a client that has to be told."""
        is_ascii = all(address.isascii() for address in self.recipients)
        return ["BODY=8BITMIME"] if is_ascii else ["BODY=8BITMIME", "SMTPUTF8"]

    @cached_property
    def content(self) -> bytes:
        """The message, for a client that builds none."""
        message = EmailMessage(policy=SMTP)
        message["From"] = Address(self.name, addr_spec=SENDER)
        message["To"] = "ann@example.org"
        message["Bcc"] = HIDDEN
        message["Subject"] = self.subject
        for name, value in FIELDS.items():
            message[name] = value
        message.set_content(self.text, cte="7bit" if self.text.isascii() else "8bit")
        if self.html:
            message.add_alternative(self.html, subtype="html")
        for name, content in self.files.items():
            message.add_attachment(content, maintype="application", subtype="pdf", filename=name)
        return message.as_bytes(policy=SMTPUTF8.clone(cte_type="8bit", utf8=False))


async def run(*words: str, content: bytes = b"", **options: Any) -> None:
    """Run a program to its end; it has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        **options,
    )
    output, _ = await process.communicate(content)
    assert process.returncode == 0, output.decode()


async def send_with_smtplib(target: Target, mail: Mail, *, tls: bool) -> bytes:
    """Python's client."""
    content = mail.content

    def send() -> None:
        if tls:
            client = smtplib.SMTP_SSL(HOST, target.tls_port, context=target.trust())
        else:
            client = smtplib.SMTP(HOST, target.port)
        with client:
            if not tls:
                client.starttls(context=target.trust())
            client.login(PROFILE, target.key)
            assert client.sendmail(SENDER, mail.recipients, content, mail.options) == {}

    await asyncio.to_thread(send)
    return content


async def send_with_aiosmtplib(target: Target, mail: Mail, *, tls: bool) -> bytes:
    """The client of asyncio."""
    content = mail.content
    refused, _ = await aiosmtplib.send(
        content,
        sender=SENDER,
        recipients=mail.recipients,
        mail_options=mail.options,
        hostname=HOST,
        port=target.choose_port(tls=tls),
        use_tls=tls,
        start_tls=not tls,
        tls_context=target.trust(),
        username=PROFILE,
        password=target.key,
    )
    assert refused == {}
    return content


async def send_with_curl(target: Target, mail: Mail, *, tls: bool) -> bytes:
    """A command that requires TLS."""
    content = mail.content
    url = f"{'smtps' if tls else 'smtp'}://{HOST}:{target.choose_port(tls=tls)}/localhost"
    await run(
        *("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(target.authority)),
        *("--url", url, "--user", f"{PROFILE}:{target.key}", "--mail-from", SENDER),
        *(word for address in mail.recipients for word in ("--mail-rcpt", address)),
        *("--upload-file", "-"),
        content=content,
    )
    return content


async def send_with_swaks(target: Target, mail: Mail, *, tls: bool) -> bytes:
    """The command of those who test mail servers."""
    content = mail.content
    await run(
        *("swaks", "--server", HOST, "--port", str(target.choose_port(tls=tls))),
        *("--tls-on-connect" if tls else "--tls", "--tls-verify"),
        *("--tls-ca-path", str(target.authority)),
        *("--auth", "PLAIN", "--auth-user", PROFILE, "--auth-password", target.key),
        *("--from", SENDER, "--to", ",".join(mail.recipients)),
        *("--data", "-", "--silent", "1"),
        content=content.removesuffix(b"\r\n"),  # it ends the last line
    )
    return content


async def send_with_msmtp(target: Target, mail: Mail, *, tls: bool) -> bytes:
    """What stands in for `sendmail`, with a file of settings."""
    content = mail.content
    file = target.folder / "msmtprc"
    file.touch(mode=0o600)
    file.write_text(
        f"account default\nhost {HOST}\nport {target.choose_port(tls=tls)}\n"
        f"tls on\ntls_starttls {'off' if tls else 'on'}\ntls_trust_file {target.authority}\n"
        f"auth on\nuser {PROFILE}\npassword {target.key}\nfrom {SENDER}\n"
    )
    await run("msmtp", "--file", str(file), "--", *mail.recipients, content=content)
    return content


async def send_with_nodemailer(target: Target, mail: Mail, *, tls: bool) -> bytes:
    """The client of Node.js, which builds the message."""
    attachments = []
    for number, (name, content) in enumerate(mail.files.items()):
        path = target.folder / str(number)
        path.write_bytes(content)
        attachments.append({"filename": name, "path": str(path)})
    sent = target.folder / "sent.eml"
    order = {
        "transport": {
            "host": HOST,
            "port": target.choose_port(tls=tls),
            "secure": tls,
            "requireTLS": not tls,
            "auth": {"user": PROFILE, "pass": target.key},
            "tls": {"ca": target.authority.read_text()},
        },
        "mail": {
            "from": {"name": mail.name, "address": SENDER},
            "to": "ann@example.org",
            "bcc": HIDDEN,
            "envelope": {"from": SENDER, "to": list(mail.recipients)},
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html or None,
            "attachments": attachments,
            "date": FIELDS["Date"],
            "messageId": FIELDS["Message-ID"],
            "headers": {"X-Heloise-Tags": FIELDS["X-Heloise-Tags"]},
        },
        "sent": str(sent),
    }
    await run("node", str(NODEMAILER / "send.mjs"), content=json.dumps(order).encode())
    return re.sub(rb"\r?\n", b"\r\n", sent.read_bytes())  # as Nodemailer does on the wire


class Recorded(EmailMultiAlternatives):
    """Django's message, which keeps the bytes that the backend sends."""

    sent = b""

    def message(self) -> Any:  # type: ignore[override]
        built = super().message()
        self.sent = built.as_bytes(linesep="\r\n")
        return built


async def send_with_django(target: Target, mail: Mail, *, tls: bool) -> bytes:
    """Django's backend, which builds the message."""
    if not settings.configured:
        settings.configure()
    backend = EmailBackend(
        host=HOST,
        port=target.choose_port(tls=tls),
        username=PROFILE,
        password=target.key,
        use_tls=not tls,
        use_ssl=tls,
    )
    backend.ssl_context = target.trust()
    message = Recorded(
        subject=mail.subject,
        body=mail.text,
        from_email=formataddr((mail.name, SENDER)),
        to=mail.recipients,
        headers=FIELDS,
        attachments=[(name, content, "application/pdf") for name, content in mail.files.items()],
        alternatives=[(mail.html, "text/html")] if mail.html else [],
    )
    assert await asyncio.to_thread(backend.send_messages, [message]) == 1
    return message.sent


async def send_with_postfix(target: Target, mail: Mail, *, tls: bool) -> bytes:
    """A Postfix of the client's machine, which adds its own Received field."""
    content, satellite = mail.content, target.satellite()
    relay = f"[{HOST}]:{target.choose_port(tls=tls)}"
    satellite.configure(
        f"relayhost = {relay}\n"
        "smtp_sasl_auth_enable = yes\n"
        "smtp_sasl_password_maps = texthash:/etc/postfix/sasl_passwd\n"
        "smtp_sasl_security_options = noanonymous\n"
        f"smtp_tls_wrappermode = {'yes' if tls else 'no'}\n"
        "smtp_tls_security_level = secure\n"
        "smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
        f"{relay} {PROFILE}:{target.key}\n",
        target.authority,
    )

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", satellite.port) as client:
            assert client.sendmail(SENDER, mail.recipients, content, mail.options) == {}

    await asyncio.to_thread(send)
    await satellite.wait_relayed(mail.recipients)
    return content


Client = Callable[..., Awaitable[bytes]]


def _marks(name: str, *, is_installed: bool) -> tuple[pytest.MarkDecorator, ...]:
    missing = pytest.mark.skipif(not is_installed, reason=f"{name} is not installed: see .ci/run")
    return (getattr(pytest.mark, name), missing)


NEEDS_NODEMAILER: Final = _marks(
    "nodemailer", is_installed=(NODEMAILER / "node_modules/nodemailer").exists()
)
NEEDS_SWAKS: Final = _marks("swaks", is_installed=shutil.which("swaks") is not None)
NEEDS_MSMTP: Final = _marks("msmtp", is_installed=shutil.which("msmtp") is not None)
SMTPUTF8_CLIENTS: Final = [
    pytest.param(send_with_smtplib, id="smtplib"),
    pytest.param(send_with_aiosmtplib, id="aiosmtplib"),
    pytest.param(send_with_curl, id="curl"),
    pytest.param(send_with_nodemailer, id="nodemailer", marks=NEEDS_NODEMAILER),
    pytest.param(send_with_postfix, id="postfix", marks=pytest.mark.postfix),
]
CLIENTS: Final = [
    *SMTPUTF8_CLIENTS,
    pytest.param(send_with_django, id="django"),
    pytest.param(send_with_swaks, id="swaks", marks=NEEDS_SWAKS),
    pytest.param(send_with_msmtp, id="msmtp", marks=NEEDS_MSMTP),
]
