"""The inbox of `heloise dev`: strict about names and logins, and faithful to what it takes."""

import asyncio
import smtplib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiosmtplib
import httpx
import pytest
from fastapi import FastAPI

from app.dev import routes
from app.dev.catcher import Catcher, serve_catcher
from app.dev.inbox import Inbox, Mail
from app.domain.ids import new_id

LOGIN = ("transactional", "transactional-password")


@dataclass
class Catching:
    """A running inbox."""

    inbox: Inbox
    port: int

    def client(self, name: str = "mail.example.com") -> aiosmtplib.SMTP:
        """A client that greets with this name."""
        return aiosmtplib.SMTP(
            hostname="127.0.0.1", port=self.port, local_hostname=name, start_tls=False
        )

    async def send(self, content: bytes) -> None:
        """Bring a mail, in a session of its own."""
        async with self.client() as client:
            await client.login(*LOGIN)
            await client.sendmail("bob@example.com", ["ann@example.org"], content)


@pytest.fixture
async def catching_inbox(tmp_path: Path) -> AsyncIterator[Catching]:
    """An inbox on loopback."""
    inbox = Inbox(tmp_path / "inbox")
    catcher = Catcher(inbox, on_mail=lambda _: None, max_message_bytes=40_000_000)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listening:
        async with serve_catcher(catcher, listening):
            yield Catching(inbox, listening.getsockname()[1])


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
@pytest.mark.parametrize("name", ["localhost", "4f2a9c1b77de", "127.0.0.1", "under_score.example"])
async def test_a_name_that_is_none_is_refused(
    catching_inbox: Catching, verb: str, name: str
) -> None:
    """In Postfix's words, and nothing goes on after it."""
    client = catching_inbox.client()
    await client.connect()
    reply = await client.execute_command(verb.encode(), name.encode())
    assert reply.code == 504
    assert reply.message == f"5.5.2 <{name}>: Helo command rejected: need fully-qualified hostname"
    assert (await client.execute_command(b"MAIL", b"FROM:<bob@example.com>")).code == 503
    client.close()


async def test_a_name_that_no_dns_has_is_refused(catching_inbox: Catching) -> None:
    """As by servers that look names up, so that everyone can see what a refused name does."""
    client = catching_inbox.client()
    await client.connect()
    reply = await client.execute_command(b"EHLO", b"app.invalid")
    assert (reply.code, reply.message) == (
        504,
        "5.5.2 <app.invalid>: Helo command rejected: Host not found",
    )
    assert (await client.execute_command(b"EHLO", b"dev.example")).code == 250
    client.close()


@pytest.mark.parametrize("name", ["mail.example.com", "[192.0.2.1]"])
async def test_a_name_and_an_address_literal_are_taken(catching_inbox: Catching, name: str) -> None:
    """As the RFC has it."""
    async with catching_inbox.client(name) as client:
        assert (await client.ehlo()).code == 250
        assert client.supports_extension("auth")


async def test_who_has_not_logged_in_sends_nothing(catching_inbox: Catching) -> None:
    """The reply is the one of RFC 4954 section 6."""
    async with catching_inbox.client() as client:
        with pytest.raises(aiosmtplib.SMTPSenderRefused) as excinfo:
            await client.sendmail("bob@example.com", ["ann@example.org"], b"Subject: x\r\n\r\n")
    assert excinfo.value.code == 530


@pytest.mark.parametrize(
    "login", [("transactional", "marketing-password"), ("nobody", ""), ("nobody", "x")]
)
async def test_a_wrong_password_is_refused(
    catching_inbox: Catching, login: tuple[str, str]
) -> None:
    """And one user's password opens nothing for another."""
    async with catching_inbox.client() as client:
        with pytest.raises(aiosmtplib.SMTPAuthenticationError) as excinfo:
            await client.login(*login)
    # RFC 4616 has no empty password.
    assert excinfo.value.code == (535 if login[1] else 501)


async def test_eight_bits_and_many_bytes_arrive_as_they_were_sent(
    catching_inbox: Catching,
) -> None:
    """Thirty megabytes, of every byte that a line can hold, with dots at the start of lines."""
    line = b"." + bytes(value for value in range(1, 256) if value not in b"\r\n") + b"\r\n"
    content = b"Subject: =?utf-8?q?Bin=C3=A9?=\r\n\r\n" + line * 120_000
    await catching_inbox.send(content)
    (mail,) = catching_inbox.inbox.page(limit=10, after=None)
    assert mail.subject == "Biné"
    assert mail.size_bytes == len(content) > 30_000_000
    assert catching_inbox.inbox.content(mail) == content


