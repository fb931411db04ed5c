"""Nothing that a caller writes changes headers, envelope or number of what is on the wire.

Each string of the corpus, in each field, is refused, or goes through a real Postfix and is read
back behind it; through one that takes a bare line feed for the end of a line, too.
"""

import asyncio
from collections import Counter
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.e2e.injections import CORPUS, ENDS, EVE, SMUGGLED
from tests.support.harness import Tenant
from tests.support.servers.exim import Exim
from tests.support.servers.postfix import CAPTURE, Postfix
from tests.support.servers.smtp_server import Received, SmtpServer

SENDER: Final = "billing@example.com"
RECIPIENT: Final = "ann@example.org"
PLAIN: Final[dict[str, Any]] = {
    "from": SENDER,
    "to": [RECIPIENT],
    "subject": "Hello",
    "text": "It works.",
}
OURS: Final = {
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "X-Campaign",
    "Sender",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
}
FIELDS: Final = {
    "subject": lambda text: {"subject": text},
    "text": lambda text: {"text": text},
    "html": lambda text: {"html": text},
    "header": lambda text: {"headers": {"X-Campaign": text}},
    "header name": lambda text: {"headers": {text: "spring"}},
    "from": lambda text: {"from": text},
    "from's name": lambda text: {"from": {"email": SENDER, "name": text}},
    "to": lambda text: {"to": [text]},
    "to's address": lambda text: {"to": [{"email": text}]},
    "to's name": lambda text: {"to": [{"email": RECIPIENT, "name": text}]},
    "cc": lambda text: {"cc": [text]},
    "reply_to": lambda text: {"reply_to": [text]},
    "tag": lambda text: {"tags": [text]},
    "metadata": lambda text: {"metadata": {"a": text}},
    "sender": lambda text: {"sender": text},
    "sender's name": lambda text: {"sender": {"email": SENDER, "name": text}},
    "return_path": lambda text: {"return_path": text},
    "list_unsubscribe's url": lambda text: {
        "list_unsubscribe": {"url": f"https://example.com/{text}", "one_click": True}
    },
    "list_unsubscribe's address": lambda text: {"list_unsubscribe": {"mailto": text}},
    "calendar": lambda text: {"calendar": f"BEGIN:VCALENDAR\nMETHOD:REQUEST\nX:{text}"},
    "a file's name": lambda text: {"attachments": [{"filename": text, "content": "YQ=="}]},
    "a file's content_id": lambda text: {
        "html": "x",
        "attachments": [{"filename": "a.txt", "content": "YQ==", "content_id": text}],
    },
    "a variable": lambda text: {"template": "all", "variables": {"x": text}},
}
# What the database keeps as text of its own; all else it keeps as bytes of the message.
KEPT: Final = ("subject", "from's name", "to", "to's name", "reply_to", "tag", "metadata")
TEMPLATE: Final = {"name": "all", "subject": "{{ x }}", "text": "{{ x }}", "html": "<p>{{ x }}</p>"}


def parse(received: Received) -> EmailMessage:
    """The message as a reader has it."""
    message = message_from_bytes(received.data, policy=policy.default)
    return cast("EmailMessage", message)


