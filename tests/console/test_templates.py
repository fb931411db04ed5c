"""Templates: draft, preview in the sandbox, publish, send a test."""

import pytest
from playwright.async_api import expect

from tests.console.conftest import Console
from tests.support.console import sign_in, with_scopes
from tests.support.harness import Tenant
from tests.support.servers.smtp_server import SmtpServer

# What a stranger puts into a template: scripts, and images that tell who looks.
HOSTILE = (
    "<style>p { color: #116b3a }</style><p>Thanks, {{ name }}.</p>"
    "<script>parent.document.title = 'taken'</script>"
    "<img src='https://tracker.example/pixel.gif' onerror='alert(1)'>"
)
# A zero-width joiner: what somebody does not edit must not change.
FAMILY = "\U0001f468\u200d\U0001f469"


@pytest.mark.one_database
async def test_from_draft_to_message(console: Console, acme: Tenant) -> None:
    """Create, correct what the API refuses, preview, publish, and send a test."""
    page = console.page
    await console.sign_in(acme)
    await page.get_by_role("link", name="Templates").click()
    await page.get_by_role("link", name="Create a template").click()
    await page.get_by_label("Name").fill("receipt")
    await page.get_by_label("Subject").fill(f"Receipt {{{{ number }} {FAMILY}")
    await page.get_by_label("HTML", exact=True).fill(HOSTILE)
    await page.get_by_label("Languages").fill('{"de": {"subject": "Quittung {{ number }}"}')
    await page.get_by_role("button", name="Save draft").click()
    await expect(page.locator("#e-locales")).to_contain_text("write JSON: line 1")
    await page.get_by_label("Languages").fill('{"de": {"subject": "Quittung {{ number }}"}}')
    await page.get_by_role("button", name="Save draft").click()
    await expect(page.get_by_role("alert")).to_contain_text("subject")
    await page.get_by_label("Subject").fill(f"Receipt {{{{ number }}}} {FAMILY}")
    console.window.errors.clear()  # Chromium reports each 422 itself
    await page.get_by_role("button", name="Save draft").click()
    await expect(page.get_by_role("heading", name="receipt draft")).to_be_visible()

    await page.get_by_role("link", name="Preview").first.click()
    await page.get_by_label("Variables").fill('{"name": "Ann & <b>Bob</b>", "number": 42}')
    await page.get_by_label("Language").fill("de-AT")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("heading", name="Quittung 42")).to_be_visible()
    paragraph = page.frame_locator("iframe").get_by_text("Thanks, Ann & <b>Bob</b>.")
    await expect(paragraph).to_have_css("color", "rgb(17, 107, 58)")
    await expect(page).to_have_title("Preview of receipt · Heloise")
    # Chromium reports what the sandbox and the policy stopped.
    assert len(console.window.errors) >= 2
    assert console.window.dialogs == []
    console.window.errors.clear()

    await page.get_by_role("link", name="Back").click()
    await page.get_by_role("link", name="Edit the draft").click()
    await page.get_by_role("button", name="Save draft").click()
    template = (await acme.read("/templates"))["items"][0]
    [version] = (await acme.read(f"/templates/{template['id']}/versions"))["items"]
    assert (version["number"], version["subject"]) == (1, f"Receipt {{{{ number }}}} {FAMILY}")
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_role("status")).to_have_text("New messages use version 1.")
    await page.get_by_role("link", name="Preview").last.click()
    await page.get_by_label("Variables").fill('{"name": "Ann", "number": 7}')
    await page.get_by_role("button", name="Preview").click()
    async with SmtpServer() as server:
        await acme.profile("main", server.port, is_default=True)
        await page.get_by_role("link", name="Send as a test").click()
        await page.get_by_label("To").fill("ann@example.org\nbob@example.org")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Receipt 7")
        await expect(page.get_by_role("heading", name="bob@example.org sent")).to_be_visible()
    console.window.errors.clear()  # of the second preview


@pytest.mark.one_database
async def test_a_preview_is_a_document_of_its_own(acme: Tenant) -> None:
    """Its headers put it into a sandbox even when somebody opens it by itself."""
    template = await acme.made(
        "/templates", {"name": "receipt", "html": HOSTILE, "subject": "{{ x }}"}
    )
    session = await sign_in(acme)
    path = f"/templates/{template['id']}/preview"
    page = await session.get(f'{path}?variables={{"name":"Ann","x":"1"}}')
    assert '<iframe sandbox src="' in page.text
    assert "<script>parent" not in page.text
    document = await session.get(f'{path}/document?variables={{"name":"Ann","x":"1"}}')
    policy = document.headers["content-security-policy"]
    assert policy.startswith(
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    )
    assert "<p" in document.text
    for variables in ("{}", "[", '{"name": 1, "x": "</textarea><script>"}'):
        page = await session.get(f"{path}?variables={variables}")
        assert "<script>" not in page.text.replace("<script>parent", "")
    page = await session.get(f"{path}?variables=%7B%7D")
    assert (page.status_code, 'role="alert"' in page.text) == (422, True)


@pytest.mark.one_database
async def test_versions_and_their_buttons(acme: Tenant) -> None:
    """An earlier version is published again; without messages:send there is no test."""
    template = await acme.made("/templates", {"name": "receipt", "subject": "One", "text": "x"})
    session = await sign_in(await with_scopes(acme, "templates:manage", "messages:read"))
    path = f"/templates/{template['id']}"
    await session.post(f"{path}/publish", version="1")
    changed = await session.post(f"{path}/edit", name="receipt", subject="<b>Two</b>", text="y")
    assert changed.status_code == 303
    page = await session.get(path)
    assert "&lt;b&gt;Two&lt;/b&gt;" in page.text
    assert "Send a test" not in page.text
    await session.post(f"{path}/publish", version="2")
    assert (await session.post(f"{path}/publish", version="9")).status_code == 404
    await session.post(f"{path}/publish", version="1")
    assert (await acme.read(path))["published"] == 1
    assert (await session.post(f"{path}/test", to="ann@example.org")).status_code == 403
    await session.post(f"{path}/delete")
    assert (await session.get(path)).status_code == 404
    assert "No template." in (await session.get("/templates")).text


@pytest.mark.one_database
async def test_a_key_without_the_scope_sees_no_templates(acme: Tenant) -> None:
    """Neither the tab nor the pages, and its forms change nothing."""
    template = await acme.made("/templates", {"name": "receipt", "subject": "Secret subject"})
    session = await sign_in(await with_scopes(acme, "messages:read"))
    assert "Templates" not in (await session.get("/messages")).text
    path = f"/templates/{template['id']}"
    for name in (
        "/templates",
        path,
        f"{path}/edit",
        f"{path}/preview?variables=",
        f"{path}/preview/document",
    ):
        page = await session.get(name)
        assert (page.status_code, "Secret" in page.text) == (403, False), name
    for action in ("edit", "publish", "delete", "test"):
        assert (await session.post(f"{path}/{action}", to="a@example.org")).status_code == 403
    assert await acme.read(path) == template
