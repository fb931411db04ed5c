"""Every page, for everybody: nobody sees or changes what their key may not."""

import re
from collections.abc import Mapping
from typing import Any, Final

import httpx
import pytest

from app.console.site import MODULES
from app.domain.types import Scope
from tests.console.test_every_page import fill_tenant
from tests.support.api_client import Caller
from tests.support.console import Session, sign_in, with_scopes
from tests.support.harness import ADMIN_KEY, Heloise, Tenant
from tests.support.hostile import bind

PAGES: Final = [(method, path) for module in MODULES for method, path, _ in module.PAGES]
# Shows everybody their own sessions.
OWN: Final = "/sessions"
STREAM: Final = "/t/{tenant}/live"
# What the tenant's objects are called; no page has it in its own text.
MARK: Final = "pwned"
READABLE: Final = ("/messages", "/webhooks", "/templates", "/suppressions", "/domains", "/keys")
IMPLIED: Final = {
    ("messages:read", "messages:manage"),
    ("profiles:read", "profiles:manage"),
}
# A caller without access gets an error or a redirect; a key of the tenant may see empty pages.
REFUSED: Final = frozenset({303, 400, 403, 404, 422})
ALLOWED: Final = {
    "nobody": REFUSED,
    "another tenant": REFUSED,
    "no scope": REFUSED | {200},
    "bound": REFUSED | {200},
}
ADMIN: Final = {"Authorization": f"Bearer {ADMIN_KEY}"}
pytestmark = pytest.mark.one_database


def build(path: str, places: Mapping[str, str]) -> str:
    """The path of a page of the tenant; a new kind of object belongs into `fill`."""
    if "/provider-webhooks/" in path:
        path = path.replace("{webhook}", "{provider_webhook}")
    return re.sub(r"{(\w+)}", lambda match: places[match[1]], path)


async def read_all(tenant: Caller) -> dict[str, Any]:
    """What the tenant has, and when it was changed."""
    return {
        path: [(item["id"], item.get("updated_at")) for item in (await tenant.read(path))["items"]]
        for path in READABLE
    }


async def visit(session: Session, method: str, path: str) -> httpx.Response:
    """Read a page, or send its form without fields, wherever it is."""
    own = Session(session.http, session.cookie, session.csrf, "/console")
    return await (own.get(path) if method == "GET" else own.post(path))


async def test_no_page_opens_for_who_may_not(heloise: Heloise, acme: Tenant) -> None:
    """Nobody, another tenant, a key without scopes to read, and a key of another profile."""
    async with fill_tenant(acme, "http://127.0.0.1:1") as hostile:
        await acme.profile("spare", 1)
        await acme.settled()
        other = await heloise.tenant("other")
        scopes = ["messages:manage", "messages:read", "events:read", "profiles:read"]
        nobody = Session(heloise.http, "", "", "")
        sessions = {
            "nobody": nobody,
            "another tenant": await sign_in(other, tenant="other"),
            "no scope": await sign_in(await with_scopes(acme, "messages:send")),
            "bound": await sign_in(await bind(acme, scopes=scopes, profiles=["spare"])),
        }
        before = await read_all(acme)
        for name, session in sessions.items():
            for method, path in PAGES:
                if path == OWN or (path == STREAM and name == "bound"):
                    continue
                response = await visit(session, method, build(path, hostile.places))
                assert response.status_code in ALLOWED[name], (
                    name,
                    method,
                    path,
                    response.status_code,
                )
                assert MARK not in response.text, (name, method, path)
        assert await read_all(acme) == before


async def test_an_id_of_another_tenant_is_not_found(heloise: Heloise, acme: Tenant) -> None:
    """Nor does a form with it change anything, on the pages of the tenant that is signed in."""
    async with fill_tenant(acme, "http://127.0.0.1:1") as hostile:
        await acme.settled()
        session = await sign_in(await heloise.tenant("other"), tenant="other")
        places = {**hostile.places, "tenant": "other"}
        before, accepted = await read_all(acme), list[tuple[str, str, int]]()
        for method, path in PAGES:
            if path.startswith("/t/{tenant}/") and path.count("{") > 1:
                response = await visit(session, method, build(path, places))
                is_led_away = method == "GET" and response.status_code == 303
                if response.status_code not in {403, 404, 422} and not is_led_away:
                    accepted.append((method, path, response.status_code))
                assert MARK not in response.text, (method, path)
        assert accepted == []
        assert await read_all(acme) == before


async def test_each_scope_opens_its_pages(heloise: Heloise, acme: Tenant) -> None:
    """Its tab opens, the others do not, and no page breaks; an admin opens all of them."""
    async with fill_tenant(acme, "http://127.0.0.1:1") as hostile:
        tabs = [tab for module in MODULES for tab in module.TABS]
        for scope in Scope:
            session = await sign_in(await with_scopes(acme, scope))
            for path, _, needed in tabs:
                key_may = needed == scope or (needed.value, scope.value) in IMPLIED
                response = await session.get(path)
                target = response.headers.get("location", "")
                if f"{path}?" in target:  # to the last hour, say
                    response = await session.get(target[target.index(path) :])
                assert (response.status_code == 200) is key_may, (scope, path)
            for method, path in PAGES:
                if method == "GET" and path != STREAM:
                    response = await visit(session, method, build(path, hostile.places))
                    assert response.status_code < 500, (scope, path)
        admin = await sign_in(Caller(heloise.http, ADMIN))
        for method, path in PAGES:
            if method == "GET" and path != STREAM:
                address = build(path, hostile.places)
                response = await visit(admin, method, address)
                statuses = {404} if address.endswith("/none") else {200, 303, 422}
                assert response.status_code in statuses, (path, response.status_code)
