"""An installation or a tenant for tests reaches nobody who is real, whatever its database holds."""

from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant
from tests.support.processes.ports import unused_port
from tests.support.servers.smtp_server import SmtpServer

ANN: Final = "ann@example.org"
STAGING: Final = "staging@example.com"
SIMULATOR: Final = "simulator.heloise.test"


async def recipients(tenant: Tenant, message: str, status: str = "sent") -> list[Any]:
    """The recipients of a message once it has a status."""
    items: list[Any] = (await tenant.message(message, status=status))["recipients"]
    return items


@pytest.mark.one_database
async def test_all_goes_to_one_address(heloise: Heloise, server: SmtpServer) -> None:
    """Once, however many it was for; each says where it went. The message itself is as it was."""
    acme = await heloise.tenant(redirect_all_to=STAGING)
    await acme.profile("main", server.port)
    message = await acme.send([ANN, "bob@example.net"], bcc=["eve@example.com"])
    assert [
        (recipient["address"], recipient["sent_to"])
        for recipient in await recipients(acme, message)
    ] == [
        (ANN, STAGING),
        ("bob@example.net", STAGING),
        ("eve@example.com", STAGING),
    ]
    [received] = server.messages
    assert received.recipients == [STAGING]
    assert b"To: ann@example.org,\r\n bob@example.net\r\n" in received.data
    [attempt] = await acme.attempts(message)
    assert [recipient["address"] for recipient in attempt["recipients"]] == [STAGING]


@pytest.mark.one_database
async def test_some_domains_get_theirs(heloise: Heloise, server: SmtpServer) -> None:
    """And all else goes to the one address."""
    acme = await heloise.tenant(
        redirect_all_to=STAGING, allowed_recipient_domains=["example.org", "*.test.example"]
    )
    await acme.profile("main", server.port)
    to = [ANN, "bob@Mail.Test.Example", "carol@test.example", "dave@example.net"]
    message = await acme.send(to)
    assert [recipient["sent_to"] for recipient in await recipients(acme, message)] == [
        None,
        None,
        STAGING,
        STAGING,
    ]
    assert sorted(server.messages[0].recipients) == sorted(
        [*to[:1], "bob@mail.test.example", STAGING]
    )


@pytest.mark.one_database
async def test_without_one_others_are_refused(heloise: Heloise, server: SmtpServer) -> None:
    """As a whole, and the answer says whom and what to do."""
    acme = await heloise.tenant(allowed_recipient_domains=["example.org"])
    await acme.profile("main", server.port)
    body = {"to": [ANN, "dave@example.net"], "subject": "Hello", "text": "It works."}
    answer = await acme("POST", "/messages", body)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/recipient-not-allowed")
    assert "the tenant or the service allows only example.org" in answer.json()["detail"]
    assert (await acme.read("/messages"))["items"] == []
    await acme.message(await acme.send(ANN), status="sent")


@pytest.mark.one_database
async def test_the_services_rule_holds_for_every_tenant(start: Start, server: SmtpServer) -> None:
    """After the tenant's own, which cannot lead around it."""
    heloise = await start(
        redirect_all_to="ops@example.com", allowed_recipient_domains="example.org,example.edu"
    )
    acme = await heloise.tenant("acme", redirect_all_to=STAGING)
    other = await heloise.tenant("other")
    for tenant in (acme, other):
        await tenant.profile("main", server.port)
    [mine] = await recipients(acme, await acme.send(ANN))
    [theirs] = await recipients(other, await other.send(ANN))
    [outside] = await recipients(other, await other.send("dave@example.net"))
    assert [recipient["sent_to"] for recipient in (mine, theirs, outside)] == [
        "ops@example.com",
        None,
        "ops@example.com",
    ]


async def test_what_was_accepted_before_is_redirected_too(start: Start, server: SmtpServer) -> None:
    """A copy of another installation's database sends nothing to those whom it is for."""
    real = await start(delivery=False)
    acme = await real.tenant()
    await acme.profile("main", server.port)
    waiting = await acme.send(ANN)
    await start(redirect_all_to=STAGING)
    [recipient] = await recipients(acme, waiting)
    assert recipient["sent_to"] == STAGING
    assert [message.recipients for message in server.messages] == [[STAGING]]


