"""/tenants/{tenant}/keys: made, shown once, listed, revoked."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.api_client import Api, Caller, bearer

KEY = {"name": "billing", "scopes": ["messages:send", "messages:read", "messages:send"]}


async def test_a_key_is_shown_once(api: Api, acme: Caller) -> None:
    """The answer to its creation has it, no later one; caches keep neither."""
    answer = await api.admin("POST", "/tenants/acme/keys", KEY)
    key = answer.json()
    secret = key.pop("key")
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Location"] == f"/tenants/{acme.tenant_id}/keys/{key['id']}"
    assert secret.startswith("hel_")
    assert len(secret) >= 36
    assert key["scopes"] == ["messages:read", "messages:send"]
    page = await api.admin("GET", "/tenants/acme/keys")
    assert key in page.json()["items"]
    assert secret not in page.text


async def test_a_new_key_works(api: Api, acme: Caller) -> None:
    """With the scopes that it was given."""
    key = await api.admin.made(f"/tenants/{acme.tenant_id}/keys", KEY)
    answer = await api.nobody("GET", "/messages", headers=bearer(key["key"]))
    assert answer.status_code == 200


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"scopes": []}, ["body", "scopes"]),
        ({"scopes": ["messages:eat"]}, ["body", "scopes", 0]),
        ({"scopes": None}, ["body", "scopes"]),
        ({"name": None}, ["body", "name"]),
        ({"name": "x" * 201}, ["body", "name"]),
        ({"expires_at": "2020-01-01T00:00:00Z"}, ["body", "expires_at"]),
        ({"expires_at": "2100-01-01T00:00:00"}, ["body", "expires_at"]),
        ({"expires_at": "soon"}, ["body", "expires_at"]),
        ({"scope": "messages:send"}, ["body", "scope"]),
    ],
)
async def test_a_wrong_key_is_refused(
    api: Api, acme: Caller, change: dict[str, object], loc: list[str | int]
) -> None:
    """422 names the field."""
    answer = await api.admin("POST", f"/tenants/{acme.tenant_id}/keys", KEY | change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == loc


async def test_an_expiry_is_read_back_in_utc(api: Api, acme: Caller) -> None:
    """Whatever offset it was given with."""
    body = KEY | {"expires_at": "2100-01-01T02:00:00+02:00"}
    key = await api.admin.made(f"/tenants/{acme.tenant_id}/keys", body)
    assert key["expires_at"] == "2100-01-01T00:00:00Z"


async def test_an_expired_key_opens_nothing(api: Api, acme: Caller) -> None:
    """From its last moment on, even where it was seen just before."""
    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    body = KEY | {"expires_at": soon.isoformat()}
    key = await api.admin.made(f"/tenants/{acme.tenant_id}/keys", body)
    status = 200
    while datetime.now(UTC) < soon:
        status = (await api.nobody("GET", "/messages", headers=bearer(key["key"]))).status_code
    assert status in {200, 401}
    answer = await api.nobody("GET", "/messages", headers=bearer(key["key"]))
    assert answer.status_code == 401


async def test_revoking_is_idempotent_and_stays_visible(api: Api, acme: Caller) -> None:
    """A revoked key is listed with the time of its end, which a second revocation keeps."""
    path = f"/tenants/acme/keys/{acme.key_id}"
    assert (await api.admin("DELETE", path)).status_code == 204
    [first] = (await api.admin.read("/tenants/acme/keys"))["items"]
    assert (await api.admin("DELETE", path)).status_code == 204
    [second] = (await api.admin.read("/tenants/acme/keys"))["items"]
    assert first["revoked_at"] == second["revoked_at"] is not None


async def test_a_key_belongs_to_its_tenant(api: Api, acme: Caller) -> None:
    """Under another tenant's path it is not there (invariant 10)."""
    await api.admin.made("/tenants", {"slug": "other"})
    answer = await api.admin("DELETE", f"/tenants/other/keys/{acme.key_id}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/key-not-found")
    assert (await acme("GET", "/messages")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_tenant_has_no_keys(api: Api, method: str) -> None:
    """404 says which is not there."""
    answer = await api.admin(method, "/tenants/none/keys", KEY if method == "POST" else None)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/tenant-not-found")
