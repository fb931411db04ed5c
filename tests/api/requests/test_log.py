"""The log line of a refused request says why, and whose request it was."""

import logging

import pytest

from tests.support.api_client import Api, Caller, bearer

pytestmark = pytest.mark.one_database


def refusal(caplog: pytest.LogCaptureFixture) -> dict[str, str | None]:
    """The fields of the one refused request."""
    [record] = [one for one in caplog.records if one.getMessage() == "request"]
    return {name: getattr(record, name, None) for name in ("problem", "tenant_id", "key_id")}


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> None:
    """As the service logs by default."""
    caplog.set_level(logging.INFO, logger="app.api.requests.middleware")


async def test_a_tenants_request(acme: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """By the ids of tenant and key."""
    caplog.clear()
    assert (await acme("GET", "/messages/msg_1")).status_code == 404
    fields = refusal(caplog)
    assert fields["problem"] == "message-not-found"
    assert str(fields["tenant_id"]).startswith("ten_")
    assert str(fields["key_id"]).startswith("key_")


async def test_an_admins_request(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """By the name of the admin key."""
    assert (await api.admin("GET", "/tenants/nobody")).status_code == 404
    fields = refusal(caplog)
    assert fields["problem"] == "tenant-not-found"
    assert str(fields["key_id"]).startswith("admin:")


async def test_nobodys_request(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Of an unknown key nothing is logged."""
    answer = await api.nobody("GET", "/messages", headers=bearer("hel_unknown-key-of-nobody"))
    assert answer.status_code == 401
    assert refusal(caplog) == {"problem": "unauthenticated", "tenant_id": None, "key_id": None}
    assert "hel_unknown" not in caplog.text
