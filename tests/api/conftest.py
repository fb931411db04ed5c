"""The whole API over a real, migrated database: SQLite and PostgreSQL."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Final

import httpx
import pytest
from fastapi_offline import FastAPIOffline

from app.accept.group_commit import Committer
from app.api.app import OPENAPI_KWARGS, install
from app.api.requests.body_memory import Budget
from app.api.services import Services
from app.auth.authentication import Authenticator
from app.auth.caches import HashCache
from app.auth.throttle import AuthThrottle
from app.diagnostics.verifier import Verifier
from app.domain.clock import SystemClock
from app.domain.ehlo import EhloNames
from app.domain.networks import AddressGuard
from app.domain.types import Profile
from app.http_client import fetch_file
from app.inbound.sns import SnsClient
from app.metrics.collection import Metrics
from app.oauth.token_cache import AccessTokens
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from app.store.db.database import Database
from app.store.db.replica import Replica
from app.store.secrets.encryption import Vault
from tests.support.api_client import (
    ADMIN_KEY,
    NO_AUTHORITIES,
    Api,
    Caller,
    HandClock,
    serving,
)
from tests.support.servers.dns_server import DnsServer

MAX_BUFFERED_BYTES: Final = 4_000_000


def _loopback(_: Profile) -> str:
    return "127.0.0.1"


async def _ready() -> list[str]:
    return []


@pytest.fixture(scope="session")
def dns() -> Iterator[DnsServer]:
    """A DNS that knows no name, so that none is asked for elsewhere."""
    with DnsServer() as server:
        yield server


def services_on(database: Database, monotonic: HandClock, dns: tuple[str, int]) -> Services:
    """The services of an API with usual settings."""
    vault, clock = Vault([secrets.token_bytes(32)]), SystemClock()
    guard = AddressGuard(allow_private=True, is_port_allowed=lambda _: True)
    network = Network(guard, Resolver([dns]))
    metrics = Metrics(database, clock)
    return Services(
        auth=Authenticator(
            database=database,
            now=clock.now,
            admin_keys={"admin": ADMIN_KEY},
            auth_throttle=AuthThrottle(20, monotonic=monotonic),
            key_cache=HashCache(monotonic=monotonic),
        ),
        database=database,
        replica=Replica(database, None, max_lag_seconds=10),
        look_up_txt=network.resolver.look_up_txt,
        sns=SnsClient(network),
        vault=vault,
        verifier=Verifier(
            network=network,
            tokens=AccessTokens(database, vault, network, now=clock.now),
            open_sealed=vault.open,
            ehlo_names=EhloNames(hostname="localhost"),
            now=clock.now,
        ),
        verify_per_minute=5,
        committer=Committer(database, metrics, now=clock.now),
        clock=clock,
        ehlo_names=EhloNames(hostname="localhost"),
        guard=AddressGuard(allow_private=False, is_port_allowed={25, 465, 587, 2525}.__contains__),
        max_message_bytes=100_000,
        message_max_age_seconds=3600,
        local_address=_loopback,
        readiness=_ready,
        fetch_file=partial(fetch_file, network, max_bytes=100_000),
        metrics=metrics.exposition,
        record_request=metrics.record_request,
    )


@pytest.fixture
async def api(database: Database, dns: DnsServer) -> AsyncIterator[Api]:
    """The API, served."""
    monotonic = HandClock()
    services = services_on(database, monotonic, dns.address)
    app = FastAPIOffline(**OPENAPI_KWARGS)
    budget = Budget(MAX_BUFFERED_BYTES, services.max_body_bytes)
    install(app, services, budget)
    assert isinstance(services.committer, Committer)
    async with (
        services.committer.running(),
        serving(app) as url,
        httpx.AsyncClient(base_url=url, verify=NO_AUTHORITIES, timeout=30) as http,
    ):
        yield Api(app, services, http, monotonic, budget)


@pytest.fixture
async def acme(api: Api) -> Caller:
    """A tenant's caller, whose key may do everything."""
    return await api.tenant("acme")


@pytest.fixture(scope="session")
def documents() -> dict[str, Any]:
    """What `document_text` and `document` keep: making the document takes a second."""
    return {}


@pytest.fixture
async def document_text(api: Api, documents: dict[str, Any]) -> str:
    """The OpenAPI document as it is served, which is the same for every app."""
    if "text" not in documents:
        documents["text"] = (await api.nobody("GET", "/openapi.json")).text
    text: str = documents["text"]
    return text


@pytest.fixture
def document(document_text: str, documents: dict[str, Any]) -> dict[str, Any]:
    """The same, parsed. Other tests read it too, so do not change it."""
    if "parsed" not in documents:
        documents["parsed"] = json.loads(document_text)
    parsed: dict[str, Any] = documents["parsed"]
    return parsed
