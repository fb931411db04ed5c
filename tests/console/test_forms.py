"""Forms with what no browser sends by itself."""

import re

import pytest

from app.console.forms import MAX_DIGITS, MAX_LEVELS, parse_json, parse_number
from app.console.pages import profile_form
from tests.support.api_client import Caller
from tests.support.console import Session, sign_in
from tests.support.harness import ADMIN_KEY, Heloise, Tenant

DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5000


@pytest.mark.parametrize("text", [DEEP, LONG, "[" * 101 + "]" * 101, "{", "[1,]"])
def test_json_that_cannot_be_sent_says_what_to_write(text: str) -> None:
    """Too deep, too long a number, or none."""
    with pytest.raises(ValueError, match="write"):
        parse_json(text)


def test_what_is_sent_as_written() -> None:
    """Nested values within bounds; digits as a number, anything else as text."""
    levels = MAX_LEVELS - 1
    assert parse_json("[" * levels + "]" * levels)
    assert parse_number(" 25 ") == 25
    assert parse_number(" ") is None
    assert [parse_number(text) for text in ("²", "٣", "-1", LONG)] == ["²", "٣", "-1", LONG]
    assert parse_number("9" * MAX_DIGITS) == 10**MAX_DIGITS - 1
    fields = profile_form.keep({"advanced": '{"tls_ca": "\\ud800", "client_key": "x"}'})
    assert fields["advanced"].encode()
    assert "client_key" not in fields["advanced"]


@pytest.mark.one_database
async def test_a_form_does_not_undo_the_changes_of_others(acme: Tenant) -> None:
    """It is refused if somebody changed the object since it was opened."""
    await acme.profile("main", 1)
    objects = {
        "/profiles": ("/edit", {"max_connections": 3}, {"max_connections": "2"}),
        "/webhooks": ("/edit", {"tags": ["y"]}, {"tags": "x"}),
        "/templates": ("/edit", {"subject": "New"}, {"subject": "Old"}),
        "/mailboxes": ("", {"folder": "New"}, {"folder": "Old"}),
    }
    await acme.made("/webhooks", {"name": "main", "url": "https://example.com/"})
    await acme.made("/templates", {"name": "main", "subject": "Hello", "text": "Hello"})
    mailbox = {"name": "main", "host": "127.0.0.1", "username": "ann", "password": "x" * 12}
    await acme.made("/mailboxes", mailbox | {"enabled": False})
    user = await sign_in(acme)
    for path, (edit, theirs, mine) in objects.items():
        [item] = (await acme.read(path))["items"]
        page = await user.get(f"{path}/{item['id']}{edit}")
        [updated_at] = re.findall('name="updated_at" value="(.*?)"', page.text)
        response = await acme("PATCH", f"{path}/{item['id']}", theirs)
        assert response.status_code == 200, response.text
        fields = mine | {"name": "main", "updated_at": updated_at}
        page = await user.post(f"{path}/{item['id']}{edit}", **fields)
        assert (page.status_code, "Somebody has changed this" in page.text) == (422, True), path
        assert f'name="updated_at" value="{updated_at}"' in page.text
    [profile] = (await acme.read("/profiles"))["items"]
    assert profile["max_connections"] == 3
    path = f"/profiles/{profile['id']}/edit"
    fields = {"max_connections": "2", "updated_at": profile["updated_at"]}
    assert (await user.post(path, **fields)).status_code == 303
    assert (await acme.read("/profiles/main"))["max_connections"] == 2


@pytest.mark.one_database
@pytest.mark.usefixtures("acme")
async def test_the_settings_of_a_tenant_do_not_undo_the_changes_of_others(heloise: Heloise) -> None:
    """They are refused if somebody changed the tenant since the form was opened."""
    admin = await sign_in(Caller(heloise.http, {"Authorization": f"Bearer {ADMIN_KEY}"}))
    site = Session(admin.http, admin.cookie, admin.csrf, "/console")
    page = await site.get("/tenants/acme")
    [updated_at] = re.findall('name="updated_at" value="(.*?)"', page.text)
    changes = {"allowed_from": ["*@example.com"]}
    response = await heloise.admin("PATCH", "/tenants/acme", changes)
    assert response.status_code == 200, response.text
    page = await site.post("/tenants/acme", name="Acme", updated_at=updated_at)
    assert (page.status_code, "Somebody has changed this" in page.text) == (422, True)
    tenant = await heloise.admin.read("/tenants/acme")
    assert tenant["allowed_from"] == ["*@example.com"]


@pytest.mark.one_database
async def test_odd_input_is_refused(heloise: Heloise, acme: Tenant) -> None:
    """At its field, and never with a fault of the service."""
    await acme.profile("main", 1)
    user = await sign_in(acme)
    name = {"name": "odd", "host": "127.0.0.1"}
    for path, fields, field in (
        ("/new-profile", name | {"port": LONG}, "port"),
        ("/new-profile", name | {"advanced": DEEP}, "advanced"),
        ("/new-profile", name | {"advanced": '{"tls_ca": "\\ud800"}', "port": "x"}, "port"),
        ("/templates/new", {"name": "odd", "locales": DEEP}, "locales"),
        ("/templates/new", {"name": "odd", "variables_schema": LONG}, "variables_schema"),
    ):
        page = await user.post(path, **fields)
        assert (page.status_code, f'id="e-{field}"' in page.text) == (422, True), path
    admin = await sign_in(Caller(heloise.http, {"Authorization": f"Bearer {ADMIN_KEY}"}))
    page = await Session(admin.http, admin.cookie, admin.csrf, "/console").post(
        "/tenants/acme", name="acme", **{"quota.profiles": LONG}
    )
    assert (page.status_code, 'id="e-quota.profiles"' in page.text) == (422, True)
    for session in (user, admin):
        answer = await session.http.get(
            "/console/t/a%00b/messages", headers={"Cookie": session.cookie}
        )
        assert answer.status_code == 404
