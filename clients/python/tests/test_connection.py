"""What each request says about its caller, and where it goes."""

from typing import Any, Final

import httpx2
import pytest

from heloise_client import AsyncHeloise, Heloise, __version__

USAGE: Final = httpx2.Response(200, json={})


def _ask(url: str = "http://heloise", **options: Any) -> list[httpx2.Request]:
    """The requests of a call of a tenant and one of an admin."""
    requests: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return USAGE

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = Heloise(url, "hel_1", http=http, **options)
        client.get_usage()
        client.get_tenant("acme")
    return requests


def test_each_request_has_the_key_and_the_tenant() -> None:
    """And says which client sent it."""
    for request in _ask(tenant="acme"):
        assert request.headers["Authorization"] == "Bearer hel_1"
        assert request.headers["User-Agent"] == f"heloise-client/{__version__}"
        assert request.headers["Heloise-Tenant"] == "acme"
    assert "Heloise-Tenant" not in _ask()[0].headers


@pytest.mark.parametrize("url", ["https://mail.internal/heloise", "https://mail.internal/heloise/"])
def test_the_service_may_have_a_path_and_an_admin_prefix(url: str) -> None:
    """Only operations of an admin have the prefix."""
    usage, tenant = _ask(url, admin_prefix="/admin")
    assert str(usage.url) == "https://mail.internal/heloise/usage"
    assert str(tenant.url) == "https://mail.internal/heloise/admin/tenants/acme"


async def test_a_client_closes_what_it_opened() -> None:
    """And leaves your own HTTP client open."""
    with httpx2.Client() as own, Heloise("http://heloise", "k", http=own) as client:
        client.close()
        assert not own.is_closed
    async with httpx2.AsyncClient() as own_async:
        async with AsyncHeloise("http://heloise", "k", http=own_async):
            pass
        assert not own_async.is_closed
    with Heloise("http://heloise", "k") as client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        client.get_usage()
