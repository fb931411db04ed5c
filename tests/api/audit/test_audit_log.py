"""Who did what, from where, before and after; and who was refused. Never a secret."""

from typing import Any, Final

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Api, Caller, bearer

SECRETS: Final = ("canary-8d1f", "canary-two", "canary-three")


async def lines(caller: Caller, query: str = "") -> list[dict[str, Any]]:
    """The log, oldest first."""
    entries: list[dict[str, Any]] = (await caller.read(f"/audit-log?limit=200{query}"))["items"]
    return entries[::-1]


async def test_what_is_done_to_a_profile_is_written_down(api: Api, acme: Caller) -> None:
    """With the values before and after; of a secret that it was set."""
    profile = await acme.made("/profiles", PROFILE)
    change = {"ehlo_name": "mx.example.com", "auth": {"password": SECRETS[1]}}
    answer = await acme("PATCH", "/profiles/transactional", change)
    await acme("POST", "/profiles/transactional/pause")
    await acme("POST", "/profiles/transactional/resume")
    await acme("DELETE", "/profiles/transactional")
    log = [line for line in await lines(acme) if line["action"].startswith("profile.")]
    assert [entry["action"] for entry in log] == [
        "profile.create",
        "profile.update",
        "profile.pause",
        "profile.resume",
        "profile.delete",
    ]
    assert {entry["object_id"] for entry in log} == {profile["id"]}
    assert log[0]["changes"]["host"] == {"before": None, "after": "smtp.example.com"}
    assert log[1]["changes"] == {
        "ehlo_name": {"before": "mail.example.com", "after": "mx.example.com"},
        "secrets_set": {"before": [], "after": ["password"]},
    }
    assert log[1]["request_id"] == answer.headers["X-Request-ID"]
    assert log[2]["changes"]["paused_at"]["before"] is None
    assert log[4]["changes"]["host"] == {"before": "smtp.example.com", "after": None}
    for entry in log:
        assert entry["actor"] == {
            "kind": "key",
            "id": acme.key_id,
            "name": "test",
            "source": "127.0.0.1",
        }
        assert entry["refused_as"] is None
    everything = str(await lines(api.admin))
    assert not any(secret in everything for secret in SECRETS)


async def test_a_change_that_changes_nothing_is_not_written_down(acme: Caller) -> None:
    """Nor one that is refused as a whole."""
    await acme.made("/profiles", PROFILE)
    before = await lines(acme)
    await acme("PATCH", "/profiles/transactional", {})
    await acme("PATCH", "/profiles/transactional", {"port": 99999})
    await acme("PATCH", "/profiles/transactional", {"host": None})
    assert await lines(acme) == before


async def test_what_admins_do_is_written_down_under_their_names(api: Api) -> None:
    """Of tenants and of keys."""
    await api.admin.made("/tenants", {"slug": "acme"})
    await api.admin("PATCH", "/tenants/acme", {"ehlo_name": "mail.example.com"})
    key = await api.admin.made("/tenants/acme/keys", {"name": "k", "scopes": ["messages:send"]})
    await api.admin.made(f"/tenants/acme/keys/{key['id']}/rotate", {})
    await api.admin("DELETE", f"/tenants/acme/keys/{key['id']}")
    await api.admin("DELETE", "/tenants/acme")
    log = await lines(api.admin)
    assert [entry["action"] for entry in log] == [
        "tenant.create",
        "tenant.update",
        "key.create",
        "key.rotate",
        "key.create",
        "key.revoke",
        "tenant.delete",
    ]
    assert log[1]["changes"] == {"ehlo_name": {"before": None, "after": "mail.example.com"}}
    assert log[2]["changes"]["scopes"] == {"before": None, "after": ["messages:send"]}
    assert log[3]["changes"]["replaced_by"]["after"] == log[4]["object_id"]
    assert log[5]["changes"]["revoked_at"]["before"] is None
    assert {entry["actor"]["kind"] for entry in log} == {"admin"}
    assert {entry["actor"]["name"] for entry in log} == {"admin"}
    assert key["key"] not in str(log)


async def test_what_a_key_is_refused_is_written_down(api: Api, acme: Caller) -> None:
    """With the operation and the path, by its tenant."""
    reader = await api.key(acme.tenant_id, ["messages:read"])
    await reader("POST", "/profiles", PROFILE)
    await reader("GET", "/tenants")
    refused = [line for line in await lines(acme) if line["refused_as"]]
    assert [(entry["action"], entry["object_id"], entry["refused_as"]) for entry in refused] == [
        ("create_profile", "/profiles", "scope-missing"),
        ("list_tenants", "/tenants", "admin-only"),
    ]
    assert {entry["actor"]["id"] for entry in refused} == {reader.key_id}
    assert {entry["tenant_id"] for entry in refused} == {acme.tenant_id}


