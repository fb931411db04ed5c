"""A running service: `heloise dev`, as anybody starts it, and clients of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from heloise_client import AsyncHeloise, Heloise
from tests.support.dev_process import Dev, developing
from tests.support.required import pytest_runtest_makereport
from tests.support.terminal import Terminal

__all__ = ["pytest_runtest_makereport"]


@dataclass(frozen=True)
class Service:
    """Where the service is, and its keys. Its profiles send to an inbox."""

    dev: Dev
    key: str
    admin_key: str

    @property
    def url(self) -> str:
        return self.dev.url

    def client(self, **options: Any) -> Heloise:
        """Make a client of the tenant of `heloise dev`."""
        return Heloise(self.url, self.key, **options)

    def async_client(self, **options: Any) -> AsyncHeloise:
        """Make the same for asyncio."""
        return AsyncHeloise(self.url, self.key, **options)

    def admin(self, tenant: str | None = None) -> Heloise:
        """Make a client with the admin key."""
        return Heloise(self.url, self.admin_key, tenant=tenant)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests of this process."""
    terminal = Terminal(tmp_path_factory.mktemp("service"))
    with developing(terminal) as dev:
        yield Service(dev, dev.printed("key"), dev.printed("admin key"))


@pytest.fixture
def heloise(service: Service) -> Iterator[Heloise]:
    """A client of the service."""
    with service.client() as client:
        yield client
