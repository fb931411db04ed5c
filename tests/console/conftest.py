"""Fixtures of the console's tests: a real service, and a real browser in front of it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from app.domain.clock import Clock
from app.submission.listener import Listener
from tests.support.api_client import Caller
from tests.support.browser import CHROMIUM, Window, chromium, window
from tests.support.harness import (
    ADMIN_KEY,
    Heloise,
    Tenant,
    Watched,
    assert_no_secret,
    serving,
    settings,
)

Start = Callable[..., Awaitable[Heloise]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.chromium)


@pytest.fixture
async def start(migrated_url: str) -> AsyncIterator[Start]:
    """Start the service in this process; the canary is not in what it answered or stored."""
    watched = Watched()
    async with AsyncExitStack() as stack:

        async def start(
            *, clock: Clock | None = None, listeners: Sequence[Listener] = (), **fields: Any
        ) -> Heloise:
            service = serving(
                settings(migrated_url, **fields), watched, clock=clock, listeners=listeners
            )
            return await stack.enter_async_context(service)

        yield start
    await assert_no_secret(migrated_url, watched)


@pytest.fixture
async def heloise(start: Start) -> Heloise:
    """The service, delivering."""
    return await start()


@pytest.fixture
async def acme(heloise: Heloise) -> Tenant:
    """A tenant, with a key that may do everything."""
    return await heloise.tenant("acme")


@pytest.fixture(scope="session")
def browser() -> Iterator[Path]:
    """The browser of all tests of this process."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with chromium() as port_file:
        yield port_file


@dataclass
class Console:
    """The console of a service, in a window of the browser."""

    url: str
    window: Window

    @property
    def page(self) -> Page:
        """The page of the window."""
        return self.window.page

    async def open(self, path: str) -> None:
        """Open a page of the console, such as `/t/acme/messages`."""
        await self.page.goto(f"{self.url}/console{path}")

    async def sign_in(self, caller: Caller) -> None:
        """Sign in with a caller's key; leads to the first page."""
        await self.sign_in_with(caller.headers["Authorization"].partition(" ")[2])

    async def sign_in_with(self, key: str = ADMIN_KEY) -> None:
        """Sign in with a key, by default the admin key."""
        await self.open("/sign-in")
        await self.page.get_by_label("Key").fill(key)
        await self.page.get_by_role("button", name="Sign in").click()


@pytest.fixture
async def console(heloise: Heloise, browser: Path) -> AsyncIterator[Console]:
    """The console in a window. At the end, no script failed and no request left the service."""
    url = str(heloise.http.base_url).rstrip("/")
    async with window(browser) as browser_window:
        yield Console(url, browser_window)
        assert browser_window.errors == []
        assert browser_window.requests_to_others(url) == []
