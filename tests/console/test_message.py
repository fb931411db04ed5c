"""A message: its timelines, its dialogue and its content."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.console.conftest import Console
from tests.support.console import sign_in, text_of, with_scopes
from tests.support.harness import Tenant
from tests.support.servers.receiver import Receiver, answering
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer
from tests.support.waiting import until

HTML = "<p>It <b>works</b>.</p>"


@pytest.mark.one_database
async def test_the_timeline_tells_each_step(console: Console, acme: Tenant) -> None:
    """Who accepted it, which name was said, what each server replied, and what follows; live."""
    script = {"rcpt": lambda to: "550 5.1.1 No such user" if "bob" in to else None}
    async with SmtpServer(script) as server:
        await acme.profile("main", server.port)
        await acme("POST", "/profiles/main/pause")
        message = await acme.send(["ann@example.org", "bob@example.org"], subject="Your receipt")
        await console.sign_in(acme)
        await console.page.get_by_role("link", name="Your receipt").click()
        await expect(console.page.get_by_text("The profile is paused.").first).to_be_visible()
        await acme("POST", "/profiles/main/resume")
        ann, bob = (
            console.page.locator("section.card").filter(
                has=console.page.get_by_role("heading", name=name)
            )
            for name in ("ann@example.org", "bob@example.org")
        )
        await expect(ann).to_contain_text("The server accepted the message.")
        await expect(bob).to_contain_text("550 5.1.1 No such user")
        await expect(bob).to_contain_text("Heloise does not try again.")
        await expect(bob).to_contain_text("main.example.com set in the profile")
        await expect(console.page.get_by_role("row", name="recipient.bounced")).to_be_visible()
        await console.page.get_by_role("link", name="Dialogue").click()
        await expect(console.page.get_by_text("EHLO main.example.com")).to_be_visible()
        await console.open(f"/t/acme/messages/{message}")
        await console.page.get_by_role("button", name="Send again to failed").click()
        await expect(console.page.get_by_role("status")).to_contain_text("same content")
        await expect(console.page.get_by_role("link", name=message)).to_be_visible()
    assert console.window.dialogs == [
        "Send the same content again to the recipients that did not get it?"
    ]


async def test_an_uncertain_recipient_is_resolved(console: Console, acme: Tenant) -> None:
    """The page says that nobody knows, and a button decides."""
    async with SmtpServer({"dot": [DISCONNECT]}) as server:
        await acme.profile("main", server.port)
        message = await acme.send(guarantee="at_most_once")
        await acme.message(message, status="held")
        await console.sign_in(acme)
        await console.open(f"/t/acme/messages/{message}")
        await expect(console.page.get_by_text("you decide")).to_be_visible()
        await console.page.get_by_role("button", name="It arrived").click()
        await expect(console.page.get_by_role("heading", level=1)).to_contain_text("sent")


async def test_the_content_is_shown_and_downloaded(console: Console, acme: Tenant) -> None:
    """Headers, text, HTML in a sandbox, files and the raw message, each with a URL."""
    await acme.profile("main", 1)
    await acme("POST", "/profiles/main/pause")
    attachment = {
        "filename": "Rechnung für <Ann>.pdf",
        "content": base64.b64encode(b"%PDF").decode(),
    }
    message = await acme.send(subject="Grüße", html=HTML, attachments=[attachment])
    await console.sign_in(acme)
    page, path = console.page, f"/t/acme/messages/{message}"
    await console.open(f"{path}/headers")
    await expect(page.get_by_role("row", name="Subject")).to_contain_text("Grüße")
    await page.get_by_role("link", name="Text", exact=True).click()
    await expect(page.locator("pre")).to_have_text("It works.")
    await page.get_by_role("link", name="HTML", exact=True).click()
    await expect(page.frame_locator("iframe").get_by_text("works")).to_be_visible()
    await page.get_by_role("link", name="Files", exact=True).click()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Rechnung für <Ann>.pdf").click()
    file = await (await download.value).path()
    assert file.read_bytes() == b"%PDF"
    await page.get_by_role("link", name="Raw", exact=True).click()
    await expect(page.locator("pre")).to_contain_text("multipart/mixed")


@pytest.mark.one_database
async def test_a_document_may_do_nothing(acme: Tenant) -> None:
    """Its policy allows no script and no request; images only when the reader asks."""
    await acme.profile("main", 1)
    await acme("POST", "/profiles/main/pause")
    message = await acme.send(html=HTML)
    user = await sign_in(acme)
    path = f"/messages/{message}"
    headers = (await user.get(f"{path}/document")).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none';")
    assert "img-src data:;" in policy
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["referrer-policy"] == "no-referrer"
    csp = (await user.get(f"{path}/document?remote=1")).headers["content-security-policy"]
    assert "img-src data: https: http:;" in csp
    download = await user.get(f"{path}/download")
    assert download.headers["content-disposition"].startswith("attachment;")
    assert download.headers["x-content-type-options"] == "nosniff"
    assert download.content.startswith(b"Date:")
    for missing in ("files/0", "files/x", "nothing"):
        assert (await user.get(f"{path}/{missing}")).status_code == 404


@pytest.mark.one_database
async def test_content_that_is_not_shown_says_why(acme: Tenant) -> None:
    """A sensitive message has a timeline, and no content."""
    await acme.profile("main", 1)
    await acme("POST", "/profiles/main/pause")
    message = await acme.send(sensitive=True)
    user = await sign_in(acme)
    path = f"/messages/{message}"
    assert (await user.get(path)).status_code == 200
    for view in ("headers", "text", "html", "files", "raw"):
        page = await user.get(f"{path}/{view}")
        assert page.status_code == 200
        assert "The message is sensitive" in text_of(page)
    assert (await user.get(f"{path}/download")).status_code == 410


@pytest.mark.one_database
async def test_a_scheduled_message_gets_another_time(acme: Tenant) -> None:
    """A wrong time keeps what was typed, with the API's message at the field."""
    await acme.profile("main", 1)
    await acme("POST", "/profiles/main/pause")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    message = await acme.send(send_at=tomorrow.isoformat())
    user = await sign_in(acme)
    path = f"/messages/{message}"
    refusal = await user.post(f"{path}/reschedule", send_at="at noon")
    assert refusal.status_code == 422
    assert 'value="at noon"' in refusal.text
    assert 'id="e-send_at"' in refusal.text
    later = (tomorrow + timedelta(hours=1)).isoformat()
    changed = await user.post(f"{path}/reschedule", send_at=later)
    assert (changed.status_code, changed.headers["location"]) == (303, f"/console/t/acme{path}")
    empty = await user.post(f"{path}/reschedule", send_at="")
    assert (empty.status_code, 'id="e-send_at"' in empty.text) == (422, True)
    await user.post(f"{path}/reschedule", now="1")
    assert (await acme.read(f"/messages/{message}"))["status"] == "queued"
    assert (await user.post(f"{path}/cancel")).status_code == 303
    second = await user.post(f"{path}/cancel")
    assert (second.status_code, 'role="alert"' in second.text) == (409, True)


@pytest.mark.one_database
async def test_a_message_says_what_webhooks_answered(acme: Tenant) -> None:
    """To keys that manage webhooks."""
    async with SmtpServer() as server, Receiver() as receiver:
        receiver.answers = [answering("503 Service Unavailable", body=b"Come back later")]
        await acme.profile("main", server.port)
        await acme.made(
            "/webhooks", {"name": "ledger", "url": receiver.url, "events": ["message.sent"]}
        )
        message = await acme.send()

        async def has_response() -> bool | None:
            deliveries = await acme.read(f"/messages/{message}/webhook-deliveries")
            return any(delivery["log"] for delivery in deliveries["items"]) or None

        await until(has_response)
        page = text_of(await (await sign_in(acme)).get(f"/messages/{message}"))
        assert "ledger" in page
        assert "503" in page
        reader = await with_scopes(acme, "messages:read")
        page = text_of(await (await sign_in(reader)).get(f"/messages/{message}"))
        assert "ledger" not in page
