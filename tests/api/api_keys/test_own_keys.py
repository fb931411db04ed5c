"""A tenant manages its own keys, and none of them reaches further than the one that made it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.support.api_client import EVERY_SCOPE, PROFILE, Api, Caller, bearer

KEY: Final = {"name": "shop", "scopes": ["messages:send"]}


async def opens(api: Api, key: str) -> bool:
    """Whether a key opens anything."""
    return (await api.nobody("GET", "/messages", headers=bearer(key))).status_code in {200, 403}


async def test_a_tenant_makes_lists_and_revokes_its_keys(api: Api, acme: Caller) -> None:
    """As an admin does for it."""
    answer = await acme("POST", "/keys", KEY)
    key = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/keys/{key['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert await opens(api, key["key"])
    items = (await acme.read("/keys"))["items"]
    assert [key["id"] for key in items] == [acme.key_id, key["id"]]
    assert key["key"] not in str(items)
    assert (await acme("DELETE", f"/keys/{key['id']}")).status_code == 204
    assert not await opens(api, key["key"])


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("own", "asked", "why"),
    [
        ({}, {"scopes": ["profiles:manage"]}, "profiles:manage"),
        ({"allowed_from": ["*@example.com"]}, {}, "*@example.com"),
        ({"allowed_from": ["*@example.com"]}, {"allowed_from": ["*@*.example.com"]}, "example.com"),
        ({"allowed_from": ["a@example.com"]}, {"allowed_from": ["*@example.com"]}, "a@example.com"),
        ({"networks": ["127.0.0.0/8"]}, {}, "127.0.0.0/8"),
        ({"networks": ["127.0.0.0/8"]}, {"networks": ["0.0.0.0/0"]}, "127.0.0.0/8"),
        ({"networks": ["127.0.0.0/8"]}, {"networks": ["::1"]}, "127.0.0.0/8"),
        ({"expires_at": "2100-01-01T00:00:00Z"}, {}, "2100-01-01"),
        (
            {"expires_at": "2100-01-01T00:00:00Z"},
            {"expires_at": "2100-01-01T00:00:01Z"},
            "2100-01-01",
        ),
        ({"profiles": ["news"]}, {}, "prf_"),
        ({"profiles": ["news"]}, {"profiles": ["news", "transactional"]}, "prf_"),
    ],
)
async def test_no_key_is_wider_than_the_one_that_asks(
    api: Api, acme: Caller, own: dict[str, Any], asked: dict[str, Any], why: str
) -> None:
    """403 says what it may not give."""
    for name in ("transactional", "news"):
        await acme.made("/profiles", PROFILE | {"name": name})
    narrow = await api.key(acme.tenant_id, ["keys:manage", "messages:send"], **own)
    answer = await narrow("POST", "/keys", KEY | asked)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/scope-exceeds-caller")
    assert why in answer.json()["detail"]
    assert len((await acme.read("/keys"))["items"]) == 2
    assert (await narrow("POST", "/keys", KEY | own)).status_code == 201


async def test_a_narrow_key_may_give_a_part_of_what_it_has(api: Api, acme: Caller) -> None:
    """Subsets, and what its scopes include."""
    await acme.made("/profiles", PROFILE)
    narrow = await api.key(
        acme.tenant_id,
        ["keys:manage", "messages:manage"],
        allowed_from=["*@*.example.com", "a@example.com"],
        networks=["127.0.0.0/8", "2001:db8::/32"],
        profiles=["transactional"],
    )
    body = KEY | {
        "scopes": ["messages:read"],
        "allowed_from": ["x@mail.example.com", "a@example.com", "*@*.eu.example.com"],
        "networks": ["127.0.0.1", "2001:db8:1::/48"],
        "profiles": ["transactional"],
    }
    assert (await narrow("POST", "/keys", body)).status_code == 201


async def test_a_rotated_key_works_next_to_the_new_one_for_a_while(api: Api, acme: Caller) -> None:
    """The new one is like it; the old one expires when the overlap is over."""
    before = datetime.now(UTC)
    key = await acme.made("/keys", KEY | {"networks": ["127.0.0.0/8"]})
    new = await acme.made(f"/keys/{key['id']}/rotate", {"overlap_seconds": 3600})
    assert new["key"] != key["key"]
    for field in ("name", "scopes", "networks", "expires_at"):
        assert new[field] == key[field]
    assert await opens(api, key["key"])
    assert await opens(api, new["key"])
    [old] = [item for item in (await acme.read("/keys"))["items"] if item["id"] == key["id"]]
    ends = datetime.fromisoformat(old["expires_at"])
    assert before + timedelta(hours=1) <= ends <= datetime.now(UTC) + timedelta(hours=1)
    at_once = await acme.made(f"/keys/{new['id']}/rotate", {"overlap_seconds": 0})
    assert not await opens(api, new["key"])
    assert await opens(api, at_once["key"])


async def test_an_overlap_prolongs_nothing(acme: Caller) -> None:
    """A key that expires sooner does so; the new one expires then too, if nothing else is said."""
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    key = await acme.made("/keys", KEY | {"expires_at": soon})
    new = await acme.made(f"/keys/{key['id']}/rotate", {})
    assert new["expires_at"] == key["expires_at"]
    [old] = [item for item in (await acme.read("/keys"))["items"] if item["id"] == key["id"]]
    assert old["expires_at"] == key["expires_at"]
    later = {"expires_at": "2100-01-01T00:00:00Z"}
    assert (await acme.made(f"/keys/{key['id']}/rotate", later))["expires_at"] == later[
        "expires_at"
    ]


async def test_a_key_rotates_itself_and_none_that_is_wider(api: Api, acme: Caller) -> None:
    """Or it would get hold of more than it has."""
    narrow = await api.key(acme.tenant_id, ["keys:manage", "messages:send"])
    refusal = await narrow("POST", f"/keys/{acme.key_id}/rotate", {})
    assert (refusal.status_code, refusal.json()["type"]) == (403, "/problems/scope-exceeds-caller")
    mine = await narrow.made(f"/keys/{narrow.key_id}/rotate", {"overlap_seconds": 0})
    assert (await narrow("GET", "/keys")).status_code == 401
    assert await opens(api, mine["key"])


@pytest.mark.parametrize(
    "wider",
    [
        {"scopes": ["messages:send", "messages:read"]},
        {"scopes": ["messages:send"], "allowed_from": ["*@example.com"]},
        {"scopes": ["messages:send"], "networks": ["0.0.0.0/0"]},
        {"scopes": ["messages:send"]},  # for longer
    ],
)
async def test_a_key_ends_none_that_is_wider(api: Api, acme: Caller, wider: dict[str, Any]) -> None:
    """403 says in what; one that is as wide it ends, and itself."""
    own = {
        "allowed_from": ["a@example.com"],
        "networks": ["127.0.0.0/8"],
        "expires_at": "2100-01-01T00:00:00Z",
    }
    narrow = await api.key(acme.tenant_id, ["keys:manage", "messages:send"], **own)
    key = await api.key(acme.tenant_id, **{**own, "expires_at": None, **wider})
    answer = await narrow("DELETE", f"/keys/{key.key_id}")
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/scope-exceeds-caller")
    assert await opens(api, key.headers["Authorization"].removeprefix("Bearer "))
    like = await api.key(acme.tenant_id, ["messages:send"], **own)
    for owner in (like, narrow):
        assert (await narrow("DELETE", f"/keys/{owner.key_id}")).status_code == 204


async def test_what_has_ended_is_not_rotated(acme: Caller) -> None:
    """409 says what to do; one that is not there is 404."""
    key = await acme.made("/keys", KEY)
    await acme("DELETE", f"/keys/{key['id']}")
    answer = await acme("POST", f"/keys/{key['id']}/rotate", {})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/key-inactive")
    assert (await acme("POST", "/keys/key_none/rotate", {})).status_code == 404


@pytest.mark.one_database
@pytest.mark.parametrize("body", [{"overlap_seconds": -1}, {"overlap_seconds": 2_592_001}])
async def test_an_overlap_is_bounded(acme: Caller, body: dict[str, int]) -> None:
    """422 names it."""
    answer = await acme("POST", f"/keys/{acme.key_id}/rotate", body)
    assert answer.json()["errors"][0]["loc"] == ["body", "overlap_seconds"]


async def test_an_admin_rotates_for_a_tenant(api: Api, acme: Caller) -> None:
    """By the tenant's path, or acting for it."""
    rotated_key = await api.admin.made(
        f"/tenants/acme/keys/{acme.key_id}/rotate", {"overlap_seconds": 0}
    )
    assert rotated_key["scopes"] == EVERY_SCOPE
    assert (await acme("GET", "/keys")).status_code == 401
    assert (await api.admin_for("acme")("GET", "/keys")).status_code == 200
