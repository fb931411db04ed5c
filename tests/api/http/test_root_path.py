"""Behind a reverse proxy that publishes the API under `/mail`."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from fastapi_offline import FastAPIOffline

from app.api.app import OPENAPI_KWARGS, install
from tests.support.api_client import Api, serving
from tests.support.servers.nginx import NGINX, nginx_before

pytestmark = [
    pytest.mark.one_database,
    pytest.mark.nginx,
    pytest.mark.skipif(not NGINX.exists(), reason="nginx is not installed"),
]


@pytest.fixture(params=["strips", "keeps"])
async def proxied_api(
    request: pytest.FixtureRequest, api: Api, tmp_path: Path
) -> AsyncIterator[Api]:
    """The API behind an nginx which strips `/mail` from the path, and one which keeps it."""
    services = replace(api.services, root_path="/mail")
    app = FastAPIOffline(**OPENAPI_KWARGS)
    install(app, services, api.budget)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(app))
        sockets = stack.enter_context(nginx_before(url, tmp_path))
        transport = httpx.AsyncHTTPTransport(uds=str(sockets[request.param]), retries=9)
        http = httpx.AsyncClient(base_url="http://mail.example", transport=transport, timeout=30)
        yield Api(app, services, await stack.enter_async_context(http), api.monotonic, api.budget)


async def test_what_is_made_is_found_at_its_location(proxied_api: Api) -> None:
    """`Location` begins with the path."""
    made = await proxied_api.admin("POST", "/mail/tenants", {"slug": "acme"})
    assert made.headers["Location"] == f"/mail/tenants/{made.json()['id']}"
    assert (await proxied_api.admin("GET", made.headers["Location"])).status_code == 200


async def test_a_problems_type_can_be_read(proxied_api: Api) -> None:
    """Its `type` and `instance` begin with the path."""
    problem = (await proxied_api.admin("GET", "/mail/tenants/nobody")).json()
    assert problem["instance"] == "/mail/tenants/nobody"
    assert problem["type"] == "/mail/problems/tenant-not-found"
    read = await proxied_api.nobody("GET", problem["type"])
    assert read.json()["type"] == problem["type"]


async def test_the_documents_load_all_that_they_name(proxied_api: Api) -> None:
    """Scripts, styles, the icon, and the OpenAPI document, which names the server."""
    for page in ("/mail/docs", "/mail/redoc"):
        text = (await proxied_api.nobody("GET", page)).text
        named = re.findall(r"""(?:src|href|spec-url|url)\s*[=:]\s*["']([^"']+)["']""", text)
        assert "/mail/openapi.json" in named
        for path in named:
            assert (await proxied_api.nobody("GET", urljoin(page, path))).status_code == 200, path
    document = (await proxied_api.nobody("GET", "/mail/openapi.json")).json()
    assert document["servers"] == [{"url": "/mail"}]


async def test_probes_need_no_path(proxied_api: Api) -> None:
    """A load balancer asks the service itself."""
    async with serving(proxied_api.app) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/mail/healthz")).status_code == 200
        assert (await http.get("/mailboxes")).status_code == 401
