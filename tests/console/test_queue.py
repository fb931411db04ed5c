"""The queue of a tenant and of all tenants."""

import re

import pytest
from playwright.async_api import expect

from tests.console.conftest import Console
from tests.support.console import sign_in
from tests.support.harness import Heloise, Tenant
from tests.support.servers.smtp_server import SmtpServer


@pytest.mark.one_database
async def test_an_admin_sees_what_holds_mail_up(console: Console, heloise: Heloise) -> None:
    """Of all tenants, failing profiles first, with workers and storage; it is live."""
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    page = console.page
    async with SmtpServer({"ehlo": "504 5.5.2 need fully-qualified hostname"}) as server:
        await acme.profile("main", server.port)
        await other.profile("bulk", server.port)
        await other("POST", "/profiles/bulk/pause")
        await other.send()
        await console.sign_in_with()
        await expect(page.get_by_role("heading", name="Queue of all tenants")).to_be_visible()
        bulk = page.get_by_role("row", name=re.compile("other bulk paused"))
        await expect(bulk).to_be_visible()
        workers = page.locator("tr", has=page.get_by_role("code").get_by_text(re.compile("^wrk_")))
        await expect(workers).to_have_count(1)
        await expect(page.get_by_text("Database", exact=True)).to_be_visible()
        await acme.send()
        await expect(page.get_by_role("row", name=re.compile("acme main"))).to_contain_text(
            "need fully-qualified hostname"
        )
        first = page.get_by_role("table").first.get_by_role("row").nth(1)
        await expect(first).to_contain_text("failing")
        await page.get_by_role("link", name="main", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("main")


@pytest.mark.one_database
async def test_a_tenant_sees_its_own_queue_alone(heloise: Heloise, acme: Tenant) -> None:
    """Without the workers, the database and other tenants."""
    other = await heloise.tenant("other")
    for tenant, name in ((acme, "main"), (other, "bulk")):
        await tenant.profile(name, 1)
        await tenant("POST", f"/profiles/{name}/pause")
        await tenant.send()
    session = await sign_in(acme)
    text = (await session.get("/queue")).text
    assert "/console/t/acme/messages?status=queued" in text
    assert ">main</a>" in text
    for foreign in ("bulk", "wrk_", "Database"):
        assert foreign not in text
    everybodys = await heloise.http.get("/console/queue", headers={"Cookie": session.cookie})
    assert everybodys.status_code == 303
