"""GET /queue: a tenant's own, or everybody's for an admin."""

from typing import Any

import pytest

from app.api.queue import service
from app.store.delivery import lane_health, workers
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller
from tests.support.rows import MINUTE


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A tenant with a waiting message."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/messages", MESSAGE)
    return acme


async def fail(api: Api, profile_id: str) -> None:
    """Let the profile fail."""
    async with api.services.database.transaction() as connection:
        await lane_health.record_fault(
            connection,
            profile_id=profile_id,
            revision=1,
            code="ehlo_rejected",
            reason="504 5.5.2 need fully-qualified hostname",
            now=api.services.now(),
            wait=lambda _: MINUTE,
            is_probe=False,
        )


async def test_a_tenant_reads_its_own_queue(api: Api, sender: Caller) -> None:
    """An admin reads the same for it, and all queues without a tenant."""
    other = await api.tenant("other")
    await other.made("/profiles", PROFILE)
    await other.made("/messages", MESSAGE)
    own = await sender.read("/queue")
    assert own["messages"] == {"scheduled": 0, "queued": 1, "sending": 0, "held": 0}
    assert (own["due"], own["workers"]) == (1, 0)
    assert own["oldest_at"] == (await sender.read("/messages"))["items"][0]["created_at"]
    assert [(row["tenant"], row["messages"]) for row in own["items"]] == [("acme", 1)]
    for_it = await api.admin_for("acme").read("/queue")
    assert for_it["items"] == own["items"]
    everybodys = await api.admin.read("/queue")
    assert everybodys["messages"]["queued"] == 2
    assert [row["tenant"] for row in everybodys["items"]] == ["acme", "other"]


async def test_a_depth_says_whether_it_is_complete(
    api: Api, sender: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the tenant, of a profile, or of all; up to a limit."""
    own = await sender.read("/queue/depth")
    assert own == {
        "messages": {"scheduled": 0, "queued": 1, "sending": 0, "held": 0},
        "due": 1,
        "is_complete": True,
    }
    await sender.made("/profiles", PROFILE | {"name": "bulk"})
    assert (await sender.read("/queue/depth?profile=bulk"))["due"] == 0
    await (await api.tenant("other")).made("/profiles", PROFILE)
    assert (await api.admin.read("/queue/depth"))["due"] == 1
    monkeypatch.setattr(service, "MAX_COUNTED", 1)
    assert not (await sender.read("/queue/depth"))["is_complete"]


async def test_a_failing_profile_says_why(api: Api, sender: Caller) -> None:
    """Since when, with the server's words and the time of the next try; it comes first."""
    second = await sender.made("/profiles", PROFILE | {"name": "bulk"})
    await fail(api, second["id"])
    [first, busy] = (await sender.read("/queue"))["items"]
    profile = await sender.read("/profiles/bulk")
    assert (first["profile"], first["state"], first["messages"]) == ("bulk", "failing", 0)
    assert first["failing_since"] == profile["failing_since"]
    assert first["next_probe_at"] == profile["next_probe_at"]
    assert (first["code"], first["reason"]) == (profile["failing_code"], profile["reason"])
    assert (busy["profile"], busy["state"], busy["reason"]) == ("transactional", "active", None)


async def test_a_bound_key_reads_its_profiles_alone(api: Api, sender: Caller) -> None:
    """Counts and ages too."""
    profile = await sender.made("/profiles", PROFILE | {"name": "bulk"})
    bound = await api.key(sender.tenant_id, ["messages:read"], profiles=["bulk"])
    read = await bound.read("/queue")
    assert (read["due"], read["oldest_at"], read["items"]) == (0, None, [])
    await sender.made("/messages", MESSAGE | {"profile": "bulk"})
    read = await bound.read("/queue")
    assert (read["due"], [row["profile_id"] for row in read["items"]]) == (1, [profile["id"]])


async def test_profiles_come_in_pages(api: Api, sender: Caller) -> None:
    """Those with a fault first; a cursor of another list is refused."""
    for name in ("bulk", "news"):
        await fail(api, (await sender.made("/profiles", PROFILE | {"name": name}))["id"])
    rows, path = list[Any](), "/queue?limit=1"
    while True:
        page = await sender.read(path)
        rows += page["items"]
        if page["next_cursor"] is None:
            break
        path = f"/queue?limit=1&cursor={page['next_cursor']}"
    assert [row["profile"] for row in rows] == ["bulk", "news", "transactional"]
    foreign = (await sender.read("/profiles?limit=1"))["next_cursor"]
    assert (await sender("GET", f"/queue?cursor={foreign}")).status_code == 422


async def test_live_workers_are_counted(api: Api, sender: Caller) -> None:
    """By their heartbeats."""
    now = api.services.now()
    async with api.services.database.transaction() as connection:
        for name, seen_at in (("wrk_1", now), ("wrk_2", now - 2 * MINUTE)):
            await workers.record_heartbeat(
                connection, worker_id=name, hostname="h", pid=1, started_at=now, now=seen_at
            )
    assert (await sender.read("/queue"))["workers"] == 1


async def test_one_profile_alone_is_read(api: Api, sender: Caller) -> None:
    """By name or id; an admin of all tenants needs the id."""
    profile = await sender.made("/profiles", PROFILE | {"name": "bulk"})
    await sender.made("/messages", MESSAGE | {"profile": "bulk"})
    for path in ("/queue?profile=bulk", f"/queue?profile={profile['id']}"):
        read = await sender.read(path)
        assert (read["due"], [row["profile"] for row in read["items"]]) == (1, ["bulk"])
    assert (await sender("GET", "/queue?profile=nobody")).status_code == 404
    assert (await api.admin.read(f"/queue?profile={profile['id']}"))["due"] == 1
    assert (await api.admin("GET", "/queue?profile=bulk")).status_code == 422


async def test_an_admin_reads_the_state_of_the_service(api: Api, sender: Caller) -> None:
    """Workers with their leases, the size of the database, the last purge; a tenant does not."""
    now = api.services.now()
    async with api.services.database.transaction() as connection:
        await workers.record_heartbeat(
            connection, worker_id="wrk_1", hostname="mail-1", pid=7, started_at=now, now=now
        )
    service = (await api.admin.read("/queue"))["service"]
    assert service["database_bytes"] > 0
    assert service["purged_at"] is None
    [worker] = service["workers"]
    assert (worker["hostname"], worker["pid"]) == ("mail-1", 7)
    assert (worker["leased"], worker["leased_until"]) == (0, None)
    assert (await sender.read("/queue"))["service"] is None
    assert (await api.admin_for("acme").read("/queue"))["service"] is None
