"""What a browser, a proxy or a curious client could do with what is answered beside the point."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from fastapi_offline import FastAPIOffline

from app.api.http import OPENAPI_KWARGS, install
from tests.api.client import MESSAGE, PROFILE, Api, Caller, serving

pytestmark = pytest.mark.one_database

ORIGIN = "https://evil.example.net"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_pages_stand_in_no_frame_and_ask_no_other_host(api: Api, path: str) -> None:
    """Somebody types a key in there."""
    headers = (await api.nobody("GET", path)).headers
    policy = headers["Content-Security-Policy"]
    for directive in ("connect-src 'self'", "frame-ancestors 'none'", "object-src 'none'"):
        assert directive in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/docs", "/healthz", "/messages", "/nothing", "/openapi.json"])
async def test_every_answer_is_what_its_type_says(api: Api, path: str) -> None:
    """Whatever a browser thinks that it looks like."""
    headers = (await api.nobody("GET", path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
async def test_no_other_origin_may_read_anything(acme: Caller, method: str) -> None:
    """CORS is off."""
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = await acme(method, "/messages", MESSAGE if method == "POST" else None, headers=headers)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert ORIGIN not in answer.text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_what_a_form_can_send_is_no_json(acme: Caller, kind: str) -> None:
    """A page elsewhere could have it sent without being asked for leave.

    Nor would a form with files be: it brings no key, which no browser adds by itself.
    """
    await acme.made("/profiles", PROFILE)
    content = b'{"to": ["ann@example.org"], "text": "x"}'
    answer = await acme("POST", "/messages", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert (await acme.read("/messages"))["items"] == []


async def test_a_raw_message_is_shown_as_nothing_else(acme: Caller) -> None:
    """Its HTML is somebody else's."""
    await acme.made("/profiles", PROFILE)
    made = await acme.made("/messages", MESSAGE | {"html": "<script>alert(1)</script>"})
    answer = await acme("GET", f"/messages/{made['id']}/raw")
    assert answer.headers["Content-Type"] == "message/rfc822"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.fixture
async def inside(api: Api) -> AsyncIterator[Api]:
    """The API with the admin's part under a path of its own."""
    services = replace(api.services, admin_prefix="/admin")
    app = FastAPIOffline(**OPENAPI_KWARGS)
    install(app, services)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as http:
        yield Api(app, services, http, api.monotonic)


async def test_what_is_an_admins_can_stand_apart(inside: Api) -> None:
    """So that a proxy keeps it inside; its own paths are found there and nowhere else."""
    made = await inside.admin("POST", "/admin/tenants", {"slug": "acme"})
    assert made.headers["Location"] == f"/admin/tenants/{made.json()['id']}"
    assert (await inside.admin("GET", made.headers["Location"])).status_code == 200
    body = {"name": "k", "scopes": ["messages:read"]}
    key = await inside.admin("POST", "/admin/tenants/acme/keys", body)
    assert key.headers["Location"].startswith(f"/admin/tenants/{made.json()['id']}/keys/")
    for path in ("/tenants", "/tenants/acme", "/tenants/acme/keys"):
        assert (await inside.admin("GET", path)).status_code == 404
    document = (await inside.nobody("GET", "/openapi.json")).json()
    assert "/admin/tenants" in document["paths"]
    assert "/tenants" not in document["paths"]
