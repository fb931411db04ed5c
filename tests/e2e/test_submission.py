"""Processes that accept messages over SMTP: for whom, side by side, and how they stop."""

import asyncio
import smtplib
import ssl
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.e2e.conftest import Start
from tests.support.harness import Process
from tests.support.processes.submitting import Submitting
from tests.support.servers.postfix import Postfix
from tests.support.servers.smtp_server import SmtpServer
from tests.support.submission import HOST, connecting, key_of

HEADER: Final = b"From: main@example.com\r\n"
LETTER: Final = b"Message-ID: <letter@example.com>\r\n\r\nHi\r\n"
SHUTTING_DOWN: Final = "421 4.3.2 The server is restarting; connect again"


def write_certificate(path: Path) -> ssl.SSLContext:
    """Have a certificate of a new authority at the path; answers a client's TLS that trusts it."""
    authority, temporary = trustme.CA(), path.with_suffix(".new")
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(temporary)
    temporary.replace(path)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.postfix
@pytest.mark.one_database  # the claim is what is said on the wire
@pytest.mark.parametrize("service", ["strict", "strict_delayed"])
async def test_a_program_that_greets_as_localhost_reaches_a_strict_server(
    service: str, backend: str, start: Start, launch: Any, postfix: Postfix
) -> None:
    """Postfix refuses it; through Heloise it takes the same mail, under the profile's name."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", postfix.port(service), ehlo_name="mail.example.com")
    submitting = Submitting(launch, backend)
    launch("worker")
    await submitting.wait_ready()

    def run(port: int, *login: str) -> None:
        with smtplib.SMTP(HOST, port, local_hostname="localhost", timeout=60) as client:
            if login:
                client.login(*login)
            client.sendmail("main@example.com", ["ann@example.org"], HEADER + LETTER)

    with pytest.raises((smtplib.SMTPHeloError, smtplib.SMTPRecipientsRefused)) as excinfo:
        await asyncio.to_thread(run, postfix.port(service))
    assert "<localhost>: Helo command rejected: need fully-qualified hostname" in str(excinfo.value)
    await asyncio.to_thread(run, submitting.port, "main", key_of(acme))
    [accepted] = await postfix.wait_accepted(1)
    assert (accepted.service, accepted.helo) == (service, "mail.example.com")
    assert (accepted.sender, accepted.recipients) == ("main@example.com", ("ann@example.org",))
    assert accepted.message_id == "letter@example.com"


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_two_processes_share_a_queue(
    start: Start, launch: Any, server: SmtpServer, tmp_path: Path
) -> None:
    """A worker delivers what each accepts; what a client submits to both is one message.

    A certificate that is replaced while they run is that of the next connection, with STARTTLS and
    in TLS from the first byte.
    """
    path = tmp_path / "tls.pem"
    client_tls = write_certificate(path)
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port)
    worker: Process = launch("worker")
    both = [Submitting(launch, "postgresql", tls=path) for _ in range(2)]
    for submitting in both:
        await submitting.wait_ready()

    async def send(submitting: Submitting, number: int) -> None:
        content = HEADER + b"Message-ID: <%d@example.com>\r\n\r\nHi\r\n" % number

        def run() -> None:
            with smtplib.SMTP(HOST, submitting.port, timeout=60) as client:
                client.starttls(context=client_tls)
                client.login("main", key_of(acme))
                client.sendmail("main@example.com", ["ann@example.org"], content)

        await asyncio.to_thread(run)

    await asyncio.gather(*(send(submitting, n) for n, submitting in enumerate(both)))
    await asyncio.gather(*(send(submitting, 2) for submitting in both), return_exceptions=True)
    await send(both[0], 2)  # one of the two may have been told to come again
    messages = (await acme.read("/messages"))["items"]
    assert len(messages) == 3
    await acme.all_sent(message["id"] for message in messages)
    assert len(server.messages) == 3

    client_tls = write_certificate(path)
    await send(both[0], 3)
    async with connecting(both[1].tls_port, authority=client_tls):
        assert "loaded the certificate" in both[1].process.log.read_text()
    for process in (worker, *(submitting.process for submitting in both)):
        assert await asyncio.to_thread(process.stop) == 0


async def test_sigterm_lets_a_transaction_finish(backend: str, start: Start, launch: Any) -> None:
    """The server sends clients without a transaction away with 421, and accepts no new ones."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", 25)
    submitting = Submitting(launch, backend, shutdown_grace_seconds=600)
    await submitting.wait_ready()
    async with connecting(submitting.port) as idle, connecting(submitting.port) as busy:
        for client in (idle, busy):
            await client.log_in("main", key_of(acme))
        await busy.envelope("main@example.com")
        assert (await busy("DATA"))[:3] == "354"
        busy.send(HEADER)
        submitting.process.process.terminate()
        assert await idle.reply() == SHUTTING_DOWN
        assert await idle.reply() == ""
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(HOST, submitting.port)
        busy.send(b"\r\nHi\r\n.\r\n")
        reply = await busy.reply()
        assert await busy.reply() == SHUTTING_DOWN
        assert await busy.reply() == ""
    assert await submitting.process.ended() == 0
    [message] = (await acme.read("/messages"))["items"]
    assert reply == f"250 2.0.0 Queued as {message['id']}"


async def test_past_the_grace_time_a_transaction_is_broken_off(
    backend: str, start: Start, launch: Any
) -> None:
    """And nothing of it is stored."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", 25)
    submitting = Submitting(launch, backend, shutdown_grace_seconds=0)
    await submitting.wait_ready()
    async with connecting(submitting.port) as client:
        await client.log_in("main", key_of(acme))
        await client.envelope("main@example.com")
        submitting.process.process.terminate()
        assert await client.reply() == SHUTTING_DOWN
    assert await submitting.process.ended() == 0
    assert (await acme.read("/messages"))["items"] == []
