"""A private certificate authority, and the small internet that verify is tried on."""

from collections.abc import Iterator

import pytest
import trustme

from tests.diagnostics.small_internet import SmallInternet
from tests.smtp.conftest import ca, ca_pem, server_tls
from tests.support.servers.dns_server import DnsServer

__all__ = ["ca", "ca_pem", "server_tls"]


@pytest.fixture
def net(ca: trustme.CA) -> Iterator[SmallInternet]:
    """In which the host of each profile is known to the DNS."""
    with DnsServer() as dns:
        yield SmallInternet(dns, ca)