def lines(text: str) -> list[str]:
    """The lines of a text, whatever ends them on the wire."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


async def send_corpus(acme: Tenant, field: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """What the API took of the corpus in a field: by Message-ID the string and the message."""

    async def send(text: str) -> httpx.Response:
        body = PLAIN | FIELDS[field](text)
        if "template" in body:
            body = {k: v for k, v in body.items() if k not in {"subject", "text", "html"}}
        return await acme("POST", "/messages", body)

    answers = await asyncio.gather(*map(send, CORPUS))
    accepted_bodies = {}
    for text, answer in zip(CORPUS, answers, strict=True):
        assert answer.status_code in {202, 403, 422}, (field, text, answer.text)
        if answer.status_code == 202:
            body = answer.json()
            accepted_bodies[body["message_id_header"]] = (text, body)
    return accepted_bodies


def check(received: Received, field: str, text: str, body: dict[str, Any]) -> None:
    """It is what was written, and no more."""
    message = parse(received)
    written = {name for name in message.keys() if name != "Received"}  # noqa: SIM118 - it has no other
    allowed = OURS | ({text} if field == "header name" else set())
    assert written <= allowed, (field, text, written)
    assert all(count == 1 for name, count in Counter(message.keys()).items() if name != "Received")
    if field != "return_path":
        assert received.mail_from == body["from"].rpartition("<")[2].rstrip(">"), (field, text)
    expected = [recipient["address"] for recipient in body["recipients"]]
    assert sorted(received.recipients) == sorted(expected), (field, text)
    assert EVE not in expected or field in {"to", "cc", "to's address"}
    if field not in {"to", "to's address"}:
        assert expected[0] == RECIPIENT
    if field in {"text", "html"}:
        kind = "plain" if field == "text" else "html"
        part = message.get_body([kind])
        assert part is not None
        assert lines(part.get_content()) == lines(text), (field, text)


@pytest.mark.postfix
@pytest.mark.parametrize(
    ("backend", "service", "field"),
    [
        *(("sqlite", "forwarding", field) for field in FIELDS),
        *(
            pytest.param("postgresql", "forwarding", field, marks=pytest.mark.postgresql)
            for field in KEPT
        ),
        *(
            ("sqlite", "forwarding_lenient", field)
            for field in ("subject", "text", "html", "header")
        ),
    ],
    indirect=["backend"],
)
async def test_what_a_caller_writes_stays_where_it_was_written(
    start: Start, postfix: Postfix, service: str, field: str
) -> None:
    """As many messages arrive as were accepted, each with its own headers, envelope and text."""
    acme = await (await start()).tenant()
    async with SmtpServer(
        port=postfix.port(CAPTURE), extensions=["8BITMIME", "SMTPUTF8"]
    ) as server:
        await acme.profile("main", postfix.port(service), max_connections=4)
        await acme.made("/templates", TEMPLATE)
        await acme("POST", "/templates/all/publish")
        accepted_bodies = await send_corpus(acme, field)
        last = await acme.made("/messages", PLAIN | {"subject": "the last one"})
        accepted_bodies[last["message_id_header"]] = ("", last)
        await acme.all_sent(body["id"] for _, body in accepted_bodies.values())
        received = await server.wait_for_messages(len(accepted_bodies))
        await asyncio.sleep(0)
        assert len(received) == len(accepted_bodies)
        arrived = {str(parse(mail)["Message-ID"]): mail for mail in received}
        assert arrived.keys() == accepted_bodies.keys()
        for header, (text, body) in accepted_bodies.items():
            if text:
                check(arrived[header], field, text, body)


@pytest.mark.postfix
async def test_a_server_that_takes_bare_line_feeds_can_be_fooled(postfix: Postfix) -> None:
    """By whoever sends them: what the tests above rely on."""
    async with SmtpServer(port=postfix.port(CAPTURE)) as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", postfix.port("forwarding_lenient")
        )
        dialogue = (
            f"EHLO mail.example.com\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n"
        )
        writer.write(dialogue.encode())
        async with asyncio.timeout(30):
            while not (await reader.readline()).startswith(b"354"):
                pass
            writer.write(b"Subject: x\r\n\r\nx\n.\n" + SMUGGLED.encode() + b"QUIT\r\n")
            received = await server.wait_for_messages(2)
        writer.close()
    assert {mail.recipients[0] for mail in received} == {RECIPIENT, EVE}


@pytest.mark.exim
async def test_exim_is_not_fooled_either(start: Start, exim: Exim) -> None:
    """Whatever it may take for the end of a message: one message each, and none to another."""
    acme = await (await start()).tenant()
    await acme.profile("main", exim.port("qualified"))
    count = 0
    for end in ENDS:
        answer = await acme("POST", "/messages", PLAIN | {"text": f"x{end}{SMUGGLED}"})
        if answer.status_code == 202:
            count += 1
            await acme.message(answer.json()["id"], status="sent")
    arrived = await exim.wait_arrived(count)
    assert len(arrived) == count > len(ENDS) // 2
    assert {mail.sender for mail in arrived} == {SENDER}
    spool = exim.log.parent / "input"
    envelopes = await asyncio.to_thread(_read_all, spool, "*-H")
    assert len(envelopes) >= count
    assert not any(EVE.encode() in envelope for envelope in envelopes)


def _read_all(folder: Path, pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob(pattern)]
