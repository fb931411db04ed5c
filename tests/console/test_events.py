"""Events: the list, live and with filters."""

import re
from html import unescape

import pytest
from playwright.async_api import expect

from app.console.pages import events
from tests.console.conftest import Console
from tests.support.console import sign_in, with_scopes
from tests.support.harness import Tenant
from tests.support.servers.smtp_server import SmtpServer

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.one_database
async def test_events_appear_by_themselves(console: Console, acme: Tenant) -> None:
    """With the server's words as text, and a way to the message."""
    page = console.page
    await console.sign_in(acme)
    await page.get_by_role("link", name="Events").click()
    await expect(page.get_by_text("No event matches yet.")).to_be_visible()
    async with SmtpServer({"rcpt": f"550 5.1.1 {HOSTILE}"}) as server:
        await acme.profile("main", server.port)
        await acme.send(profile="main")
        row = page.get_by_role("row", name="recipient.bounced")
        await expect(row.get_by_text(HOSTILE)).to_be_visible()
    await page.get_by_label("Type").select_option("message.*")
    await page.get_by_role("button", name="Filter").click()
    await expect(row).to_have_count(0)
    await page.get_by_role("row", name="message.failed").get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Hello")


@pytest.mark.one_database
async def test_the_latest_events_come_first(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, in both orders."""
    monkeypatch.setattr(events, "SHOWN", 2)
    await acme.profile("main", 1)
    await acme("POST", "/profiles/main/pause")
    sent = [await acme.send(profile="main") for _ in range(5)]
    session = await sign_in(acme)

    async def read_all(query: str) -> list[str]:
        shown, query = list[str](), f"?type=message.queued{query}"
        while query:
            page = await session.get(f"/events{query}")
            shown += re.findall(r"<small>(msg_\w+)</small>", page.text)
            link = re.search(r'rel="next" href="[^"?]*([^"]*)"', page.text)
            query = unescape(link[1]) if link else ""
        return shown

    assert await read_all("") == sent[::-1]
    assert await read_all("&order=asc") == sent


@pytest.mark.one_database
async def test_filters_of_events(acme: Tenant) -> None:
    """What the API refuses is at its filter; a key without the scope sees none."""
    await acme.profile("main", 1)
    message_id = await acme.send(profile="main")
    session = await sign_in(acme)
    page = await session.get(f"/events?message={message_id}")
    assert "message.queued" in page.text
    page = await session.get(f"/events?message={message_id}&type=profile.*")
    assert "No event matches yet." in page.text
    page = await session.get("/events?created_after=noon&cursor=x")
    assert (page.status_code, 'id="e-created_after"' in page.text) == (422, True)
    stranger = await sign_in(await with_scopes(acme, "messages:send"))
    page = await stranger.get(f"/events?message={message_id}")
    assert (page.status_code, "message.queued</td>" in page.text) == (403, False)
