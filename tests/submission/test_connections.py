"""TLS, proxies and bounds: what holds before a client is known."""

import asyncio
import os
import ssl
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from app.submission import replies, stream
from app.submission.certificate import Certificate
from tests.support.api_client import Caller
from tests.support.submission import HOST, SmtpClient, SubmissionServer, key_of, serving_submission
from tests.support.waiting import until

pytestmark = pytest.mark.one_database

FROM = b"From: billing@example.com\r\n"
CLEARLY_TOO_LONG = 30.0  # that it ends is what is shown
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


async def test_tls_from_the_first_byte(
    submission: SubmissionServer, sender: Caller, client_tls: ssl.SSLContext
) -> None:
    """RFC 8314: no STARTTLS is offered there, and a login is safe."""
    async with submission.connect(authority=client_tls) as client:
        assert "STARTTLS" not in await client("EHLO localhost")
        assert (await client("STARTTLS")) == "503 5.5.1 TLS is already active"
        assert (await client.log_in("transactional", key_of(sender)))[:3] == "235"
        content = await submission.content(sender, await client.submit(FROM + b"\r\n1\r\n"))
    assert b" with ESMTPSA id " in content
    assert (await submission.journal()).tls


async def test_starttls_forgets_what_was_said(
    submission: SubmissionServer, client_tls: ssl.SSLContext
) -> None:
    """RFC 3207 section 4.2: EHLO and the rest come again."""
    async with submission.connect() as client:
        assert await client("STARTTLS") == "220 2.0.0 Start TLS"
        await client.writer.start_tls(client_tls, server_hostname=HOST)
        assert (await client("MAIL FROM:<a@example.com>"))[:3] == "503"
        assert "STARTTLS" not in await client("EHLO localhost")


async def test_nothing_is_slipped_behind_starttls(submission: SubmissionServer) -> None:
    """Bytes that came before TLS are not taken for bytes within it."""
    async with submission.connect() as client:
        client.send(b"STARTTLS\r\nEHLO evil\r\n")
        assert await client.reply() == (
            "501 5.5.1 Wait for the reply to STARTTLS before you send more"
        )
        assert await client.reply() == ""


async def test_a_new_certificate_is_loaded(tmp_path: Path) -> None:
    """Without a restart; one that cannot be read leaves the former in use."""
    path, authority = tmp_path / "tls.pem", trustme.CA()
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(path)
    certificate = Certificate(path, None)
    first = certificate.context()
    assert certificate.context() is first
    path.write_bytes(b"broken")
    assert certificate.context() is first
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(path)
    assert certificate.context() is not first


