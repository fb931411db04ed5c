"""Take the screenshots of the documents: `python -m tests.console.screenshots`.

Starts a service with data that reads well, and writes PNG files into docs/guide/images.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page

from app.store.db.database import Database
from app.store.migrations.migrate import migrate
from tests.support.browser import chromium, window
from tests.support.console import sign_in
from tests.support.harness import Tenant, Watched, serving, settings
from tests.support.servers.smtp_server import SmtpServer
from tests.support.terminal import ROOT

FOLDER: Final = ROOT / "docs/guide/images"
SIZE: Final = {"width": 1200, "height": 760}
MAX_BYTES: Final = 150_000
MAILS: Final = (
    ("ann@example.org", "Your receipt for January", "transactional"),
    ("bob@example.org", "Reset your password", "transactional"),
    ("carol@example.org", "Your parcel is on its way", "transactional"),
    ("dan@full.example", "Invoice 2026-0042", "transactional"),
    ("eve@gone.example", "Welcome to Acme", "newsletter"),
    ("frank@example.org", "News in January", "newsletter"),
    ("grace@strict.example", "Your contract", "contracts"),
)
REPLIES: Final = {
    "full.example": "452 4.2.2 Mailbox full",
    "gone.example": "550 5.1.1 No such user here",
}
EHLO_REPLY: Final = "450 4.7.1 <contracts.example.com>: Helo command rejected: Host not found"


def _reply(command: str) -> str | None:
    return next((reply for domain, reply in REPLIES.items() if domain in command), None)


async def _fill(acme: Tenant, server: SmtpServer, strict: SmtpServer) -> dict[str, str]:
    """Send mails of all kinds, and return their ids by subject."""
    for name, port in (
        ("transactional", server.port),
        ("newsletter", server.port),
        ("contracts", strict.port),
    ):
        await acme.profile(name, port)
    messages = {
        subject: await acme.send(to, subject=subject, profile=profile)
        for to, subject, profile in MAILS
    }
    await acme.message(messages["Welcome to Acme"], status="failed")
    await acme.state("contracts", "failing")
    for subject in ("Your receipt for January", "News in January"):
        await acme.message(messages[subject], status="sent")
    return messages


async def _take(page: Page, url: str, name: str) -> None:
    await page.goto(url)
    content = await page.screenshot(path=FOLDER / f"{name}.png")
    assert len(content) <= MAX_BYTES, f"{name}.png has {len(content)} bytes"


async def _run(folder: Path, port_file: Path) -> None:
    url = f"sqlite:///{folder}/heloise.db"
    database = Database(url)
    await migrate(database)
    await database.close()
    script: dict[str, Any] = {"rcpt": _reply}
    refusing: dict[str, Sequence[str]] = {"ehlo": [EHLO_REPLY] * 1000}
    async with (
        SmtpServer(script) as server,
        SmtpServer(refusing) as strict,
        serving(settings(url), Watched()) as heloise,
        window(port_file, viewport=SIZE, color_scheme="light") as browser_window,
    ):
        acme = await heloise.tenant("acme")
        messages = await _fill(acme, server, strict)
        user = await sign_in(acme)
        name, _, value = user.cookie.partition("=")
        base = str(heloise.http.base_url).rstrip("/")
        await browser_window.context.set_extra_http_headers({"Cookie": f"{name}={value}"})
        tenant = f"{base}/console/t/acme"
        await _take(browser_window.page, f"{tenant}/messages", "messages")
        await _take(
            browser_window.page, f"{tenant}/messages/{messages['Your contract']}", "message"
        )
        await _take(browser_window.page, f"{tenant}/profiles", "profiles")
        await _take(browser_window.page, f"{tenant}/profiles/contracts", "profile")


def main() -> None:
    """Take all screenshots."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as port_file:
        asyncio.run(_run(Path(folder), port_file))


if __name__ == "__main__":
    main()
