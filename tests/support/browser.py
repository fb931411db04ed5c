"""A real browser: one Chromium for all tests of a process, a fresh profile of it for each test."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, Page, Request, async_playwright, expect

from tests.support.waiting import until

CHROMIUM = shutil.which("chromium")
# Longer than a busy machine takes.
PATIENCE_MILLISECONDS: Final = 60_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)
# Without these, Chromium calls its maker's hosts.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--remote-debugging-port=0",
)


@contextmanager
def chromium() -> Iterator[Path]:
    """Run Chromium; yields the file that holds its debugging port."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(  # noqa: S603 - an installed program
            [CHROMIUM, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Path(folder) / "DevToolsActivePort"
        finally:
            process.kill()
            process.wait()


@dataclass
class Window:
    """A page of the browser, and what it did: errors, requests and dialogs."""

    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def requests_to_others(self, url: str) -> list[str]:
        """The requests that left the service at `url`."""
        own = urlsplit(url).netloc
        return [
            request
            for request in self.requests
            if urlsplit(request).scheme in {"http", "https", "ws", "wss"}
            and urlsplit(request).netloc != own
        ]


@asynccontextmanager
async def window(port_file: Path, **options: Any) -> AsyncIterator[Window]:
    """Open a page in a fresh profile of the browser; `options` are those of its context."""

    async def port() -> str | None:
        text = await asyncio.to_thread(lambda: port_file.read_text() if port_file.exists() else "")
        return text.splitlines()[0] if "\n" in text else None

    url = f"http://127.0.0.1:{await until(port)}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(url)
        context = await browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = await context.new_page()
        console_window = Window(context, page)
        page.on("pageerror", lambda error: console_window.errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                console_window.errors.append(message.text) if message.type == "error" else None
            ),
        )
        context.on("request", lambda request: console_window.requests.append(request.url))

        def fail(request: Request) -> None:
            # Chromium tells of a request before the page's policy stops it: it did not leave.
            if request.failure == "csp":
                console_window.requests.remove(request.url)

        context.on("requestfailed", fail)

        async def accept(dialog: Any) -> None:
            console_window.dialogs.append(dialog.message)
            await dialog.accept()

        page.on("dialog", accept)
        try:
            yield console_window
        finally:
            await context.close()
