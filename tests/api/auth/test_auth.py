"""Who may do what: keys, scopes, the admin key, and acting for a tenant."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from app.auth.authentication import CachedKey
from app.auth.caches import HashCache
from app.domain.types import ApiKey
from app.store import api_keys
from tests.support.api_client import ADMIN_KEY, MESSAGE, PROFILE, Api, Caller, HandClock, bearer

WRONG = [
    {},
    {"Authorization": "hel_x"},
    {"Authorization": "Bearer"},
    {"Authorization": "Basic aGVsOngK"},
    bearer("hel_unknown"),
    bearer(ADMIN_KEY[:-1]),
    bearer(ADMIN_KEY + "x"),
]


@pytest.mark.one_database
@pytest.mark.parametrize("headers", WRONG)
@pytest.mark.parametrize("path", ["/messages", "/profiles", "/tenants"])
async def test_without_a_valid_key_it_is_401(api: Api, headers: dict[str, str], path: str) -> None:
    """401 carries WWW-Authenticate, on a tenant's paths and on the admin's."""
    answer = await api.nobody("GET", path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["type"] == "/problems/unauthenticated"


async def test_the_key_comes_before_the_body(api: Api) -> None:
    """Nobody without a key learns what is wrong with a body."""
    answer = await api.nobody("POST", "/messages", {"nonsense": 1})
    assert answer.status_code == 401


async def test_a_tenants_key_is_no_admin_key(acme: Caller) -> None:
    """Not even its own tenant shows itself to it there."""
    for path in ("/tenants", f"/tenants/{acme.tenant_id}", "/tenants/none/keys"):
        answer = await acme("GET", path)
        assert answer.status_code == 403
        assert answer.json()["type"] == "/problems/admin-only"


@pytest.mark.parametrize("by_slug", [True, False])
async def test_the_admin_key_acts_for_a_tenant(api: Api, acme: Caller, *, by_slug: bool) -> None:
    """The header Heloise-Tenant takes an id or a slug, and every scope comes with it."""
    admin = api.admin_for("acme" if by_slug else acme.tenant_id)
    await admin.made("/profiles", PROFILE)
    sent = await admin.made("/messages", MESSAGE)
    assert (await acme.read(f"/messages/{sent['id']}"))["id"] == sent["id"]


async def test_the_admin_key_must_say_for_whom(api: Api) -> None:
    """Without the header the admin key owns nothing."""
    answer = await api.admin("GET", "/messages")
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/tenant-required"
    assert answer.json()["errors"][0]["loc"] == ["header", "Heloise-Tenant"]


async def test_a_tenants_name_has_63_characters(api: Api) -> None:
    """Which only those learn who have a key."""
    answer = await api.admin_for("a" * 64)("GET", "/messages")
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["loc"] == ["header", "Heloise-Tenant"]
    assert error["msg"] == "String should have at most 63 characters"
    headers = {"Heloise-Tenant": "a" * 64}
    assert (await api.nobody("GET", "/messages", headers=headers)).status_code == 401


async def test_acting_for_an_unknown_tenant_is_404(api: Api) -> None:
    """A tenant that is not there has nothing to be acted on."""
    answer = await api.admin_for("none")("GET", "/messages")
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/tenant-not-found"


async def test_a_tenants_key_cannot_act_for_another(api: Api, acme: Caller) -> None:
    """The header does not lead out of one's own tenant (invariant 10)."""
    other = await api.tenant("other")
    answer = await acme("GET", "/messages", headers={"Heloise-Tenant": other.tenant_id})
    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/admin-only"
    own = await acme("GET", "/messages", headers={"Heloise-Tenant": acme.tenant_id})
    assert own.status_code == 200


async def test_without_an_admin_key_nobody_is_admin(api: Api) -> None:
    """An API that was given no admin key takes none, not even an empty one."""
    api.replace_auth(admin_keys={})
    assert (await api.admin("GET", "/tenants")).status_code == 401


async def test_a_revoked_key_opens_nothing_at_once(api: Api, acme: Caller) -> None:
    """In the process that revokes, the next request is refused."""
    assert (await acme("GET", "/messages")).status_code == 200
    await api.admin("DELETE", f"/tenants/acme/keys/{acme.key_id}")
    assert (await acme("GET", "/messages")).status_code == 401


async def test_a_key_revoked_elsewhere_opens_nothing_after_five_seconds(
    api: Api, acme: Caller
) -> None:
    """Another process's revocation is seen once the cache's few seconds are over."""
    assert (await acme("GET", "/messages")).status_code == 200
    async with api.services.database.transaction() as connection:
        await api_keys.revoke(
            connection, tenant_id=acme.tenant_id, key_id=acme.key_id, now=api.services.now()
        )
    for _ in range(4):  # its use does not prolong it
        api.monotonic.seconds += 1
        answer = await acme("GET", "/messages")
    assert answer.status_code == 401


async def test_a_deleted_tenants_key_opens_nothing(api: Api, acme: Caller) -> None:
    """Its keys go with the tenant."""
    assert (await acme("GET", "/messages")).status_code == 200
    assert (await api.admin("DELETE", "/tenants/acme")).status_code == 204
    assert (await acme("GET", "/messages")).status_code == 401


async def test_the_use_of_a_key_is_remembered(api: Api, acme: Caller) -> None:
    """`last_used_at` is written later, in one go, from what was remembered."""
    before = datetime.now(UTC)
    await acme("GET", "/messages")
    assert api.services.auth.key_uses[acme.key_id] >= before


def a_key(number: int) -> ApiKey:
    """A key like any other."""
    return ApiKey(
        id=f"key_{number}",
        tenant_id="ten_1",
        name="",
        hint="",
        scopes=frozenset(),
        created_at=datetime.now(UTC) - timedelta(days=1),
        expires_at=None,
        revoked_at=None,
        last_used_at=None,
    )


async def test_the_key_cache_is_bounded() -> None:
    """Past its bound the oldest key goes."""
    cache = HashCache[CachedKey](max_entries=2, monotonic=HandClock())

    async def load_key(number: int) -> CachedKey:
        return a_key(number)

    for number in range(3):
        await cache.read(bytes([number]), partial(load_key, number))
    assert [cache.get(bytes([number])) is not None for number in range(3)] == [False, True, True]