async def test_many_connections_at_a_time(catching_inbox: Catching) -> None:
    """Every mail of each is kept once."""
    contents = [f"Subject: {number}\r\n\r\n".encode() for number in range(100)]
    await asyncio.gather(*map(catching_inbox.send, contents))
    mails = catching_inbox.inbox.page(limit=200, after=None)
    assert sorted(int(mail.subject) for mail in mails) == list(range(100))


async def test_a_connection_that_is_left_is_cut(tmp_path: Path) -> None:
    """Nobody waits for a client that has nothing to say."""
    catcher = Catcher(
        Inbox(tmp_path / "inbox"), on_mail=lambda _: None, max_message_bytes=1_000_000
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with serve_catcher(catcher, listening):
            client = smtplib.SMTP()
            await asyncio.to_thread(client.connect, *listening.getsockname())
    assert client.sock is not None
    client.sock.settimeout(60)
    assert (await asyncio.to_thread(client.getreply))[0] == 421
    assert await asyncio.to_thread(client.sock.recv, 1) == b""
    client.close()


def mail(subject: str) -> Mail:
    """A mail that arrived just now."""
    return Mail(
        id=new_id("cap"),
        received_at=datetime.now(UTC),
        ehlo_name="mail.example.com",
        auth_user="transactional",
        mail_from="bob@example.com",
        rcpt_to=("ann@example.org",),
        subject=subject,
        size_bytes=1,
    )


def test_the_newest_mails_are_kept_and_found_again(tmp_path: Path) -> None:
    """The files of older ones are gone."""
    folder = tmp_path / "inbox"
    inbox = Inbox(folder, keep=3)
    for subject in "abcde":
        inbox.add(mail(subject), subject.encode())
    second = Inbox(folder, keep=3)
    for store in (inbox, second):
        mails = store.page(limit=10, after=None)
        assert [stored_mail.subject for stored_mail in mails] == ["e", "d", "c"]
        assert [store.content(stored_mail) for stored_mail in mails] == [b"e", b"d", b"c"]
        assert [stored_mail.subject for stored_mail in store.page(limit=1, after=mails[0].id)] == [
            "d"
        ]
    assert len(list(folder.iterdir())) == 2 * 3


def test_a_mail_that_was_half_written_is_not_there(tmp_path: Path) -> None:
    """What a killed process leaves behind hinders nobody."""
    inbox = Inbox(tmp_path / "inbox")
    (tmp_path / "inbox" / "cap_1.eml").write_bytes(b"half")
    (tmp_path / "inbox" / "cap_1.json~").write_bytes(b"{")
    assert Inbox(tmp_path / "inbox").page(limit=10, after=None) == []
    assert inbox.find("cap_1") is None


async def test_a_subject_is_read_within_bounds(catching_inbox: Catching) -> None:
    """Encoded words are decoded; of a header that is too complex nothing is read."""
    for subject in (b"=?utf-8?q?J=C3=BC?= =?utf-8?q?rgen?=", b"=?utf-8?q?a?=\r\n " * 600 + b"x"):
        await catching_inbox.send(b"Subject: " + subject + b"\r\n\r\nHi.\r\n")
    mails = catching_inbox.inbox.page(limit=2, after=None)
    assert [mail.subject for mail in mails] == ["", "Jürgen"]


async def test_a_long_file_name_is_shown_whole(tmp_path: Path) -> None:
    """Long names are sent in sections (RFC 2231 section 3), as by Heloise itself."""
    inbox, app, captured = Inbox(tmp_path / "inbox"), FastAPI(), mail("Files")
    content = (
        b"Content-Type: text/csv\r\nContent-Disposition: attachment;\r\n"
        b" filename*0*=utf-8''gr%C3%B6;\r\n filename*1*=%C3%9Fe.csv\r\n\r\na,b\r\n"
    )
    inbox.add(captured, content)
    routes.install(app, inbox, host="127.0.0.1")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        shown = (await client.get(f"/inbox/{captured.id}")).json()
        file = await client.get(f"/inbox/{captured.id}/files/0")
    assert [shown_file["name"] for shown_file in shown["files"]] == ["größe.csv"]
    assert file.headers["content-disposition"].endswith("gr%C3%B6%C3%9Fe.csv")
