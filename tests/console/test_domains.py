"""Signing domains: records to copy, check, rotate, delete."""

import pytest
from playwright.async_api import expect

from tests.console.conftest import Console, Start
from tests.support.console import sign_in, with_scopes
from tests.support.harness import Tenant
from tests.support.servers.dns_server import DnsServer

HOSTILE = "<script>alert(1)</script>"


@pytest.mark.one_database
async def test_the_records_in_a_browser(console: Console, acme: Tenant) -> None:
    """Create a domain, and copy the records that it wants."""
    page = console.page
    origin = console.url
    await console.window.context.grant_permissions(
        ["clipboard-read", "clipboard-write"], origin=origin
    )
    await console.sign_in(acme)
    await page.get_by_role("link", name="Domains").click()
    await page.get_by_role("link", name="Create a domain").click()
    await page.get_by_label("Domain").fill("*.example.com")
    await page.get_by_role("button", name="Create keys").click()
    await expect(page.locator("#e-domain")).to_contain_text("write one domain without a *")
    console.window.errors.clear()  # Chromium reports the 422 itself
    await page.get_by_label("Domain").fill("example.com")
    await page.get_by_role("button", name="Create keys").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("example.com not signed")
    [domain] = (await acme.read("/domains"))["items"]
    for key in domain["keys"]:
        card = page.locator(f"#{key['selector']}")
        for button, text in (("name", "name"), ("value", "value")):
            await card.get_by_role("button", name=f"Copy {button}").click()
            await expect(card.get_by_text("Copied").first).to_be_visible()
            copied = await page.evaluate("navigator.clipboard.readText()")
            assert copied == key["dns_record"][text]
    await page.get_by_role("button", name="Rotate").click()
    await expect(page.get_by_role("alert")).to_contain_text("has a pending key")
    console.window.errors.clear()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No domain.")).to_be_visible()
    assert len(console.window.dialogs) == 2


@pytest.mark.one_database
async def test_a_check_shows_what_the_dns_has(start: Start) -> None:
    """Per record: right, missing, or what else is there; then a rotation wants new records."""
    with DnsServer(ttl=0) as dns:
        acme = await (await start(dns_servers=dns.setting)).tenant()
        domain = await acme.made("/domains", {"domain": "example.com"})
        first, second = (key["dns_record"] for key in domain["keys"])
        dns.say(first["name"], f"v=DKIM1; p={HOSTILE}")
        session = await sign_in(acme)
        path = f"/domains/{domain['id']}"
        checked = await session.post(f"{path}/check")
        assert (checked.status_code, checked.headers["location"]) == (
            303,
            f"{session.prefix}{path}",
        )
        page = await session.get(path)
        assert "the record has another key" in page.text
        assert HOSTILE not in page.text
        assert "there is no such TXT record" in page.text
        assert "another key" in (await session.get("/domains")).text
        dns.say(second["name"], second["value"])
        await session.post(f"{path}/check")
        page = await session.get(path)
        assert 'state active">signed' in page.text
        assert "The DNS has this record." in page.text


@pytest.mark.one_database
async def test_buttons_need_the_scope(acme: Tenant) -> None:
    """A key that only reads sees the records, and no button; its forms change nothing."""
    domain = await acme.made("/domains", {"domain": "example.com"})
    session = await sign_in(await with_scopes(acme, "messages:read", "profiles:read"))
    page = await session.get(f"/domains/{domain['id']}")
    assert domain["keys"][0]["dns_record"]["value"] in page.text
    assert "Rotate" not in page.text
    assert "Create a domain" not in (await session.get("/domains")).text
    for action in ("check", "rotate", "delete"):
        assert (await session.post(f"/domains/{domain['id']}/{action}")).status_code == 403
    assert await acme.read(f"/domains/{domain['id']}") == domain
