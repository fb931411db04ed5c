"""Mailboxes and provider webhooks: what they read, what fails, and their secrets."""

import pytest
from playwright.async_api import expect

from tests.console.conftest import Console
from tests.support.console import sign_in, with_scopes
from tests.support.harness import CANARY, Tenant
from tests.support.processes.ports import unused_port

MAILBOX = {
    "name": "bounces",
    "host": "127.0.0.1",
    "tls": "none",
    "username": "<b>bounces</b>@example.com",
    "folder": "INBOX",
    "poll_seconds": "60",
    "enabled": "true",
}


@pytest.mark.one_database
async def test_a_mailbox_in_a_browser(console: Console, acme: Tenant) -> None:
    """Create one, see by itself why it cannot be read, and delete it after a question."""
    page = console.page
    await console.sign_in(acme)
    await page.get_by_role("link", name="Mailboxes").click()
    await page.get_by_role("link", name="Create a mailbox").click()
    await page.get_by_label("Name", exact=True).fill("bounces")
    await page.get_by_label("IMAP server").fill("127.0.0.1")
    await page.get_by_label("Port", exact=True).fill("many")
    await page.get_by_label("TLS").select_option("none")
    await page.get_by_label("User name").fill("bounces@example.com")
    await page.get_by_label("Password").fill(CANARY)
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("#e-port")).to_contain_text("integer")
    await expect(page.get_by_label("Password")).to_have_value("")
    console.window.errors.clear()  # Chromium reports the 422 itself
    await page.get_by_label("Port", exact=True).fill(str(unused_port()))
    await page.get_by_label("Password").fill(CANARY)
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", name="bounces failing")).to_be_visible()
    await expect(page.locator(".card .error")).to_contain_text("does not answer")
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No mailbox.")).to_be_visible()
    assert console.window.dialogs == ["Delete the mailbox bounces? Its mail stays on the server."]


@pytest.mark.one_database
async def test_a_mailbox_is_changed(acme: Tenant) -> None:
    """The password stays where the server stays, and is needed where it changes."""
    session = await sign_in(acme)
    form = MAILBOX | {"port": str(unused_port())}
    created = await session.post("/mailboxes/new", **form, password=CANARY)
    assert created.status_code == 303
    [mailbox] = (await acme.read("/mailboxes"))["items"]
    path = f"/mailboxes/{mailbox['id']}"
    for name in ("/mailboxes", path):
        page = (await session.get(name)).text
        assert "&lt;b&gt;bounces&lt;/b&gt;@example.com" in page
    changed = await session.post(path, **form | {"folder": "Bounces", "enabled": ""})
    assert changed.status_code == 303
    refusal = await session.post(path, **form | {"host": "127.0.0.2"})
    assert (refusal.status_code, 'id="e-password"' in refusal.text) == (422, True)
    after = await acme.read(path)
    assert (after["folder"], after["enabled"], after["host"]) == ("Bounces", False, "127.0.0.1")


@pytest.mark.one_database
async def test_the_url_of_a_provider_webhook_is_shown_once(acme: Tenant) -> None:
    """After its creation and each rotation, and on no other page."""
    session = await sign_in(acme)
    refusal = await session.post("/provider-webhooks/new", name="mailgun", provider="mailgun")
    assert (refusal.status_code, 'id="e-secret"' in refusal.text) == (422, True)
    created = await session.post(
        "/provider-webhooks/new", name="<i>mailgun</i>", provider="mailgun", secret=CANARY
    )
    assert created.status_code == 200
    [provider_webhook] = (await acme.read("/provider-webhooks"))["items"]
    path = f"/provider-webhooks/{provider_webhook['id']}"
    rotated = await session.post(f"{path}/rotate")
    for page in (created, rotated):
        assert "/inbound/mailgun/" in page.text
        assert "Copy it now" in page.text
    changed = await session.post(path, name="mailgun", networks="192.0.2.0/24\n")
    assert changed.status_code == 303
    after = await acme.read(path)
    assert (after["has_secret"], after["networks"]) == (True, ["192.0.2.0/24"])
    form = await session.get(path)
    assert 'name="topic_arn"' not in form.text
    for name in ("/provider-webhooks", path):
        assert "/inbound/mailgun/" not in (await session.get(name)).text
    await session.post(f"{path}/delete")
    assert "No provider webhook." in (await session.get("/provider-webhooks")).text


@pytest.mark.one_database
async def test_a_key_without_the_scope_sees_neither(acme: Tenant) -> None:
    """Neither the tabs nor the pages, and its forms change nothing."""
    hook = await acme.made(
        "/provider-webhooks", {"name": "postmark", "provider": "postmark", "secret": "x"}
    )
    session = await sign_in(await with_scopes(acme, "messages:read"))
    page = await session.get("/messages")
    assert "Mailboxes" not in page.text
    assert "Provider webhooks" not in page.text
    path = f"/provider-webhooks/{hook['id']}"
    for name in ("/mailboxes", "/provider-webhooks", path):
        page = await session.get(name)
        assert (page.status_code, "postmark" in page.text) == (403, False)
    for name in ("/mailboxes/new", path, f"{path}/rotate", f"{path}/delete"):
        assert (await session.post(name, **MAILBOX)).status_code == 403
    assert (await acme.read(path))["updated_at"] == hook["updated_at"]
