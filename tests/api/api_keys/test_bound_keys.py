"""A key may be bound to profiles, to senders and to networks."""

from typing import Any, Final

import pytest

from tests.support.api_client import EVERY_SCOPE, MESSAGE, PROFILE, Api, Caller

NEWS: Final = PROFILE | {"name": "news", "default_from": "news@example.com"}
MAY_SEND: Final = ["messages:send", "messages:read"]


@pytest.fixture
async def profiles(acme: Caller) -> dict[str, str]:
    """The ids of two profiles by name."""
    created = [await acme.made("/profiles", body) for body in (PROFILE, NEWS)]
    return {profile["name"]: profile["id"] for profile in created}


@pytest.fixture
async def bound(api: Api, acme: Caller, profiles: dict[str, str]) -> Caller:
    """A key that may do everything, with one profile."""
    assert profiles
    return await api.key(acme.tenant_id, EVERY_SCOPE, profiles=["news"])


async def test_it_is_bound_by_name_or_id(api: Api, acme: Caller, profiles: dict[str, str]) -> None:
    """A read shows ids, which stay when a profile is renamed; each once."""
    body = {"name": "k", "scopes": ["messages:send"]}
    named = body | {"profiles": ["news", profiles["news"], "transactional"]}
    key = await api.admin.made(f"/tenants/{acme.tenant_id}/keys", named)
    assert key["profiles"] == [profiles["news"], profiles["transactional"]]
    page = await acme.read("/keys")
    assert key["profiles"] in [item["profiles"] for item in page["items"]]


async def test_it_is_bound_to_no_profile_that_is_not_there(api: Api, acme: Caller) -> None:
    """Nor to another tenant's."""
    other = await api.tenant("other")
    theirs = await other.made("/profiles", PROFILE)
    for name in ("nothing", theirs["id"]):
        body = {"name": "k", "scopes": ["messages:send"], "profiles": [name]}
        answer = await acme("POST", "/keys", body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "profiles", 0]


async def test_it_sends_through_its_profiles_alone(
    acme: Caller, bound: Caller, profiles: dict[str, str]
) -> None:
    """Another is not there for it, the default neither, whether the key is known yet or not."""
    for _ in range(2):
        sent = await bound.made("/messages", MESSAGE | {"profile": "news"})
        assert (await bound.read(f"/messages/{sent['id']}"))["id"] == sent["id"]
        for fields in ({}, {"profile": "transactional"}, {"profile": profiles["transactional"]}):
            answer = await bound("POST", "/messages", MESSAGE | fields)
            assert (answer.status_code, answer.json()["type"]) == (
                404,
                "/problems/profile-not-found",
            )
    assert len((await acme.read("/messages"))["items"]) == 2


async def test_it_sees_no_other_profile_and_nothing_that_went_through_one(
    acme: Caller, bound: Caller, profiles: dict[str, str]
) -> None:
    """404, and lists without them."""
    hidden = await acme.made("/messages", MESSAGE)
    message = await acme.made("/messages", MESSAGE | {"profile": "news"})
    assert [item["name"] for item in (await bound.read("/profiles"))["items"]] == ["news"]
    assert [item["id"] for item in (await bound.read("/messages"))["items"]] == [message["id"]]
    by_tag = await bound.read("/messages?recipient=ann@example.org")
    assert [item["id"] for item in by_tag["items"]] == [message["id"]]
    paths = [f"/profiles/{profiles['transactional']}", "/profiles/transactional"]
    paths += [f"/messages/{hidden['id']}{more}" for more in ("", "/attempts", "/raw")]
    paths += ["/messages?profile=transactional"]
    for path in paths:
        assert (await bound("GET", path)).status_code == 404, path
    by_id = await bound.read(f"/messages?profile={profiles['transactional']}")
    assert by_id["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"ehlo_name": "evil.example.net"}),
        ("DELETE", "", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/verify", {}),
    ],
)
async def test_it_changes_no_other_profile(
    acme: Caller, bound: Caller, method: str, path: str, body: Any
) -> None:
    """As if that were not there; and it makes none."""
    before = await acme.read("/profiles/transactional")
    answer = await bound(method, f"/profiles/transactional{path}", body)
    assert answer.status_code == 404
    assert await acme.read("/profiles/transactional") == before
    creation = await bound("POST", "/profiles", PROFILE | {"name": "third"})
    assert (creation.status_code, creation.json()["type"]) == (403, "/problems/key-is-bound")
    tried = await bound("POST", "/profiles/verify", PROFILE)
    assert tried.status_code == 403


