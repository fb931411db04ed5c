"""What a browser, a proxy or a curious client could do with what is answered beside the point."""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi_offline import FastAPIOffline

from app.api.app import OPENAPI_KWARGS, install
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller, serving

pytestmark = pytest.mark.one_database

ORIGIN = "https://evil.example.net"


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/redoc"])
async def test_the_pages_run_their_own_scripts_alone_and_ask_no_other_host(
    api: Api, path: str
) -> None:
    """Somebody types a key in there."""
    page = await api.nobody("GET", path)
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in page.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digests = [b64encode(sha256(script.encode()).digest()).decode() for script in inline]
    assert policy["script-src"].split() == ["'self'", *(f"'sha256-{digest}'" for digest in digests)]
    assert len(inline) == (path != "/redoc")
    assert not re.findall(r" on[a-z]+=", page.text)
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Referrer-Policy"] == "no-referrer"


TWICE: Final = [
    ("Authorization", "Bearer hel_x"),
    ("Content-Type", "text/plain"),
    ("Content-Length", "2"),
    ("Host", "other.example"),
    ("Idempotency-Key", "order-43"),
    ("Heloise-Tenant", "other"),
    ("Last-Event-ID", "1"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("name", "value"), TWICE, ids=[name for name, _ in TWICE])
async def test_a_header_that_is_read_once_is_refused_twice(
    acme: Caller, method: str, name: str, value: str
) -> None:
    """A proxy may go by the one, and we by the other."""
    url = urlsplit(str(acme.http.base_url))
    own = {
        "Host": "heloise.example",
        "Content-Length": "0",
        "Content-Type": "application/json",
        "Idempotency-Key": "order-42",
        "Heloise-Tenant": acme.tenant_id,
        "Last-Event-ID": "0",
        "Connection": "close",
        **acme.headers,
    }
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    lines = [f"{method} /messages HTTP/1.1", f"{name}: {value}"]
    lines += [f"{field}: {own[field]}" for field in own]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"duplicate-header" in answer or name == "Content-Length"  # of which the parser knows
    writer.close()


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
    message = await acme.made("/messages", MESSAGE | {"html": "<script>alert(1)</script>"})
    answer = await acme("GET", f"/messages/{message['id']}/raw")
    assert answer.headers["Content-Type"] == "message/rfc822"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.fixture
async def inside(api: Api) -> AsyncIterator[Api]:
    """The API with the admin's part under a path of its own."""
    services = replace(api.services, admin_prefix="/admin")
    app = FastAPIOffline(**OPENAPI_KWARGS)
    install(app, services, api.budget)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as http:
        yield Api(app, services, http, api.monotonic, api.budget)


async def test_admin_operations_can_be_served_apart(inside: Api) -> None:
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


async def test_a_response_arrives_in_one_piece(acme: Caller) -> None:
    """Its header and body are one write: a second one costs both sides a system call."""
    url = urlsplit(str(acme.http.base_url))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: heloise.test\r\n\r\n")
    header, _, body = (await reader.read(65_536)).partition(b"\r\n\r\n")
    writer.close()
    assert header.startswith(b"HTTP/1.1 200 OK")
    assert len(body) == int(re.findall(rb"content-length: (\d+)", header)[0])
