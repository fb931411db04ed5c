"""Profiles whose connection cannot be made a safe one."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from app.diagnostics.report import Report
from app.domain.types import TlsMode
from tests.diagnostics.misconfigurations import Attempts, misconfiguration
from tests.diagnostics.small_internet import CHECK, HOST, SmallInternet
from tests.support.servers.smtp_server import SmtpServer
from tests.support.servers.strict_tls import strict_tls_server

OTHER_KEY: Final = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


@misconfiguration("`tls` is `starttls`, and the port speaks TLS from the first byte (465)")
async def starttls_at_465(net: SmallInternet) -> Attempts:
    async with SmtpServer(tls=net.server_tls(), is_implicit=True) as server:
        yield net.subject(server, tls=TlsMode.STARTTLS)
        yield net.subject(server, tls=TlsMode.IMPLICIT)


@misconfiguration("`tls` is `implicit`, and the port needs STARTTLS (587)")
async def implicit_at_587(net: SmallInternet) -> Attempts:
    async with SmtpServer(tls=net.server_tls()) as server:
        yield net.subject(server, tls=TlsMode.IMPLICIT)
        yield net.subject(server, tls=TlsMode.STARTTLS)


@misconfiguration("The port offers no STARTTLS")
async def no_starttls(net: SmallInternet) -> Attempts:
    async with SmtpServer() as plain, SmtpServer(tls=net.server_tls()) as server:
        yield net.subject(server, tls=TlsMode.STARTTLS, port=plain.port)
        yield net.subject(server, tls=TlsMode.STARTTLS)


@misconfiguration("`tls` is `none`, and the server requires TLS")
async def tls_wanted(net: SmallInternet) -> Attempts:
    async with SmtpServer(tls=net.server_tls()) as server:
        wants = "530 5.7.0 Must issue a STARTTLS command first"
        server.script = {"mail": lambda _: None if server.sessions[-1].tls_version else wants}
        yield net.subject(server, check=CHECK)
        yield net.subject(server, check=CHECK, tls=TlsMode.STARTTLS)


@misconfiguration("The certificate does not contain the name in `host`")
async def another_name(net: SmallInternet) -> Attempts:
    async with SmtpServer(tls=net.server_tls("mx7.example.net")) as server:
        yield net.subject(server, tls=TlsMode.STARTTLS)
        yield net.subject(server, tls=TlsMode.STARTTLS, tls_server_name="mx7.example.net")


@misconfiguration("A private authority signed the certificate")
async def private_authority(net: SmallInternet) -> Attempts:
    async with SmtpServer(tls=net.server_tls()) as server:
        yield net.subject(server, tls=TlsMode.STARTTLS, tls_ca=None)
        yield net.subject(server, tls=TlsMode.STARTTLS)


@misconfiguration("The certificate has expired")
async def expired(net: SmallInternet) -> Attempts:
    past = net.server_tls(HOST, not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=90))
    async with SmtpServer(tls=past) as server:
        yield net.subject(server, tls=TlsMode.STARTTLS)
        server.tls = net.server_tls()
        yield net.subject(server, tls=TlsMode.STARTTLS)


@asynccontextmanager
async def _saying_why(net: SmallInternet, server: SmtpServer) -> AsyncIterator[None]:
    """Meanwhile the host is a server with the same TLS that says so where it will not have ours."""
    assert server.tls is not None
    net.dns.add(HOST, "A", "127.0.0.2")
    async with strict_tls_server(server.tls, is_implicit=False, at=("127.0.0.2", server.port)):
        yield
    net.dns.add(HOST, "A", "127.0.0.1")


@misconfiguration("The server supports only old TLS versions")
async def old_tls(net: SmallInternet) -> Attempts:
    old = net.server_tls()
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.minimum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with SmtpServer(tls=old) as server:
        async with _saying_why(net, server):
            yield net.subject(server, tls=TlsMode.STARTTLS)
        yield net.subject(server, tls=TlsMode.STARTTLS, tls_min_version="1.1")


@misconfiguration("The server's key does not match the pin")
async def another_key(net: SmallInternet) -> Attempts:
    async with SmtpServer(tls=net.server_tls()) as server:
        report: Report = yield net.subject(server, tls=TlsMode.STARTTLS, tls_pins=(OTHER_KEY,))
        assert report.failed_stage is not None
        assert report.failed_stage.certificate is not None
        pin = report.failed_stage.certificate.own.pin
        yield net.subject(server, tls=TlsMode.STARTTLS, tls_pins=(pin,))


@misconfiguration("The server requires a client certificate")
async def wants_certificate(net: SmallInternet) -> Attempts:
    tls = net.server_tls()
    tls.verify_mode = ssl.CERT_REQUIRED
    net.ca.configure_trust(tls)
    ours = net.ca.issue_cert("billing.example.com")
    async with SmtpServer(tls=tls) as server:
        async with _saying_why(net, server):
            yield net.subject(server, tls=TlsMode.STARTTLS)
        yield net.subject(
            server,
            tls=TlsMode.STARTTLS,
            client_certificate=ours.cert_chain_pems[0].bytes().decode(),
            client_key=ours.private_key_pem.bytes().decode(),
        )
