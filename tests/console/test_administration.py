"""Sessions, keys, the audit log and tenants: who may do what, and how it is undone."""

import re

import httpx
import pytest
from playwright.async_api import expect

from tests.console.conftest import Console
from tests.support.console import cookie_of, enter_key, key_of, read, send_form
from tests.support.harness import ADMIN_KEY, Heloise, Tenant

HOSTILE = "<script>alert(1)</script>\u202e"


async def start_session(heloise: Heloise, key: str) -> str:
    """Sign in; answers the session's cookie."""
    return cookie_of(await enter_key(heloise, key))


def ids(response: httpx.Response) -> list[str]:
    """The ids of the rows of a page."""
    return re.findall(r'<tr id="(\w+)">', response.text)


@pytest.mark.one_database
@pytest.mark.parametrize(
    "path", ["/tenants", "/t/acme/keys", "/t/acme/profiles", "/t/acme/sessions"]
)
async def test_a_cursor_that_is_none_says_so(heloise: Heloise, acme: Tenant, path: str) -> None:
    """No list looks empty because of it."""
    del acme
    response = await read(heloise, f"{path}?cursor=broken", await start_session(heloise, ADMIN_KEY))
    assert (response.status_code, "cursor" in response.text) == (422, True)


async def test_everybody_ends_their_own_sessions_and_managers_those_of_the_tenant(
    heloise: Heloise, acme: Tenant
) -> None:
    """An admin those of admins and of each tenant; nobody those of others."""
    body = {"name": HOSTILE, "scopes": ["messages:read"]}
    reader = (await acme.made("/keys", body))["key"]
    laptop, phone = [await start_session(heloise, reader) for _ in range(2)]
    manager = await start_session(heloise, key_of(acme))
    admin = await start_session(heloise, ADMIN_KEY)
    other = await heloise.tenant("other")
    stranger = await start_session(heloise, key_of(other))
    assert (await read(heloise, "/t/acme/sessions", laptop)).status_code == 403
    page = await read(heloise, "/sessions", laptop)
    mine = ids(page)
    assert len(mine) == 2
    assert "this browser" in page.text
    assert "<script>alert" not in page.text
    assert "\\u202e" in page.text
    ended = await send_form(heloise, "/sessions", f"/sessions/{mine[0]}/end", laptop)
    assert ended.headers["location"] == "/console/sessions"
    assert (await read(heloise, "/t/acme/messages", phone)).status_code == 303
    managed = ids(await read(heloise, "/t/acme/sessions", manager))
    assert (len(managed), mine[1] in managed) == (2, True)
    refusal = await send_form(heloise, "/sessions", f"/t/acme/sessions/{managed[0]}/end", laptop)
    assert (refusal.status_code, "keys:manage" in refusal.text) == (403, True)
    refusal = await send_form(
        heloise, "/t/other/sessions", f"/t/other/sessions/{mine[1]}/end", stranger
    )
    assert refusal.status_code == 404
    of_admins = await read(heloise, "/sessions", admin)
    assert len(ids(of_admins)) == 1
    assert set(managed) <= set(ids(await read(heloise, "/t/acme/sessions", admin)))
    await send_form(heloise, "/t/acme/sessions", f"/t/acme/sessions/{mine[1]}/end", admin)
    assert (await read(heloise, "/t/acme/messages", laptop)).status_code == 303
    [entry] = (await heloise.admin.read("/audit-log?action=console_session.end"))["items"]
    assert (entry["actor"]["kind"], entry["object_id"]) == ("admin", mine[1])


async def test_a_key_is_created_rotated_and_revoked(console: Console, acme: Tenant) -> None:
    """It is shown once, with what to paste; the old key works as long as was chosen."""
    page = console.page
    await console.sign_in(acme)
    await page.get_by_role("link", name="Keys").click()
    await page.get_by_role("link", name="New key").click()
    await page.get_by_label("Name").fill("billing")
    await page.get_by_label("messages:send").check()
    await page.get_by_label("Networks").fill("10.0.0.0")
    await page.get_by_label("Expires at").fill("2020-01-01T00:00:00Z")
    await page.get_by_role("button", name="Create key").click()
    await expect(page.locator("#e-expires_at")).to_contain_text("write a time in the future")
    await expect(page.get_by_label("messages:send")).to_be_checked()
    await page.get_by_label("Networks").fill("")
    await page.get_by_label("Expires at").fill("")
    await page.get_by_role("button", name="Create key").click()
    key = await page.locator("#key").inner_text()
    assert key.startswith("hel_")
    for name in ("curl", "Python", "Node", "SMTP"):
        await expect(
            page.locator("section", has=page.get_by_role("heading", name=name))
        ).to_contain_text(key)
    console.window.errors.clear()  # the 422 above
    await page.get_by_role("link", name="I have copied it").click()
    await expect(page.get_by_role("row", name="billing")).to_contain_text("active")
    assert key not in await page.content()
    row = page.get_by_role("row", name="billing")
    await row.get_by_text("Rotate or revoke").click()
    await row.get_by_label("The old key keeps working").select_option("not at all")
    await row.get_by_role("button", name="Rotate").click()
    new_key = await page.locator("#key").inner_text()
    assert new_key != key
    await console.open("/t/acme/keys")
    await expect(page.get_by_role("row", name="billing")).to_have_count(2)
    row = page.get_by_role("row", name="billing").filter(has_text="active")
    await row.get_by_text("Rotate or revoke").click()
    await row.get_by_role("button", name="Revoke").click()
    await expect(page.get_by_role("status")).to_have_text("The key is revoked.")
    assert console.window.dialogs == [
        "Revoke the key billing? Programs that use it are refused at once."
    ]
    await page.get_by_role("link", name="Audit log").click()
    await expect(page.get_by_role("row", name="key.revoke")).to_have_count(1)
    await page.get_by_role("link", name="key.rotate").click()
    await expect(page.get_by_role("row")).to_have_count(2)


