"""Webhooks: their secrets, deliveries with hostile answers, and replays."""

import pytest
from playwright.async_api import expect

from tests.console.conftest import Console
from tests.support.console import sign_in, with_scopes
from tests.support.harness import Tenant
from tests.support.servers.receiver import Receiver, answering

HOSTILE = "</pre><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"


@pytest.mark.one_database
async def test_a_webhook_from_its_secret_to_a_replay(console: Console, acme: Tenant) -> None:
    """The secret is shown once, an answer appears by itself, and an event is posted again."""
    page = console.page
    await acme.profile("main", 1)
    async with Receiver([answering("500 Broken", body=HOSTILE.encode())]) as receiver:
        await console.sign_in(acme)
        await page.get_by_role("link", name="Webhooks", exact=True).click()
        await page.get_by_role("link", name="Create a webhook").click()
        await page.get_by_label("Name").fill("orders")
        await page.get_by_label("URL").fill("ftp://example.com")
        await page.get_by_label("Events").first.fill("message.queued")
        await page.get_by_role("button", name="Create").click()
        await expect(page.locator("#e-url")).to_be_visible()
        console.window.errors.clear()  # Chromium reports the 422 itself
        await page.get_by_label("URL").fill(receiver.url)
        await page.get_by_role("button", name="Create").click()
        secret = await page.locator("#secret").text_content()
        assert secret is not None
        assert secret.startswith("whsec_")
        await page.get_by_role("link", name="Continue").click()
        await expect(page.get_by_text("No delivery matches.")).to_be_visible()
        assert secret not in await page.content()

        await acme.send(profile="main")
        row = page.get_by_role("row", name="message.queued")
        await expect(row.get_by_text("500")).to_be_visible()
        await row.get_by_text("Answer").click()
        await expect(row.get_by_text(HOSTILE)).to_be_visible()
        await expect(page).to_have_title("orders · Heloise")
        # What somebody reads stays open while the page changes.
        await acme.send(profile="main")
        await expect(row).to_have_count(2)
        await expect(row.last.get_by_text(HOSTILE)).to_be_visible()
        listed = await sign_in(acme)
        assert "the URL answered 500" in (await listed.get("/webhooks")).text
        await row.last.get_by_role("button", name="Post again").click()
        await expect(page.get_by_role("status")).to_have_text("Events to post again: 1.")
        await expect(row.get_by_text("delivered")).to_have_count(2)
        await page.get_by_role("button", name="Rotate the secret").click()
        await expect(page.locator("#secret")).not_to_have_text(secret)
        await page.get_by_role("link", name="Continue").click()
        await expect(page.get_by_text("Previous secret")).to_be_visible()
    assert len(console.window.dialogs) == 2


@pytest.mark.one_database
async def test_forms_keep_what_they_do_not_change(acme: Tenant) -> None:
    """The form of a webhook holds all of it; another URL needs the secret."""
    fields = {"events": ["message.*", "recipient.bounced"], "tags": ["a"], "ordered": True}
    webhook = await acme.made("/webhooks", {"name": "log", "url": "http://127.0.0.1:9/", **fields})
    session = await sign_in(acme)
    path = f"/webhooks/{webhook['id']}"
    form = {
        "name": "log",
        "url": "http://127.0.0.1:9/",
        "events": "message.*\nrecipient.bounced\n",
        "tags": "a",
        "ordered": "true",
        "format": "heloise",
        "enabled": "true",
    }
    assert (await session.post(f"{path}/edit", **form)).status_code == 303
    unchanged = await acme.read(path)
    assert {name: unchanged[name] for name in fields} == fields
    refusal = await session.post(
        f"{path}/edit", **form | {"url": "http://127.0.0.1:8/", "tags": ""}
    )
    assert refusal.status_code == 422
    assert 'id="e-secret"' in refusal.text
    form |= {"url": "http://127.0.0.1:8/", "secret": webhook["secret"], "events": "", "tags": ""}
    refusal = await session.post(f"{path}/edit", **form | {"name": ""})
    assert (refusal.status_code, webhook["secret"] in refusal.text) == (422, False)
    assert (await session.post(f"{path}/edit", **form)).status_code == 303
    changed = await acme.read(path)
    assert (changed["url"], changed["events"], changed["tags"]) == ("http://127.0.0.1:8/", [], [])


@pytest.mark.one_database
async def test_states_and_replays(acme: Tenant) -> None:
    """Disabled, enabled; a replay without a choice is refused; a deleted webhook is gone."""
    webhook = await acme.made("/webhooks", {"name": "<b>log</b>", "url": "http://127.0.0.1:9/"})
    session = await sign_in(acme)
    path = f"/webhooks/{webhook['id']}"
    await session.post(f"{path}/enable")
    page = await session.get("/webhooks")
    assert "disabled by the API" in page.text
    assert "&lt;b&gt;log&lt;/b&gt;" in page.text
    await session.post(f"{path}/enable", enabled="true")
    assert (await acme.read(path))["enabled"]
    refusal = await session.post(f"{path}/replay", status="", events="")
    assert (refusal.status_code, "set at least one" in refusal.text) == (422, True)
    replayed = await session.post(f"{path}/replay", created_after="2026-01-15T09:00:00Z")
    assert replayed.status_code == 303
    assert (await session.get(f"{path}?status=lost")).status_code == 422
    await session.post(f"{path}/delete")
    assert (await session.get(path)).status_code == 404


@pytest.mark.one_database
async def test_a_key_without_the_scope_sees_no_webhooks(acme: Tenant) -> None:
    """Neither the tab nor the pages, and its forms change nothing."""
    webhook = await acme.made("/webhooks", {"name": "orders", "url": "http://127.0.0.1:9/"})
    session = await sign_in(await with_scopes(acme, "messages:read", "events:read"))
    assert "Webhooks" not in (await session.get("/messages")).text
    path = f"/webhooks/{webhook['id']}"
    for name in ("/webhooks", path, f"{path}/edit"):
        page = await session.get(name)
        assert (page.status_code, "127.0.0.1:9" in page.text) == (403, False), name
    for action in ("edit", "enable", "rotate", "delete", "replay"):
        answer = await session.post(f"{path}/{action}", name="x", events="evt_1")
        assert answer.status_code == 403, action
    assert (await acme.read(path))["updated_at"] == webhook["updated_at"]