async def test_a_sender_that_is_not_allowed_is_written_down(acme: Caller) -> None:
    """It may be somebody who pretends to be another."""
    await acme.made("/profiles", PROFILE)
    await acme("POST", "/messages", MESSAGE | {"from": "eve@example.net"})
    assert (await lines(acme))[-1]["refused_as"] == "sender-not-allowed"


async def test_an_unknown_caller_is_recorded_by_the_hint_of_its_key(api: Api, acme: Caller) -> None:
    """Admins alone see it: it is no tenant's. Who sends no key is not written down."""
    await api.nobody("GET", "/messages")
    await api.nobody("GET", "/messages", headers=bearer("hel_abcdefghijklmnop"))
    await api.nobody("GET", "/messages", headers=bearer("a-password-of-somebody"))
    log = [line for line in await lines(api.admin) if line["refused_as"]]
    assert [entry["actor"]["name"] for entry in log] == ["hel_abcd…", None]
    assert {entry["actor"]["kind"] for entry in log} == {"unknown"}
    assert {entry["refused_as"] for entry in log} == {"unauthenticated"}
    assert not [line for line in await lines(acme) if line["refused_as"]]


async def test_the_log_is_read_by_action_and_in_pages(api: Api, acme: Caller) -> None:
    """Newest first, a tenant's own alone."""
    other = await api.tenant("other")
    for name in ("a", "b", "c"):
        await acme.made("/profiles", PROFILE | {"name": name})
    assert len(await lines(acme, "&action=profile.create")) == 3
    assert await lines(other, "&action=profile.create") == []
    first = await acme.read("/audit-log?action=profile.create&limit=2")
    rest = await acme.read(
        f"/audit-log?action=profile.create&limit=2&cursor={first['next_cursor']}"
    )
    names = [entry["changes"]["name"]["after"] for entry in first["items"] + rest["items"]]
    assert names == ["c", "b", "a"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("for_tenant", [True, False])
async def test_an_admin_reads_of_all_or_of_one(api: Api, acme: Caller, *, for_tenant: bool) -> None:
    """By the header Heloise-Tenant."""
    await api.tenant("other")
    caller = api.admin_for("acme") if for_tenant else api.admin
    tenants = {line["tenant_id"] for line in await lines(caller)}
    assert (tenants == {acme.tenant_id}) is for_tenant


async def test_the_log_outlives_its_tenant(api: Api, acme: Caller) -> None:
    """Who deleted it is known."""
    await api.admin("DELETE", "/tenants/acme")
    last = (await lines(api.admin))[-1]
    assert (last["action"], last["tenant_id"]) == ("tenant.delete", acme.tenant_id)


async def test_an_auditor_finds_entries_by_every_fact(api: Api, acme: Caller) -> None:
    """Who, what, from where, when; what another tenant has stays its own."""
    made = await acme.made("/profiles", PROFILE)
    other = await api.tenant("other")
    await other.made("/profiles", PROFILE)
    await (await api.key(acme.tenant_id, ["messages:read"]))("POST", "/profiles", PROFILE)
    [created] = await lines(acme, "&action=profile.create")
    [refused] = await lines(acme, "&refused=true")
    assert (created["object_id"], refused["action"]) == (made["id"], "create_profile")
    expected = {
        "object_id": made["id"],
        "actor_id": created["actor"]["id"],
        "request_id": created["request_id"],
        "refused": "false",
    }
    for name, value in expected.items():
        assert created in await lines(acme, f"&{name}={value}"), name
        assert refused not in await lines(acme, f"&{name}={value}"), name
        assert created not in await lines(other, f"&{name}={value}"), name
    for shared in ("actor_kind=key", "source=127.0.0.1", "created_after=2026-01-01T00:00:00Z"):
        assert created in await lines(acme, f"&{shared}"), shared
        assert await lines(acme, f"&{shared}&created_before=2026-01-01T00:00:00Z") == []
    names = {entry["actor"]["name"] for entry in await lines(api.admin, "&actor_kind=admin")}
    assert names == {"admin"}
    assert await lines(acme, "&actor_name=nobody") == []
    assert (await acme("GET", "/audit-log?actor_kind=robot")).status_code == 422
