"""Every page that links reach: hostile text does nothing, and everybody can use it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from playwright.async_api import Page

from tests.console.conftest import Console
from tests.support.browser import Window, window
from tests.support.crawling import find_missing, look_no_further, read_pages, trap
from tests.support.harness import ADMIN_KEY, Heloise, Tenant
from tests.support.hostile import DECEPTIVE, HOSTILE, HostileTenant, fill
from tests.support.servers.receiver import Receiver
from tests.support.servers.smtp_server import SmtpServer
from tests.support.terminal import ROOT

AXE: Final = ROOT / "tests/console/axe/node_modules/axe-core/axe.min.js"
STARTS: Final = {
    "tenant": ("/console/",),
    "admin": ("/console/", "/console/t/acme/messages"),
}
# No colour of the style sheet depends on the width, so each width has one scheme.
LOOKS: Final[Sequence[tuple[Literal["light", "dark"], int]]] = (("light", 1200), ("dark", 360))
pytestmark = [pytest.mark.one_database, pytest.mark.long, pytest.mark.timeout(900)]


@asynccontextmanager
async def fill_tenant(acme: Tenant, origin: str) -> AsyncIterator[HostileTenant]:
    """The tenant with one of everything, while the servers run that it knows."""
    async with SmtpServer() as server, Receiver() as receiver:
        yield await fill(acme, server, receiver, origin=origin)


@pytest.mark.parametrize("user", [pytest.param("tenant", marks=pytest.mark.axe), "admin"])
async def test_hostile_text_is_shown_and_does_nothing(
    heloise: Heloise, acme: Tenant, browser: Path, user: str
) -> None:
    """No script runs, no element comes of it, no request leaves, and each string is readable.

    A tenant's pages break no rule of axe-core either, in light and dark, on wide and on narrow
    screens.
    """
    url = str(heloise.http.base_url).rstrip("/")
    source = await asyncio.to_thread(lambda: AXE.read_text() if AXE.exists() else "")
    async with (
        trap() as (origin, requests),
        fill_tenant(acme, origin),
        window(browser) as browser_window,
    ):
        console, accessibility = Console(url, browser_window), Accessibility(browser_window, source)
        await (console.sign_in(acme) if user == "tenant" else console.sign_in_with(ADMIN_KEY))
        browser_window.errors.clear()  # the first page of an admin may be missing
        look_further = accessibility.look if user == "tenant" and source else look_no_further
        texts = await read_pages(browser_window, url, STARTS[user], look_further)
        assert find_missing((*HOSTILE, *DECEPTIVE), texts) == []
        assert browser_window.dialogs == []
        assert len(texts) > 10
        assert requests == []
    assert accessibility.broken == {}
    if user == "tenant" and not source:
        pytest.skip("axe-core is not installed: npm ci --prefix tests/console/axe")


class Accessibility:
    """What axe-core finds wrong with the pages of a window, and where it found it first."""

    def __init__(self, browser_window: Window, source: str) -> None:
        self._window, self._source = browser_window, source
        self.broken: dict[str, tuple[str, str, int]] = {}

    async def look(self, path: str) -> None:
        """Look at the open page in each of its looks."""
        if path.endswith("/document"):
            return
        page = self._window.page
        await page.evaluate(self._source)
        for scheme, width in LOOKS:
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size({"width": width, "height": 800})
            for violation in await _find_violations(page, full=(scheme, width) == LOOKS[0]):
                self.broken.setdefault(violation, (path, scheme, width))
            if await page.evaluate("document.documentElement.scrollWidth - innerWidth") > 0:
                self.broken.setdefault(f"{path} is too wide", (path, scheme, width))
        self._window.errors.clear()  # axe-core itself reads what the page's policy forbids


async def _find_violations(page: Page, *, full: bool) -> list[str]:
    """The rules that a page breaks; `full` checks more than what colours and width change."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if not full:
        options["runOnly"] = ["color-contrast", "scrollable-region-focusable"]
    result = await page.evaluate("(options) => axe.run({exclude: ['iframe']}, options)", options)
    return [
        f"{violation['id']}: {node['html'][:150]}: {node['failureSummary'][:200]}"
        for violation in result["violations"]
        for node in violation["nodes"][:3]
    ]
