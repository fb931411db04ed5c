"""Every response carries X-Request-ID."""

import pytest

from tests.support.api_client import Api

pytestmark = pytest.mark.one_database

PATHS = ["/healthz", "/nothing", "/profiles", "/docs", "/openapi.json", "/problems/none"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_response_carries_the_callers_id(api: Api, path: str) -> None:
    """The caller's id comes back, on errors and documents too."""
    answer = await api.nobody("GET", path, headers={"X-Request-ID": "order-42.a_b"})
    assert answer.headers.get_list("X-Request-ID") == ["order-42.a_b"]


@pytest.mark.parametrize("request_id", ["", "with space", "x" * 129, "a;b", "<script>", "é"])
async def test_an_ill_formed_id_is_replaced(api: Api, request_id: str) -> None:
    """What could disturb a log line is not taken over."""
    answer = await api.nobody("GET", "/healthz", headers={"X-Request-ID": request_id.encode()})
    assert answer.headers["X-Request-ID"].startswith("req_")


async def test_each_request_gets_its_own(api: Api) -> None:
    """Without an id of the caller's, each request has a new one."""
    answers = [await api.nobody("GET", "/healthz") for _ in range(3)]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 3