async def test_it_does_not_send_by_way_of_another_profile(
    acme: Caller, bound: Caller, profiles: dict[str, str]
) -> None:
    """None as a fallback, whose server and login would be used; what others have set stays."""
    for name in ("transactional", profiles["transactional"], "nothing"):
        answer = await bound("PATCH", "/profiles/news", {"fallback_profile": name})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "fallback_profile"]
        assert f"no profile {name!r}" in answer.json()["detail"]
    await acme("PATCH", "/profiles/news", {"fallback_profile": "transactional"})
    changed = await bound("PATCH", "/profiles/news", {"max_connections": 3})
    assert (changed.status_code, changed.json()["fallback_profile"]) == (200, None)
    profile = await acme.read("/profiles/news")
    assert profile["fallback_profile"] == profiles["transactional"]


async def test_it_does_not_become_the_default_profile(
    acme: Caller, bound: Caller, profiles: dict[str, str]
) -> None:
    """The default is the whole tenant's: a bound key makes no profile that, nor takes it away."""
    answer = await bound("PATCH", "/profiles/news", {"is_default": True})
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/key-is-bound")
    sent = await acme.made("/messages", MESSAGE)
    assert sent["profile_id"] == profiles["transactional"]
    same = await bound("PATCH", "/profiles/news", {"is_default": False, "max_connections": 3})
    assert same.status_code == 200


async def test_without_a_default_of_its_own_there_is_none(acme: Caller, bound: Caller) -> None:
    """It is not told whether there is one, nor what that is called."""
    with_one = await bound("POST", "/messages", MESSAGE)
    await acme("PATCH", "/profiles/transactional", {"is_default": False})
    without = await bound("POST", "/messages", MESSAGE)
    assert with_one.json()["detail"] == without.json()["detail"]
    assert "transactional" not in with_one.text


async def test_it_changes_after_its_fallback_was_deleted(acme: Caller, bound: Caller) -> None:
    """What a change does not name is not looked up again."""
    await acme("PATCH", "/profiles/news", {"fallback_profile": "transactional"})
    await acme("DELETE", "/profiles/transactional")
    assert (await bound("PATCH", "/profiles/news", {"max_connections": 3})).status_code == 200


async def test_what_is_the_whole_tenants_is_not_for_it(acme: Caller, bound: Caller) -> None:
    """The audit log, and suppressions, whose details name messages."""
    for path in ("/audit-log", "/suppressions", "/suppressions/export", "/webhooks", "/templates"):
        answer = await bound("GET", path)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/key-is-bound"), path
        assert (await acme("GET", path)).status_code == 200, path


async def test_nothing_of_its_body_is_read_where_it_may_not_go(bound: Caller) -> None:
    """The key is refused, and not what it asks for."""
    for path in ("/suppressions", "/webhooks", "/templates", "/domains", "/mailboxes", "/profiles"):
        answer = await bound("POST", path, {"unknown": 1})
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/key-is-bound"), path


