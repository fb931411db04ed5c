"""Mailboxes are read over IMAP, from a real Dovecot: each report has its effect once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.inbound.poller import POLL_INTERVAL
from tests.api.inbound.test_bounces import list_outcomes, mail, reports
from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant, until
from tests.support.servers.imap_server import USER, ImapServer, imap_server
from tests.support.servers.smtp_server import SmtpServer

__all__ = ["imap_server"]

pytestmark = pytest.mark.dovecot
NO_REPORT = b"From: ann@example.org\r\nSubject: Thanks\r\n\r\nIt came.\r\n"


@pytest.fixture
def clock() -> HandClock:
    """The service's."""
    return HandClock()


@pytest.fixture
async def heloise(start: Start, clock: HandClock) -> Heloise:
    """The service, which looks at its mailboxes when the clock is moved on."""
    return await start(clock=clock)


async def look(clock: HandClock) -> None:
    """Let it be time to look for mailboxes whose turn it is."""
    await clock.advance(seconds=POLL_INTERVAL.total_seconds())


async def read_from(acme: Tenant, server: ImapServer, clock: HandClock, **fields: Any) -> str:
    """Have the mailbox read; answers its id."""
    body = {
        "name": "bounces",
        "host": "localhost",
        "port": server.tls_port,
        "tls_ca": server.authority,
        "username": USER,
        "password": server.password,
    }
    mailbox = str((await acme.made("/mailboxes", body | fields))["id"])
    await look(clock)
    return mailbox


async def wait_mailbox(acme: Tenant, mailbox: str, **expected: Any) -> Any:
    """The mailbox, once it says all of this."""

    async def fact() -> Any:
        body = await acme.read(f"/mailboxes/{mailbox}")
        return body if all(body[name] == value for name, value in expected.items()) else None

    return await until(fact)


async def wait_polled(acme: Tenant, mailbox: str) -> None:
    """Wait for the end of the first look: the next one is planned then, from the clock."""

    async def fact() -> Any:
        return (await acme.read(f"/mailboxes/{mailbox}"))["polled_at"]

    await until(fact)


async def send(acme: Tenant, server: SmtpServer) -> Any:
    """A message that its server took."""
    await acme.profile("main", server.port)
    return await acme.message(await acme.send(), status="sent")


@pytest.mark.one_database
@pytest.mark.parametrize("tls", ["implicit", "starttls", "none"])
async def test_what_comes_is_read_and_stays_unread(
    heloise: Heloise, clock: HandClock, server: SmtpServer, imap_server: ImapServer, tls: str
) -> None:
    """However the connection is protected; what is no report is counted, and left alone."""
    acme = await heloise.tenant()
    message = await send(acme, server)
    imap_server.deliver(NO_REPORT)
    imap_server.deliver(mail("gmail", message))
    port = imap_server.tls_port if tls == "implicit" else imap_server.port
    mailbox = await read_from(acme, imap_server, clock, tls=tls, port=port)
    await wait_mailbox(acme, mailbox, reports=1, others=1, reason=None)
    assert await reports(acme, message) == ["bounced_later"]
    assert imap_server.unread() == 2


async def test_each_is_read_once(
    heloise: Heloise, clock: HandClock, server: SmtpServer, imap_server: ImapServer
) -> None:
    """At the next look what came since; from the beginning where the server numbers anew."""
    acme = await heloise.tenant()
    message = await send(acme, server)
    imap_server.deliver(mail("gmail", message))
    mailbox = await read_from(acme, imap_server, clock, poll_seconds=3600)
    await wait_mailbox(acme, mailbox, reports=1)
    await wait_polled(acme, mailbox)
    imap_server.deliver(mail("complaint", message))
    await clock.advance(seconds=3600)
    await wait_mailbox(acme, mailbox, reports=2)
    await acme("PATCH", f"/mailboxes/{mailbox}", {"folder": "inbox"})
    await look(clock)
    await wait_mailbox(acme, mailbox, reports=4)
    types = [kind for kind, _ in await list_outcomes(acme, message)]
    assert types == ["recipient.sent", "recipient.bounced_later", "recipient.complained"]


