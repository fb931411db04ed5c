"""Every page that links reach: hostile text does nothing, and everybody can use it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from playwright.async_api import Page

from tests.console.conftest import Console
from tests.support.browser import window
from tests.support.crawling import crawl, find_missing, read_pages, trap
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
pytestmark = [pytest.mark.one_database, pytest.mark.slow]


@asynccontextmanager
async def fill_tenant(acme: Tenant, origin: str) -> AsyncIterator[HostileTenant]:
    """The tenant with one of everything, while the servers run that it knows."""
    async with SmtpServer() as server, Receiver() as receiver:
        yield await fill(acme, server, receiver, origin=origin)


@pytest.mark.parametrize("user", STARTS)
async def test_hostile_text_is_shown_and_does_nothing(
    heloise: Heloise, acme: Tenant, browser: Path, user: str
) -> None:
    """No script runs, no element comes of it, no request leaves, and each string is readable."""
    url = str(heloise.http.base_url).rstrip("/")
    async with (
        trap() as (origin, requests),
        fill_tenant(acme, origin),
        window(browser) as browser_window,
    ):
        console = Console(url, browser_window)
        await (console.sign_in(acme) if user == "tenant" else console.sign_in_with(ADMIN_KEY))
        browser_window.errors.clear()  # the first page of an admin may be missing
        texts = await read_pages(browser_window, url, STARTS[user])
        assert find_missing((*HOSTILE, *DECEPTIVE), texts) == []
        assert browser_window.dialogs == []
        assert len(texts) > 10
        assert requests == []


@pytest.mark.axe
@pytest.mark.timeout(900)
async def test_every_page_is_accessible(heloise: Heloise, acme: Tenant, browser: Path) -> None:
    """No rule of axe-core is broken, in light and dark, on wide and on narrow screens."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci --prefix tests/console/axe")
    url = str(heloise.http.base_url).rstrip("/")
    source = await asyncio.to_thread(AXE.read_text)
    broken = dict[str, Any]()
    async with fill_tenant(acme, url), window(browser) as browser_window:
        await Console(url, browser_window).sign_in(acme)
        async for path in crawl(browser_window.page, url, STARTS["tenant"]):
            if path.endswith("/document"):
                continue
            await browser_window.page.evaluate(source)
            for scheme, width in LOOKS:
                await browser_window.page.emulate_media(color_scheme=scheme)
                await browser_window.page.set_viewport_size({"width": width, "height": 800})
                for violation in await _find_violations(
                    browser_window.page, full=(scheme, width) == LOOKS[0]
                ):
                    broken.setdefault(violation, (path, scheme, width))
                overflow = "document.documentElement.scrollWidth - innerWidth"
                if await browser_window.page.evaluate(overflow) > 0:
                    broken.setdefault(f"{path} is too wide", (path, scheme, width))
    assert broken == {}


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
