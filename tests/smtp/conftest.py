"""Both event loops, a DNS server, a private certificate authority, and what it certifies."""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping

import pytest
import trustme
import uvloop

from tests.support.servers.dns_server import DnsServer

ServerTls = Callable[..., ssl.SSLContext]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The service runs on uvloop; they differ in what comes first, a reply or its reader."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    """A DNS server of this test's own."""
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """An authority that no machine knows."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_pem(ca: trustme.CA) -> str:
    """Its certificate, as a profile's `tls_ca`."""
    return ca.cert_pem.bytes().decode()


@pytest.fixture(scope="session")
def server_tls(ca: trustme.CA) -> ServerTls:
    """A server's context with a certificate for the given name."""

    def make_context(name: str = "127.0.0.1", *, wants_certificate: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(name).configure_cert(context)
        if wants_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            ca.configure_trust(context)
        return context

    return make_context