async def test_keys_and_the_audit_log_need_their_scope(heloise: Heloise, acme: Tenant) -> None:
    """Without it there is no link, no page, and no change."""
    reader = (await acme.made("/keys", {"name": "r", "scopes": ["messages:read"]}))["key"]
    session = await start_session(heloise, reader)
    page = await read(heloise, "/t/acme/messages", session)
    assert "/keys" not in page.text
    for path in ("/t/acme/keys", "/t/acme/audit-log"):
        assert (await read(heloise, path, session)).status_code == 403
    for path in ("/t/acme/keys/new", "/tenants"):
        response = await send_form(
            heloise, "/t/acme/messages", path, session, name="x", scopes="keys:manage"
        )
        assert response.status_code in {403, 422}
    assert (await read(heloise, "/tenants", session)).status_code == 403
    assert len((await acme.read("/keys"))["items"]) == 2


@pytest.mark.one_database
async def test_the_audit_log_has_its_filters_in_the_url(heloise: Heloise, acme: Tenant) -> None:
    """What the API refuses is at its filter; an object and an actor are links to their entries."""
    made = await acme.made("/keys", {"name": "r", "scopes": ["messages:read"]})
    admin = await start_session(heloise, ADMIN_KEY)
    for path in ("/audit-log", "/t/acme/audit-log"):
        page = await read(heloise, f"{path}?object_id={made['id']}&refused=false", admin)
        assert (page.text.count("<tr id="), "key.create" in page.text) == (1, True)
        assert "actor_id=" in page.text
        page = await read(heloise, f"{path}?actor_name=nobody", admin)
        assert "No entry matches." in page.text
        page = await read(heloise, f"{path}?created_after=noon", admin)
        assert (page.status_code, 'id="e-created_after"' in page.text) == (422, True)


@pytest.mark.one_database
async def test_an_admin_manages_tenants(heloise: Heloise, acme: Tenant) -> None:
    """Create, limit, delete with the name typed; each with the API's own messages."""
    admin = await start_session(heloise, ADMIN_KEY)
    page = await read(heloise, "/tenants", admin)
    assert f'id="{acme.tenant_id}"' in page.text
    assert 'href="/console/t/acme/messages"' in page.text
    response = await send_form(heloise, "/tenants", "/tenants", admin, slug="Not a slug", name="N")
    assert response.status_code == 422
    assert 'id="e-slug"' in response.text
    assert 'value="Not a slug"' in response.text
    creation = await send_form(heloise, "/tenants", "/tenants", admin, slug="beta", name=HOSTILE)
    assert creation.headers["location"] == "/console/tenants/beta"
    page = await read(heloise, "/tenants/beta", admin)
    assert "<script>alert" not in page.text
    assert "None" not in page.text
    fields = {"name": "Beta", "quota.messages_per_day": "many", "retention.content_days": "7"}
    response = await send_form(heloise, "/tenants/beta", "/tenants/beta", admin, **fields)
    assert (response.status_code, 'id="e-quota.messages_per_day"' in response.text) == (422, True)
    assert 'value="many"' in response.text
    fields["quota.messages_per_day"] = "1000"
    fields["suppresses_hard_bounces"] = "true"
    fields["allowed_from"] = "*@example.com\r\nann@example.net"
    saved = await send_form(heloise, "/tenants/beta", "/tenants/beta", admin, **fields)
    assert saved.status_code == 303
    tenant = await heloise.admin.read("/tenants/beta")
    assert (tenant["name"], tenant["quota"]["messages_per_day"]) == ("Beta", 1000)
    assert (tenant["retention"]["content_days"], tenant["suppresses_hard_bounces"]) == (7, True)
    assert tenant["allowed_from"] == ["*@example.com", "ann@example.net"]
    response = await send_form(
        heloise, "/tenants/beta", "/tenants/beta/delete", admin, typed="acme"
    )
    assert (response.status_code, "Type beta to delete" in response.text) == (422, True)
    await acme.profile("main", 25)
    refusal = await send_form(heloise, "/tenants/acme", "/tenants/acme/delete", admin, typed="acme")
    assert (refusal.status_code, "delete its profiles first" in refusal.text) == (409, True)
    answer = await send_form(heloise, "/tenants/beta", "/tenants/beta/delete", admin, typed="beta")
    assert answer.headers["location"] == "/console/tenants"
    assert (await heloise.admin("GET", "/tenants/beta")).status_code == 404
    log = await read(heloise, "/audit-log?action=tenant.delete", admin)
    assert len(ids(log)) == 1