async def test_reports_are_deleted_where_that_is_wanted(
    heloise: Heloise, clock: HandClock, server: SmtpServer, imap_server: ImapServer
) -> None:
    """And nothing else is."""
    acme = await heloise.tenant()
    message = await send(acme, server)
    imap_server.deliver(mail("gmail", message))
    imap_server.deliver(NO_REPORT)
    mailbox = await read_from(acme, imap_server, clock, delete_reports=True)
    await wait_mailbox(acme, mailbox, reports=1, others=1)
    assert imap_server.unread() == 1


async def failure_reason(acme: Tenant, mailbox: str) -> str:
    """Why a mailbox cannot be read, once that is known."""

    async def fact() -> str | None:
        body = await acme.read(f"/mailboxes/{mailbox}")
        return body["reason"] if body["failing_since"] else None

    return str(await until(fact))


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"password": "wrong"}, "the server refused the login"),
        ({"folder": "Nowhere"}, "there is no folder 'Nowhere'"),
        ({"tls_ca": None}, "certificate is not trusted"),
        ({"port": 1}, "does not answer"),
        ({"host": "nowhere.invalid"}, "in the DNS"),
    ],
)
async def test_why_one_cannot_be_read_is_told(
    heloise: Heloise,
    clock: HandClock,
    imap_server: ImapServer,
    fields: dict[str, Any],
    reason: str,
) -> None:
    """In words that say what to mend."""
    acme = await heloise.tenant()
    mailbox = await read_from(acme, imap_server, clock, **fields)
    assert reason in await failure_reason(acme, mailbox)


async def test_it_is_read_again_once_it_is_mended(
    heloise: Heloise, clock: HandClock, imap_server: ImapServer
) -> None:
    """At once, when it was changed."""
    acme = await heloise.tenant()
    imap_server.deliver(NO_REPORT)
    mailbox = await read_from(acme, imap_server, clock, password="wrong")
    await failure_reason(acme, mailbox)
    answer = await acme("PATCH", f"/mailboxes/{mailbox}", {"password": imap_server.password})
    assert answer.status_code == 200
    await look(clock)
    await wait_mailbox(acme, mailbox, others=1, failing_since=None, reason=None)


@asynccontextmanager
async def speaking(words: bytes) -> AsyncIterator[int]:
    """The port of a server that says this to whoever comes, and then nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


@pytest.mark.one_database
@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request: the secret of another service\r\n\r\n",
        b"* OK [CAPABILITY IMAP4rev1] ready\r\n* BYE secret\r\n",
        b"* OK {99999999999999}\r\nsecret",
    ],
)
async def test_nothing_of_another_service_is_told(
    heloise: Heloise, clock: HandClock, imap_server: ImapServer, words: bytes
) -> None:
    """The poller is no window into the network that it stands in."""
    acme = await heloise.tenant()
    async with speaking(words) as port:
        mailbox = await read_from(acme, imap_server, clock, tls="none", port=port)
        reason = await failure_reason(acme, mailbox)
    assert "secret" not in reason
    assert "IMAP" in reason


@pytest.mark.one_database
async def test_nothing_is_read_inside_the_network_of_the_service(
    start: Start, imap_server: ImapServer
) -> None:
    """An address is refused at once, a name when it is looked up; and no port but IMAP's."""
    acme = await (await start(allow_private_hosts=False)).tenant()
    body = {"name": "in", "username": "u", "password": "p"}
    for fields, where in (
        ({"host": "10.0.0.1"}, "host"),
        ({"host": "localhost"}, "host"),
        ({"host": "imap.example.com", "port": 22}, "port"),
        ({"host": "imap.example.com", "tls": "none"}, "tls"),
    ):
        answer = await acme("POST", "/mailboxes", body | fields)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", where]
    assert imap_server.unread() == 0
