"""The list of messages, and a message."""

from playwright.async_api import expect

from tests.console.conftest import Console
from tests.support.harness import Tenant
from tests.support.servers.smtp_server import SmtpServer


async def test_the_list_is_live(console: Console, acme: Tenant) -> None:
    """A message appears by itself, and so does what becomes of it."""
    await console.sign_in(acme)
    await expect(console.page.get_by_text("No message matches.")).to_be_visible()
    async with SmtpServer() as server:
        await acme.profile("main", server.port)
        await acme.send(subject="Your receipt", profile="main")
        row = console.page.get_by_role("row", name="Your receipt")
        await expect(row.get_by_text("sent", exact=True)).to_be_visible()
