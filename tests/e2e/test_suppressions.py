"""Whom a tenant suppresses is never contacted, by whatever way a message would go to them."""

from typing import Any, Final

import pytest

from tests.api.client import bearer
from tests.e2e.conftest import Start
from tests.e2e.harness import Heloise, Tenant
from tests.fixtures.hand_clock import HandClock
from tests.fixtures.smtp_server import SmtpServer

ANN: Final = "ann@example.org"
BOB: Final = "bob@example.org"


async def statuses(tenant: Tenant, message: str, status: str) -> list[str]:
    """Where each recipient of a message stands once it has a status."""
    found = await tenant.message(message, status=status)
    return [each["status"] for each in found["recipients"]]


async def suppressed(tenant: Tenant, address: str = ANN, **fields: Any) -> Any:
    """Suppress an address."""
    return await tenant.made("/suppressions", {"address": address, **fields})


async def test_at_acceptance(heloise: Heloise, server: SmtpServer) -> None:
    """In any letter case; the others get theirs, and who is alone ends the message."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await acme.message(await acme.send(BOB), status="sent")  # its lane is warm
    await suppressed(acme, "Ann@Example.org")
    both, alone = await acme.send(["ANN@example.org", BOB]), await acme.send(ANN)
    assert await statuses(acme, both, "partially_sent") == ["suppressed", "sent"]
    assert await statuses(acme, alone, "failed") == ["suppressed"]
    [recipient] = (await acme.read(f"/messages/{alone}"))["recipients"]
    assert recipient["last_reply"]["classification"] == "suppressed"
    assert recipient["attempts"] == 0
    assert await acme.attempts(alone) == []
    assert [each.recipients for each in server.messages] == [[BOB], [BOB]]


async def test_at_delivery(start: Start, server: SmtpServer) -> None:
    """What waited when it was written down is not sent either, nor what was deferred."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    server.script["rcpt"] = ["451 4.3.0 Later"]
    deferred = await acme.send(ANN)
    await acme.recipient(deferred, ANN, status="deferred")
    await acme.settled()
    await acme("POST", "/profiles/main/pause")
    waiting = await acme.send([ANN, BOB])
    await suppressed(acme)
    await acme("POST", "/profiles/main/resume")
    await clock.advance(hours=1)
    assert await statuses(acme, waiting, "partially_sent") == ["suppressed", "sent"]
    assert await statuses(acme, deferred, "failed") == ["suppressed"]
    assert [each.recipients for each in server.messages] == [[BOB]]


async def test_for_a_tag_alone(heloise: Heloise, server: SmtpServer) -> None:
    """No newsletter, but receipts."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await suppressed(acme, tag="newsletter", reason="unsubscribe")
    newsletter = await acme.send(ANN, tags=["january", "newsletter"])
    receipt = await acme.send(ANN, tags=["receipt"])
    plain = await acme.send(ANN)
    assert await statuses(acme, newsletter, "failed") == ["suppressed"]
    for each in (receipt, plain):
        await acme.message(each, status="sent")


async def test_it_is_the_tenants_own(heloise: Heloise, server: SmtpServer) -> None:
    """Another sends to the same address, and neither sees nor takes away what is not its own."""
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    made = await suppressed(acme)
    await other.profile("main", server.port)
    await other.message(await other.send(ANN), status="sent")
    assert (await other.read("/suppressions"))["items"] == []
    answer = await other("DELETE", f"/suppressions/{made['id']}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/suppression-not-found")


async def test_taken_away_it_is_sent_to_again(heloise: Heloise, server: SmtpServer) -> None:
    """From the next message on; that is written down, by whom and why it had been."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    made = await suppressed(acme, reason="complaint", detail="by phone")
    again = await acme("POST", "/suppressions", {"address": ANN})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/suppression-exists")
    assert (await acme("DELETE", f"/suppressions/{made['id']}")).status_code == 204
    await acme.message(await acme.send(ANN), status="sent")
    entry = (await acme.read("/audit-log?action=suppression.delete"))["items"][0]
    assert entry["object_id"] == made["id"]
    assert entry["changes"]["reason"] == {"before": "complaint", "after": None}


async def test_they_are_listed(heloise: Heloise) -> None:
    """By address, reason and tag; page by page."""
    acme = await heloise.tenant()
    one = await suppressed(acme)
    two = await suppressed(acme, tag="newsletter", reason="unsubscribe")
    three = await suppressed(acme, BOB, reason="complaint")

    async def listed(query: str) -> list[Any]:
        found: list[Any] = (await acme.read(f"/suppressions?{query}"))["items"]
        return found

    assert await listed("") == [three, two, one]
    assert await listed("address=ANN@example.org") == [two, one]
    assert await listed("reason=complaint") == [three]
    assert await listed("tag=newsletter") == [two]
    first = await acme.read("/suppressions?limit=2")
    assert first["items"] == [three, two]
    assert await listed(f"limit=2&cursor={first['next_cursor']}") == [one]


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"address": "ann"}, ["address"]),
        ({"address": "Ann <ann@example.org>"}, ["address"]),
        ({"reason": "dislike"}, ["reason"]),
        ({"tag": ""}, ["tag"]),
        ({"until": None}, ["until"]),
    ],
)
async def test_a_wrong_one_is_refused(
    heloise: Heloise, fields: dict[str, Any], loc: list[str]
) -> None:
    """With the field that is wrong."""
    acme = await heloise.tenant()
    answer = await acme("POST", "/suppressions", {"address": ANN} | fields)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", *loc]


async def test_a_key_that_is_bound_changes_none(heloise: Heloise) -> None:
    """They hold for all of the tenant's profiles."""
    acme = await heloise.tenant()
    profile = await acme.profile("main", 25)
    body = {"name": "x", "scopes": ["suppressions:manage"], "profiles": [profile["id"]]}
    key = (await heloise.admin.made(f"/tenants/{acme.tenant_id}/keys", body))["key"]
    answer = await acme("POST", "/suppressions", {"address": ANN}, headers=bearer(key))
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/key-is-bound")
