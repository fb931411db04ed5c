"""A submission server over the API's database."""

import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from tests.api.conftest import acme, api, dns
from tests.support.api_client import PROFILE, Api, Caller
from tests.support.submission import HOST, HOSTNAME, SubmissionServer, serving_submission

__all__ = ["acme", "api", "dns"]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """An authority of the test's own."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """The server's TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", HOST, HOSTNAME).configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """TLS of a client that trusts the server."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def submission(api: Api, server_tls: ssl.SSLContext) -> AsyncIterator[SubmissionServer]:
    """A server with usual settings."""
    async with serving_submission(api, server_tls) as submission_server:
        yield submission_server


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A caller whose tenant has the profile `transactional`."""
    await acme.made("/profiles", PROFILE)
    return acme