async def test_it_sees_and_ends_no_key_that_reaches_further(
    api: Api, acme: Caller, bound: Caller
) -> None:
    """As if they were not there."""
    scopes = ["messages:send"]
    both = await api.key(acme.tenant_id, scopes, profiles=["news", "transactional"])
    part = await api.key(acme.tenant_id, scopes, profiles=["news"])
    ids = [item["id"] for item in (await bound.read("/keys?limit=1"))["items"]]
    rest = await bound.read(f"/keys?cursor={(await bound.read('/keys?limit=1'))['next_cursor']}")
    assert ids + [item["id"] for item in rest["items"]] == [bound.key_id, part.key_id]
    for key in (both.key_id, acme.key_id, "key_" + "0" * 32):
        for method, path in (("DELETE", f"/keys/{key}"), ("POST", f"/keys/{key}/rotate")):
            answer = await bound(method, path, {} if method == "POST" else None)
            assert (answer.status_code, answer.json()["type"]) == (404, "/problems/key-not-found")
    assert (await bound("DELETE", f"/keys/{part.key_id}")).status_code == 204
    assert (await both("GET", "/messages")).status_code == 403


async def test_a_message_out_of_reach_is_not_found(acme: Caller, bound: Caller) -> None:
    """To retry it is 404, whatever has become of its content."""
    message = await acme.made("/messages", MESSAGE | {"sensitive": True})
    answer = await bound("POST", f"/messages/{message['id']}/retry", {})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/message-not-found")


async def test_it_resolves_no_message_of_another_profile(acme: Caller, bound: Caller) -> None:
    """It cannot see it."""
    message = await acme.made("/messages", MESSAGE)
    answer = await bound("POST", f"/messages/{message['id']}/resolve", {"as": "sent"})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/message-not-found")


@pytest.mark.parametrize(
    ("sender", "status"),
    [
        ("shop@example.com", 202),
        ("SHOP@EXAMPLE.COM", 202),
        ("Shop <shop@example.com>", 202),
        ("billing@example.com", 403),
        (None, 403),  # the profile's default_from
    ],
)
async def test_it_sends_as_whom_it_is_bound_to(
    api: Api, acme: Caller, profiles: dict[str, str], sender: str | None, status: int
) -> None:
    """The profile has to allow it too."""
    assert profiles
    bound = await api.key(acme.tenant_id, MAY_SEND, allowed_from=["shop@example.com", "x@test.org"])
    body = MESSAGE | ({"from": sender} if sender else {})
    for _ in range(2):
        answer = await bound("POST", "/messages", body)
        assert answer.status_code == status, answer.text
        if status == 403:
            assert answer.json()["type"] == "/problems/sender-not-allowed"
            assert "This key" in answer.json()["detail"]
    beyond = await bound("POST", "/messages", MESSAGE | {"from": "x@test.org"})
    assert beyond.status_code == 403
    assert "The profile" in beyond.json()["detail"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("networks", "status"),
    [
        (["127.0.0.0/8"], 200),
        (["192.0.2.0/24", "127.0.0.1"], 200),
        (["192.0.2.0/24"], 403),
        (["2001:db8::/32", "::/0"], 403),
    ],
)
async def test_it_is_used_from_its_networks_alone(
    api: Api, acme: Caller, networks: list[str], status: int
) -> None:
    """To send, too, where the usual form of a request has a way of its own."""
    bound = await api.key(acme.tenant_id, EVERY_SCOPE, networks=networks)
    await acme.made("/profiles", PROFILE)
    for _ in range(2):
        answer = await bound("GET", "/profiles")
        assert answer.status_code == status
        sent = await bound("POST", "/messages", MESSAGE)
        assert sent.status_code == {200: 202, 403: 403}[status]
    if status == 403:
        assert answer.json()["type"] == "/problems/network-not-allowed"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("networks", ["10.0.0.1/8"]),
        ("networks", ["here"]),
        ("networks", ["10.0.0.0/33"]),
        ("allowed_from", ["example.com"]),
        ("allowed_from", ["a*@example.com"]),
        ("profiles", [""]),
        ("profiles", ["x"] * 101),
    ],
)
async def test_a_wrong_binding_is_refused(
    api: Api, acme: Caller, field: str, value: list[str]
) -> None:
    """422 names the field, and says what to write."""
    body = {"name": "k", "scopes": ["messages:send"], field: value}
    answer = await api.admin("POST", f"/tenants/{acme.tenant_id}/keys", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["body", field]