async def test_a_changed_file_is_loaded_whatever_its_time(tmp_path: Path) -> None:
    """A tool that copies a certificate over another may keep the time of modification."""
    path, authority = tmp_path / "tls.pem", trustme.CA()
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(path)
    certificate, status = Certificate(path, None), path.stat()
    first = certificate.context()
    path.write_bytes(path.read_bytes() + b"\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert certificate.context() is not first


async def test_an_encrypted_key_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, and later in a line of the log; nobody is asked for a passphrase."""
    path, key_path = tmp_path / "tls.crt", tmp_path / "tls.key"
    pair = trustme.CA().issue_cert(HOST)
    path.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    pair.private_key_pem.write_to_path(key_path)
    certificate = Certificate(path, key_path)
    first = certificate.context()
    key_path.write_bytes(
        load_pem_private_key(pair.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    assert certificate.context() is first
    assert "the key is encrypted; store it without a passphrase" in caplog.text
    with pytest.raises(OSError, match="the key is encrypted"):
        Certificate(path, key_path)


async def test_stopping_does_not_wait_for_an_idle_client(
    submission: SubmissionServer,
    sender: Caller,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that does not answer the end of TLS is cut off, long before the grace time is over."""
    monkeypatch.setattr(stream, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(asyncio.constants, "SSL_SHUTDOWN_TIMEOUT", 3600.0)
    async with AsyncExitStack() as clients:
        async with (
            asyncio.timeout(CLEARLY_TOO_LONG),
            serving_submission(submission.api, server_tls, grace_seconds=3600) as submission_server,
        ):
            client = await clients.enter_async_context(
                submission_server.connect(authority=client_tls)
            )
            assert (await client.log_in("transactional", key_of(sender)))[:3] == "235"
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            clients.callback(client.writer.transport.abort)
        assert submission_server.server.connection_count == 0
        assert [journal.outcome for journal in submission_server.journals] == [
            str(replies.SHUTTING_DOWN)
        ]


async def test_a_client_that_connects_as_the_server_stops_is_sent_away(
    submission: SubmissionServer,
) -> None:
    """It has no session yet: its PROXY header or its TLS handshake is still on its way."""
    proxies = [ip_network("127.0.0.0/8")]
    async with asyncio.timeout(CLEARLY_TOO_LONG), AsyncExitStack() as stack:
        submission_server = await stack.enter_async_context(
            serving_submission(submission.api, proxies=proxies, grace_seconds=3600)
        )
        reader, writer = await asyncio.open_connection(HOST, submission_server.port)

        async def is_connected() -> bool | None:
            return submission_server.server.connection_count == 1 or None

        await until(is_connected)
        stopped = asyncio.create_task(stack.pop_all().aclose())
        for _ in range(20):  # turns of the loop, after which the server has told its sessions
            await asyncio.sleep(0)
        writer.write(b"PROXY UNKNOWN\r\n")
        assert (await reader.read()).decode() == f"{replies.SHUTTING_DOWN}\r\n"
        writer.close()
        await stopped


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4321 587\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4321 587\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", None),
        (
            PROXY_V2 + b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 8, 198, 51, 100, 1, 16, 225, 2, 75)),
            "192.0.2.8",
        ),
        (PROXY_V2 + b"\x20\x00\x00\x00", None),
    ],
)
async def test_a_proxy_tells_the_client(
    submission: SubmissionServer, header: bytes, client: str | None
) -> None:
    """From then on the client's address counts, for networks, limits and the journal."""
    proxies = (ip_network("127.0.0.0/8"),)
    async with serving_submission(submission.api, proxies=proxies) as submission_server:
        reader, writer = await asyncio.open_connection(HOST, submission_server.port)
        smtp = SmtpClient(reader, writer)
        smtp.send(header)
        assert (await smtp.reply())[:3] == "220"
        assert (await smtp("QUIT"))[:3] == "221"
        assert await smtp.reply() == ""
        writer.close()
        assert (await submission_server.journal()).client_address == client


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO localhost\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 a b 1 2\r\n",
        b"P" * 200,
        PROXY_V2 + b"\x21\x11\xff\xff",
        PROXY_V2 + b"\x21\x11\x00\x02ab",
    ],
)
async def test_a_proxy_without_a_header_is_refused(
    submission: SubmissionServer, header: bytes
) -> None:
    """Else it could be a client that speaks for another."""
    proxies = (ip_network("127.0.0.0/8"),)
    async with serving_submission(submission.api, proxies=proxies) as submission_server:
        reader, writer = await asyncio.open_connection(HOST, submission_server.port)
        writer.write(header)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_connections_are_bounded(submission: SubmissionServer) -> None:
    """For all clients, and for each."""
    for bound in ("max_connections", "max_connections_per_client"):
        async with (
            serving_submission(submission.api, **{bound: 1}) as submission_server,
            submission_server.connect(),
        ):
            reader, writer = await asyncio.open_connection(HOST, submission_server.port)
            reply = await reader.readline()
            assert reply == b"421 4.3.2 Too many connections; try again later\r\n"
            writer.close()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"x" * 3000, "500 5.5.6 The line is too long"),
        (b"NOOP\n", "500 5.5.2 End each line in CRLF"),
        (b"NO\rOP\r\n", "500 5.5.2 End each line in CRLF"),
        (b"AUTH PLAIN\r\n" + b"x" * 13_000, "334 "),
        (b"\xff\xfe\r\n", "500 5.5.2 The command is not UTF-8"),
    ],
)
async def test_lines_that_are_none(submission: SubmissionServer, line: bytes, reply: str) -> None:
    """Each is answered, and what cannot be followed ends the session."""
    async with submission.connect() as client:
        client.send(line)
        assert await client.reply() == reply


async def test_errors_end_a_session(submission: SubmissionServer) -> None:
    """A client that only errs is sent away."""
    async with submission.connect() as client:
        client.send(b"NONSENSE\r\n" * 30)
        replies = [await client.reply() for _ in range(22)]
    assert replies[20] == "500 5.5.2 This command is not known"
    assert replies[21] == "421 4.7.0 Too many errors"


async def test_refused_recipients_do_not_end_a_session(
    submission: SubmissionServer, sender: Caller
) -> None:
    """The message goes to those that are allowed."""
    await submission.api.admin(
        "PATCH", f"/tenants/{sender.tenant_id}", {"allowed_recipient_domains": ["example.org"]}
    )
    async with submission.login(sender) as client:
        await client("MAIL FROM:<billing@example.com>")
        for number in range(25):
            assert (await client(f"RCPT TO:<a{number}@example.net>"))[:3] == "550"
        assert (await client("RCPT TO:<ann@example.org>"))[:3] == "250"


async def test_many_clients_may_come_and_go(submission: SubmissionServer, sender: Caller) -> None:
    """Abrupt ends at every point leave nothing behind."""
    script = [b"EHLO a\r\n", b"AUTH PLAIN\r\n", b"*\r\n", b"MAIL FROM:<a", b"\r\n"]
    for length in range(len(script)):
        async with submission.connect(ehlo=False) as client:
            client.send(b"".join(script[:length]))
            client.writer.transport.abort()
    async with submission.login(sender) as client:
        await client.envelope()
        await client("DATA")
        client.send(FROM)
        client.writer.transport.abort()
    await submission.wait_idle()
    assert (await sender.read("/messages"))["items"] == []