async def test_what_was_accepted_before_may_be_for_nobody(start: Start, server: SmtpServer) -> None:
    """Then it bounces, and says why; no server hears of it."""
    acme = await (await start(delivery=False)).tenant()
    await acme.profile("main", server.port)
    waiting = await acme.send(ANN)
    await start(allowed_recipient_domains="example.com")
    [recipient] = await recipients(acme, waiting, "failed")
    assert recipient["last_reply"]["classification"] == "recipient_not_allowed"
    [attempt] = await acme.attempts(waiting)
    assert "allowed_recipient_domains" in attempt["detail"]
    assert server.sessions == []


@pytest.mark.one_database
async def test_a_change_holds_for_the_next_transmission(
    heloise: Heloise, server: SmtpServer
) -> None:
    """Of a tenant whose profile has a warm connection, too."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await acme.message(await acme.send(ANN), status="sent")
    changed = await heloise.admin(
        "PATCH", f"/tenants/{acme.tenant_id}", {"redirect_all_to": STAGING}
    )
    assert changed.json()["redirect_all_to"] == STAGING
    [recipient] = await recipients(acme, await acme.send(ANN))
    assert recipient["sent_to"] == STAGING


@pytest.mark.one_database
@pytest.mark.parametrize("guarantee", ["at_least_once", "at_most_once"])
async def test_the_simulator_goes_every_way(start: Start, guarantee: str) -> None:
    """Through the whole pipeline, and to no server: there is none at the profile's port."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", unused_port())
    names = ("success", "bounce+tag", "defer", "uncertain", "nobody")
    message = await acme.send([f"{name}@{SIMULATOR}" for name in names], guarantee=guarantee)
    is_once = guarantee == "at_most_once"
    first = {
        "success": ("sent", "simulated"),
        "bounce+tag": ("bounced", "recipient_rejected"),
        "defer": ("deferred", "recipient_deferred"),
        "uncertain": ("uncertain" if is_once else "deferred", "outcome_unknown"),
        "nobody": ("bounced", "recipient_rejected"),
    }
    for name, (status, classification) in first.items():
        recipient = await acme.recipient(message, f"{name}@{SIMULATOR}", status=status)
        assert recipient["last_reply"]["classification"] == classification
    await clock.advance(minutes=10)
    await acme.recipient(message, f"defer@{SIMULATOR}", status="sent")
    if is_once:
        await acme.message(message, status="held")
        await acme("POST", f"/messages/{message}/resolve", {"as": "retry"})
    await acme.message(message, status="partially_sent")
    assert (await acme.read("/profiles/main"))["state"] == "active"


@pytest.mark.one_database
async def test_the_simulator_stands_beside_a_server(start: Start, server: SmtpServer) -> None:
    """In one message, and where all else is redirected."""
    acme = await (await start(redirect_all_to=STAGING)).tenant()
    await acme.profile("main", server.port)
    message = await acme.send([ANN, f"bounce@{SIMULATOR}", f"success@{SIMULATOR}"])
    states = await recipients(acme, message, "partially_sent")
    assert [(recipient["status"], recipient["sent_to"]) for recipient in states] == [
        ("sent", STAGING),
        ("bounced", None),
        ("sent", None),
    ]
    assert [mail.recipients for mail in server.messages] == [[STAGING]]


@pytest.mark.one_database
async def test_a_simulated_message_heals_no_profile(start: Start) -> None:
    """What was not asked of its server says nothing about it."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    port = unused_port()
    await acme.profile("main", port)
    first = await acme.send(f"success@{SIMULATOR}")
    await acme.message(first, status="sent")
    await acme.send(ANN)
    await acme.state("main", "failing")
    waiting = await acme.send(f"success@{SIMULATOR}", priority="high")
    await clock.advance(minutes=30)
    await acme.message(waiting, status="sent")
    assert (await acme.read("/profiles/main"))["state"] == "failing"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("redirect_all_to", "nobody"),
        ("redirect_all_to", "a@b.example\r\nRCPT TO:<x@y>"),
        ("allowed_recipient_domains", ["*"]),
        ("allowed_recipient_domains", ["user@example.com"]),
        ("allowed_recipient_domains", ["a.*.example"]),
        ("retention", {"content_days": 0}),
        ("retention", {"content_days": True}),
        ("retention", {"contents": 5}),
    ],
)
async def test_a_wrong_rule_is_refused(heloise: Heloise, field: str, value: object) -> None:
    """With the field it stands in."""
    answer = await heloise.admin("POST", "/tenants", {"slug": "acme", field: value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["body", field]
