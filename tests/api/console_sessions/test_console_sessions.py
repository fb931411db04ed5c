"""Sessions of the console: who is signed in, and how to end that."""

from datetime import timedelta

from tests.support.api_client import EVERY_SCOPE, Api, Caller


async def test_a_tenant_sees_and_ends_its_sessions(api: Api, acme: Caller) -> None:
    """Newest first, without those that have ended, with an entry in the audit log."""
    first = await api.console_session(acme.tenant_id, name="ann@example.com", subject="ann")
    second = await api.console_session(acme.tenant_id)
    await api.console_session(acme.tenant_id, lasts=timedelta(0))
    await api.console_session(acme.tenant_id, idle=timedelta(hours=2))
    await api.console_session(acme.tenant_id)
    [*_, key] = (await acme.read("/keys"))["items"]
    await acme("DELETE", f"/keys/{key['id']}")
    await api.console_session(None)
    items = (await acme.read("/console-sessions"))["items"]
    assert [session["id"] for session in items] == [second.id, first.id]
    assert (items[1]["name"], items[1]["subject"]) == ("ann@example.com", "ann")
    assert items[0].keys().isdisjoint({"key_hash", "token_hash"})
    assert (await acme("DELETE", f"/console-sessions/{first.id}")).status_code == 204
    answer = await acme("DELETE", f"/console-sessions/{first.id}")
    assert (answer.status_code, answer.json()["type"]) == (
        404,
        "/problems/console-session-not-found",
    )
    assert [session["id"] for session in (await acme.read("/console-sessions"))["items"]] == [
        second.id
    ]
    [entry] = (await acme.read("/audit-log?action=console_session.end"))["items"]
    assert (entry["actor"]["id"], entry["object_id"]) == (acme.key_id, first.id)


async def test_an_admin_sees_those_of_admins_or_of_one_tenant(api: Api, acme: Caller) -> None:
    """By the header Heloise-Tenant; a bound key sees none."""
    of_tenant = await api.console_session(acme.tenant_id)
    of_admin = await api.console_session(None)
    for caller, own, other in (
        (api.admin, of_admin, of_tenant),
        (api.admin_for("acme"), of_tenant, of_admin),
    ):
        items = (await caller.read("/console-sessions"))["items"]
        assert [session["id"] for session in items] == [own.id]
        assert (await caller("DELETE", f"/console-sessions/{other.id}")).status_code == 404
        assert (await caller("DELETE", f"/console-sessions/{own.id}")).status_code == 204
    await acme.made("/profiles", {"name": "main", "host": "mail.example.com"})
    bound = await api.key(acme.tenant_id, EVERY_SCOPE, profiles=["main"])
    answer = await bound("GET", "/console-sessions")
    assert answer.json()["type"] == "/problems/key-is-bound"


async def test_a_key_or_person_has_fifty_sessions(api: Api, acme: Caller) -> None:
    """The oldest ends; those of others stay."""
    other = await api.console_session(acme.tenant_id, subject="eve")
    first = await api.console_session(acme.tenant_id, subject="ann")
    for _ in range(50):
        await api.console_session(acme.tenant_id, subject="ann")
    items = (await acme.read("/console-sessions?limit=200"))["items"]
    ids = {session["id"] for session in items}
    assert (len(ids), other.id in ids, first.id in ids) == (51, True, False)
