"""/tenants: who owns profiles, keys and messages."""

import pytest

from tests.support.api_client import PROFILE, Api, Caller


async def test_a_tenant_is_created_and_read_by_id_and_slug(api: Api) -> None:
    """201, Location, and the same thing at both paths."""
    body = {"slug": "acme", "name": "Acme Ltd", "ehlo_name": "Mail.Bücher.example."}
    answer = await api.admin("POST", "/tenants", body)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/tenants/{made['id']}"
    assert made["ehlo_name"] == "mail.xn--bcher-kva.example"
    assert made["created_at"].endswith("Z")
    assert await api.admin.read(answer.headers["Location"]) == made
    assert await api.admin.read("/tenants/acme") == made


async def test_the_name_is_the_slug_where_it_is_left_out(api: Api) -> None:
    """The least there is to say."""
    tenant_body = await api.admin.made("/tenants", {"slug": "acme"})
    assert (tenant_body["name"], tenant_body["ehlo_name"]) == ("acme", None)


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "slug"]),
        ({"slug": "Acme"}, ["body", "slug"]),
        ({"slug": "-acme"}, ["body", "slug"]),
        ({"slug": "acme\n"}, ["body", "slug"]),
        ({"slug": "a" * 64}, ["body", "slug"]),
        ({"slug": "ten_0198c5a2d3f07b6e8a4c1d2e3f405162"}, ["body", "slug"]),
        ({"slug": "acme", "name": ""}, ["body", "name"]),
        ({"slug": "acme", "name": "a\0b"}, ["body", "name"]),
        ({"slug": "acme", "ehlo_name": "localhost"}, ["body", "ehlo_name"]),
        ({"slug": "acme", "quota": 5}, ["body", "quota"]),
    ],
)
async def test_a_wrong_tenant_is_refused(api: Api, body: object, loc: list[str]) -> None:
    """422 names the field."""
    answer = await api.admin("POST", "/tenants", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == loc


async def test_a_slug_is_taken_once(api: Api, acme: Caller) -> None:
    """409, at creation and at a change."""
    assert acme.tenant_id
    second = await api.admin("POST", "/tenants", {"slug": "acme"})
    assert (second.status_code, second.json()["type"]) == (409, "/problems/tenant-exists")
    await api.tenant("other")
    changed = await api.admin("PATCH", "/tenants/other", {"slug": "acme"})
    assert (changed.status_code, changed.json()["type"]) == (409, "/problems/tenant-exists")


async def test_a_tenant_is_changed_field_by_field(api: Api) -> None:
    """What is left out stays, null takes the EHLO name away."""
    await api.admin.made("/tenants", {"slug": "acme", "ehlo_name": "mail.example.com"})
    renamed = (await api.admin("PATCH", "/tenants/acme", {"name": "New"})).json()
    assert (renamed["name"], renamed["ehlo_name"]) == ("New", "mail.example.com")
    without = (await api.admin("PATCH", "/tenants/acme", {"ehlo_name": None})).json()
    assert (without["name"], without["ehlo_name"]) == ("New", None)
    unchanged = await api.admin("PATCH", "/tenants/acme", {})
    assert unchanged.json()["name"] == "New"


@pytest.mark.parametrize("field", ["slug", "name"])
async def test_what_must_be_there_cannot_be_null(api: Api, acme: Caller, field: str) -> None:
    """422 says to leave it out instead."""
    answer = await api.admin("PATCH", f"/tenants/{acme.tenant_id}", {field: None})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", field]


async def test_tenants_are_listed_in_pages(api: Api) -> None:
    """Oldest first; a tenant made meanwhile neither repeats nor hides another."""
    slugs = ["a", "b", "c"]
    for slug in slugs:
        await api.admin.made("/tenants", {"slug": slug})
    first = await api.admin.read("/tenants?limit=2")
    await api.admin.made("/tenants", {"slug": "d"})
    second = await api.admin.read(f"/tenants?limit=2&cursor={first['next_cursor']}")
    listed_slugs = [tenant["slug"] for tenant in first["items"] + second["items"]]
    assert listed_slugs == ["a", "b", "c", "d"]
    assert second["next_cursor"] is None


@pytest.mark.one_database
@pytest.mark.parametrize("cursor", ["x", "%FF", "cHJmXzAx", "%00", "a" * 101])
async def test_a_made_up_cursor_is_refused(api: Api, cursor: str) -> None:
    """422, not the first page again."""
    answer = await api.admin("GET", f"/tenants?cursor={cursor}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]


@pytest.mark.one_database
@pytest.mark.parametrize("limit", ["0", "201", "x", "1.5"])
async def test_the_limit_has_bounds(api: Api, limit: str) -> None:
    """1 to 200."""
    answer = await api.admin("GET", f"/tenants?limit={limit}")
    assert answer.json()["errors"][0]["loc"] == ["query", "limit"]


async def test_a_tenant_with_profiles_is_not_deleted(api: Api, acme: Caller) -> None:
    """409 until its profiles are gone; then 204, and 404."""
    await acme.made("/profiles", PROFILE)
    refusal = await api.admin("DELETE", "/tenants/acme")
    assert (refusal.status_code, refusal.json()["type"]) == (409, "/problems/tenant-not-empty")
    await acme("DELETE", "/profiles/transactional")
    assert (await api.admin("DELETE", "/tenants/acme")).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        body = {} if method == "PATCH" else None
        answer = await api.admin(method, "/tenants/acme", body)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/tenant-not-found")
