"""Suppressions: list, add, delete, import and export."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.console.conftest import Console
from tests.support.console import sign_in, with_scopes
from tests.support.harness import Tenant

LIST = "address,reason\nbob@example.org,complaint\n"
HOSTILE = "<img src=x onerror=alert(1)>\u202e"


@pytest.mark.one_database
async def test_the_story_in_a_browser(console: Console, acme: Tenant, tmp_path: Path) -> None:
    """Add an address, find it, import a file, download all, delete one after a question."""
    page = console.page
    await console.sign_in(acme)
    await page.get_by_role("link", name="Suppressions").click()
    await page.get_by_role("link", name="Add a suppression").click()
    await page.get_by_label("Address or pattern").fill("ann")
    await page.get_by_label("Note").fill(HOSTILE)
    await page.get_by_role("button", name="Suppress").click()
    await expect(page.locator("#e-address")).to_contain_text("'ann' is not an address")
    await expect(page.get_by_label("Note")).to_have_value(HOSTILE)
    console.window.errors.clear()  # Chromium reports the 422 itself
    await page.get_by_label("Address or pattern").fill("*@example.com")
    await page.get_by_role("button", name="Suppress").click()
    await expect(page.get_by_role("status")).to_contain_text("*@example.com")
    await expect(page.get_by_text("<img src=x onerror=alert(1)>\\u202e")).to_be_visible()

    csv = tmp_path / "list.csv"
    csv.write_text(LIST)
    await page.get_by_role("link", name="Import").click()
    await page.get_by_label("Or read it from a file").set_input_files(csv)
    await expect(page.get_by_label("List")).to_have_value(LIST)
    await page.get_by_role("button", name="Import").click()
    await expect(page.get_by_role("status")).to_have_text("1 created, 0 existed already.")
    await page.get_by_label("Covers the address").fill("eve@example.com")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_role("link", name="Clear").click()

    async with page.expect_download() as download:
        await page.get_by_role("link", name="Export").click()
    await (await download.value).save_as(csv)
    assert "bob@example.org,,complaint" in await asyncio.to_thread(csv.read_text)
    row = page.get_by_role("row", name="bob@example.org")
    await row.get_by_role("button", name="Delete").click()
    await expect(row).to_have_count(0)
    assert console.window.dialogs == [
        "Delete the suppression of bob@example.org? Heloise sends to it again."
    ]


@pytest.mark.one_database
async def test_an_import_shows_its_invalid_lines(acme: Tenant) -> None:
    """Valid lines count; the page names each invalid one, and keeps the list."""
    session = await sign_in(acme)
    content = f"address\nann@example.org\n{HOSTILE}\n"
    page = await session.post("/suppressions/import", content=content)
    assert page.status_code == 422
    assert "1 created, 0 existed already" in page.text
    assert '<td class="number">3</td>' in page.text
    assert "<img" not in page.text
    page = await session.post("/suppressions/import", content="email\nann@example.org")
    assert (page.status_code, "no column `address`" in page.text) == (422, True)


@pytest.mark.one_database
async def test_filters_and_pages(acme: Tenant) -> None:
    """The list has pages; what the API refuses is shown at its filter."""
    session = await sign_in(acme)
    lines = "".join(f"ann{number}@example.org\n" for number in range(60))
    await session.post("/suppressions/import", content=f"address\n{lines}")
    page = await session.get("/suppressions?tag=&reason=manual")
    assert (page.text.count("<tr id="), 'rel="next"' in page.text) == (50, True)
    page = await session.get("/suppressions?reason=boredom")
    assert 'id="e-reason"' in page.text


@pytest.mark.one_database
async def test_a_key_without_the_scope_sees_no_suppressions(acme: Tenant) -> None:
    """Neither the tab nor the pages; nor do other tenants' objects exist."""
    suppression = await acme.made("/suppressions", {"address": "ann@example.org"})
    session = await sign_in(await with_scopes(acme, "messages:read"))
    assert "Suppressions" not in (await session.get("/messages")).text
    for path in ("", "/export"):
        page = await session.get(f"/suppressions{path}")
        assert (page.status_code, "ann@example.org" in page.text) == (403, False)
    for path in ("new", f"{suppression['id']}/delete", "import"):
        answer = await session.post(
            f"/suppressions/{path}", address="x@example.org", content="address\nx@example.org"
        )
        assert answer.status_code == 403
    assert len((await acme.read("/suppressions"))["items"]) == 1
