"""How fast SMTP clients send the same message from memory, to servers on loopback."""

from contextlib import ExitStack
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from benchmarks.contestants import nodemailer, smtp_sink
from benchmarks.rounds import Absent, Contestant, Entrants, Measure, Reading
from benchmarks.setting import Setting
from benchmarks.smtp import AIOSMTPLIB, CLIENTS, HELOISE, LIMIT, PLAIN_LIMIT, SMTPLIB, Client
from benchmarks.trial.message import BODY
from benchmarks.trial.sink import running_sink

CONNECTIONS: Final = 10
MANY_CONNECTIONS: Final = 20


def content() -> bytes:
    """The message of the benchmark as the standard library renders it."""
    message = EmailMessage(SMTP)
    message["From"], message["To"], message["Subject"] = BODY["from"], BODY["to"], BODY["subject"]
    message["Message-ID"] = "<0192aa3e-7c1f-7d4e-8a55-3f0c2b1d9e77@example.com>"
    message["Date"] = "Mon, 05 Jan 2026 10:00:00 +0000"
    message.set_content(BODY["text"])
    message.add_alternative(BODY["html"], subtype="html")
    return message.as_bytes()


def contestant(
    name: str,
    client: Client,
    *,
    port: int,
    messages: int,
    connections: int = CONNECTIONS,
    **details: float,
) -> Contestant:
    """A client that sends to a server on this port."""
    sent = content()

    def run() -> Reading:
        return Reading(messages / client(port, sent, messages, connections), details)

    return Contestant(name, run)


def _to_sink(setting: Setting, stack: ExitStack) -> Entrants:
    port, _ = stack.enter_context(running_sink())
    messages = setting.size.sent
    for name in (HELOISE, AIOSMTPLIB, SMTPLIB, LIMIT):
        yield contestant(name, CLIENTS[name], port=port, messages=messages)
    yield contestant(
        f"{LIMIT}, {MANY_CONNECTIONS} connections",
        CLIENTS[LIMIT],
        port=port,
        messages=messages,
        connections=MANY_CONNECTIONS,
    )
    yield nodemailer.enter_nodemailer(setting, port=port, messages=messages, content=content())


def _to_plain_sink(setting: Setting, stack: ExitStack) -> Entrants:
    port, _ = stack.enter_context(running_sink(pipelining=False))
    for name in (HELOISE, AIOSMTPLIB, PLAIN_LIMIT):
        yield contestant(name, CLIENTS[name], port=port, messages=setting.size.sent)


def _to_chunking_sink(setting: Setting, stack: ExitStack) -> Entrants:
    port, _ = stack.enter_context(running_sink(chunking=True))
    for name in (HELOISE, AIOSMTPLIB, LIMIT):
        yield contestant(name, CLIENTS[name], port=port, messages=setting.size.sent)


def _to_smtp_sink(setting: Setting, stack: ExitStack) -> Entrants:
    if reason := smtp_sink.missing():
        yield Absent("Postfix's smtp-sink", reason)
        return
    port = stack.enter_context(smtp_sink.running())
    for name in (HELOISE, AIOSMTPLIB, SMTPLIB, LIMIT):
        yield contestant(name, CLIENTS[name], port=port, messages=setting.size.sent)


TO_SINK: Final = Measure(
    name="smtp",
    title=f"SMTP alone, {CONNECTIONS} connections, to a sink that pipelines",
    enter=_to_sink,
    is_short=True,
)
TO_PLAIN_SINK: Final = Measure(
    name="smtp_plain",
    title=f"SMTP alone, {CONNECTIONS} connections, to a sink without PIPELINING",
    enter=_to_plain_sink,
    is_short=True,
)
TO_CHUNKING_SINK: Final = Measure(
    name="smtp_chunking",
    title=f"SMTP alone, {CONNECTIONS} connections, to a sink with CHUNKING",
    enter=_to_chunking_sink,
)
TO_SMTP_SINK: Final = Measure(
    name="smtp_postfix_sink",
    title=f"SMTP alone, {CONNECTIONS} connections, to Postfix's smtp-sink",
    enter=_to_smtp_sink,
)
