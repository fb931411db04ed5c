"""Somebody asks to be forgotten: DELETE /recipients/{address}."""

import asyncio
from typing import Any, Final

from tests.e2e.conftest import Start
from tests.e2e.test_retention import texts
from tests.support.harness import Heloise, Tenant
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer

ANN: Final = "ann@example.org"
BOB: Final = "bob@example.org"


async def erase(tenant: Tenant, address: str = ANN) -> Any:
    """What is answered to the wish."""
    answer = await tenant("DELETE", f"/recipients/{address}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def statuses(tenant: Tenant, message: str) -> list[tuple[str | None, str]]:
    """Who the recipients of a message are, and where each stands."""
    body = await tenant.read(f"/messages/{message}")
    return [(recipient["address"], recipient["status"]) for recipient in body["recipients"]]


async def test_nothing_that_is_stored_names_them_any_more(
    heloise: Heloise, migrated_url: str
) -> None:
    """Whatever became of the messages, and however servers put it; others are as they were."""
    words = {"rcpt": [None, f"550 5.1.1 <{ANN}>: no such user"]}
    async with SmtpServer(words) as server:
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        message_id = await acme.send("Ann Lee <Ann@Example.org>")
        await acme.message(message_id, status="sent")
        refusal = await acme.send(ANN, metadata={"customer": "Ann Lee"})
        await acme.message(refusal, status="failed")
        theirs = await acme.message(await acme.send(BOB), status="sent")
        await acme.settled()
        assert "nn@" in await texts(migrated_url)
        assert await erase(acme, "ANN@example.org") == {
            "erased": 2,
            "sending": 0,
            "uncertain": 0,
        }
        left = (await texts(migrated_url)).lower()
        assert "ann@" not in left
        assert "ann lee" not in left
        assert await statuses(acme, message_id) == [(None, "sent")]
        assert await statuses(acme, refusal) == [(None, "bounced")]
        assert await acme.read(f"/messages/{theirs['id']}") == theirs
        assert (await acme("GET", f"/messages/{theirs['id']}/raw")).status_code == 200
        assert (await acme.read(f"/messages?recipient={ANN}"))["items"] == []
        assert await erase(acme) == {"erased": 0, "sending": 0, "uncertain": 0}


async def test_nothing_more_is_sent_to_them(start: Start, server: SmtpServer) -> None:
    """The others still get theirs, and its content goes once they have."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port)
    await acme("POST", "/profiles/main/pause")
    alone, both = await acme.send(ANN), await acme.send([ANN, BOB])
    assert (await erase(acme))["erased"] == 2
    assert await statuses(acme, alone) == [(None, "cancelled")]
    assert await statuses(acme, both) == [(None, "cancelled"), (BOB, "queued")]
    message = await acme.read(f"/messages/{both}")
    assert message["content_wiped_at"] is None
    await acme("POST", "/profiles/main/resume")
    final = await acme.message(both, status="partially_sent")
    assert final["content_wiped_at"] is not None
    assert [message.recipients for message in server.messages] == [[BOB]]


async def test_who_may_have_a_message_is_first_to_be_decided_on(heloise: Heloise) -> None:
    """Until then it is not known whom to forget: the answer counts them."""
    async with SmtpServer({"dot": [DISCONNECT]}) as server:
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        message = await acme.send(ANN, guarantee="at_most_once")
        await acme.message(message, status="held")
        assert await erase(acme) == {"erased": 0, "sending": 0, "uncertain": 1}
        await acme("POST", f"/messages/{message}/resolve", {"as": "sent"})
        assert await erase(acme) == {"erased": 1, "sending": 0, "uncertain": 0}


async def test_what_is_being_sent_is_left(heloise: Heloise) -> None:
    """It cannot be taken back; asked again afterwards, it is forgotten too."""
    async with SmtpServer() as server:
        gate = server.gates["dot"] = asyncio.Event()
        acme = await heloise.tenant()
        await acme.profile("main", server.port)
        message = await acme.send(ANN)
        await acme.message(message, status="sending")
        assert await erase(acme) == {"erased": 0, "sending": 1, "uncertain": 0}
        gate.set()
        await acme.message(message, status="sent")
        assert (await erase(acme))["erased"] == 1


async def test_it_is_the_tenants_own_alone(heloise: Heloise, server: SmtpServer) -> None:
    """Another's messages to the same person are another's; a key bound to a profile may not."""
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    profile = await acme.profile("main", server.port)
    await other.profile("main", server.port)
    theirs = await other.message(await other.send(ANN), status="sent")
    await erase(acme)
    assert await other.read(f"/messages/{theirs['id']}") == theirs
    body = {"name": "bound", "scopes": ["messages:manage"], "profiles": [profile["id"]]}
    key = await heloise.admin.made(f"/tenants/{acme.tenant_id}/keys", body)
    answer = await acme(
        "DELETE", f"/recipients/{ANN}", headers={"Authorization": f"Bearer {key['key']}"}
    )
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/key-is-bound")


async def test_it_is_written_down_without_the_address(heloise: Heloise) -> None:
    """Who asked for it and how many it was about, not whom."""
    acme = await heloise.tenant()
    await erase(acme)
    entry = (await acme.read("/audit-log?action=recipient.erase"))["items"][0]
    assert entry["object_id"] == "a***@example.org"
    assert entry["changes"]["erased"] == {"before": None, "after": 0}
