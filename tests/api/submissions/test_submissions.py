"""GET /submissions: who may see which session, and how one is found."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.api_client import EVERY_SCOPE, PROFILE, Api, Caller

DAY = timedelta(days=1)


async def ids(caller: Caller, query: str = "") -> list[str]:
    """The ids of the sessions that are listed."""
    return [session["id"] for session in (await caller.read(f"/submissions{query}"))["items"]]


async def test_a_session_is_read_as_it_was_written(api: Api, acme: Caller) -> None:
    """In the list and alone."""
    message_id = "msg_0198c5a2d3f07b6e8a4c1d2e3f405162"
    transaction: dict[str, Any] = {
        "mail_from": "",
        "mail_reply": "250 2.1.0 Sender OK",
        "recipient_count": 1,
        "recipients": [{"address": "ann@example.org", "reply": "250 2.1.5 Recipient OK"}],
        "reply": f"250 2.0.0 Queued as {message_id}",
        "message_id": message_id,
    }
    session = await api.session(
        acme.tenant_id,
        api_key_id=acme.key_id,
        login='<script>"\u202e',
        transactions=[transaction],
        message_ids=(message_id,),
    )
    read = await acme.read(f"/submissions/{session.id}")
    assert read["transactions"] == [transaction]
    assert read["message_ids"] == [message_id]
    assert (read["key_id"], read["login"]) == (acme.key_id, '<script>"\u202e')
    assert (await acme.read("/submissions"))["items"] == [read]


async def test_each_filter_finds_its_session(api: Api, acme: Caller) -> None:
    """Alone and with others; of what matches nothing there is an empty list."""
    profile = await acme.made("/profiles", PROFILE)
    now = api.services.now()
    old = await api.session(acme.tenant_id, started_at=now - DAY, client_address="2001:db8::7")
    new = await api.session(
        acme.tenant_id,
        profile_id=profile["id"],
        client_address="192.0.2.7",
        login="app",
        message_ids=("msg_1",),
    )
    assert await ids(acme) == [new.id, old.id]
    noon = (now - DAY / 2).strftime("%Y-%m-%dT%H:%M:%SZ")
    for query in (
        *("client_address=192.0.2.7", "client_address=::ffff:192.0.2.7", "login=app"),
        *("message=msg_1", "profile=transactional", f"profile={profile['id']}"),
        f"started_after={noon}",
        f"client_address=192.0.2.7&login=app&message=msg_1&started_after={noon}",
    ):
        assert await ids(acme, f"?{query}") == [new.id], query
    assert await ids(acme, f"?started_before={noon}") == [old.id]
    assert await ids(acme, "?client_address=2001:DB8:0::7") == [old.id]
    assert await ids(acme, "?client_address=192.0.2.7&login=other") == []


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("client_address=localhost", 422, "write an IP address, such as 192.0.2.10"),
        ("started_after=yesterday", 422, "RFC 3339"),
        ("profile=none", 404, "profile-not-found"),
        ("cursor=x", 422, "not a cursor of this list"),
        ("message_id=x", 422, "unknown field"),
    ],
)
async def test_a_filter_that_means_nothing_is_refused(
    acme: Caller, query: str, status: int, text: str
) -> None:
    """With what to write instead."""
    answer = await acme("GET", f"/submissions?{query}")
    assert (answer.status_code, text in answer.text) == (status, True), answer.text


async def test_the_list_is_read_in_pages(api: Api, acme: Caller) -> None:
    """Newest first, each session once."""
    ids = [(await api.session(acme.tenant_id)).id for _ in range(5)]
    first = await acme.read("/submissions?limit=3")
    rest = await acme.read(f"/submissions?limit=3&cursor={first['next_cursor']}")
    assert [session["id"] for session in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None


async def test_only_admins_see_sessions_without_a_login(api: Api, acme: Caller) -> None:
    """For one tenant an admin sees what the tenant does."""
    other = await api.tenant("other")
    stranger = await api.session(None)
    own, foreign = await api.session(acme.tenant_id), await api.session(other.tenant_id)
    assert await ids(api.admin) == [foreign.id, own.id, stranger.id]
    assert await ids(api.admin_for("acme")) == await ids(acme) == [own.id]
    for session in (stranger, foreign):
        assert (await api.admin("GET", f"/submissions/{session.id}")).status_code == 200
        assert (await acme("GET", f"/submissions/{session.id}")).status_code == 404
    assert (await api.admin("GET", "/submissions/sub_none")).status_code == 404


async def test_an_admin_of_all_filters_by_the_id_of_a_profile(api: Api, acme: Caller) -> None:
    """A name is one of a tenant's."""
    profile = await acme.made("/profiles", PROFILE)
    session = await api.session(acme.tenant_id, profile_id=profile["id"])
    await api.session(acme.tenant_id)
    assert await ids(api.admin, f"?profile={profile['id']}") == [session.id]
    answer = await api.admin("GET", "/submissions?profile=transactional")
    assert answer.status_code == 422
    assert "write the profile's id, or name its tenant" in answer.text


async def test_a_bound_key_sees_the_sessions_of_its_profiles(api: Api, acme: Caller) -> None:
    """Not those of others, nor those that got to no profile."""
    profiles = {
        name: await acme.made("/profiles", PROFILE | {"name": name}) for name in ("news", "bills")
    }
    sessions = {
        name: await api.session(acme.tenant_id, profile_id=profile["id"])
        for name, profile in profiles.items()
    }
    nowhere = await api.session(acme.tenant_id)
    bound = await api.key(acme.tenant_id, EVERY_SCOPE, profiles=["news"])
    assert await ids(bound) == [sessions["news"].id]
    assert await ids(bound, f"?profile={profiles['bills']['id']}") == []
    assert (await bound("GET", "/submissions?profile=bills")).status_code == 404
    for session in (sessions["bills"], nowhere):
        assert (await bound("GET", f"/submissions/{session.id}")).status_code == 404
    assert (await bound.read(f"/submissions/{sessions['news'].id}"))["profile_id"]
