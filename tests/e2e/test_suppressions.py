"""Whom a tenant suppresses is never contacted, by whatever way a message would go to them."""

from email import message_from_bytes, policy
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.e2e.conftest import Start
from tests.support.api_client import bearer
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant
from tests.support.servers.smtp_server import SmtpServer

ANN: Final = "ann@example.org"
BOB: Final = "bob@example.org"


async def statuses(tenant: Tenant, message: str, status: str) -> list[str]:
    """Where each recipient of a message stands once it has a status."""
    body = await tenant.message(message, status=status)
    return [recipient["status"] for recipient in body["recipients"]]


async def suppress(tenant: Tenant, address: str = ANN, **fields: Any) -> Any:
    """Suppress an address."""
    return await tenant.made("/suppressions", {"address": address, **fields})


async def test_at_acceptance(heloise: Heloise, server: SmtpServer) -> None:
    """In any letter case; the others get theirs, and who is alone ends the message."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await acme.message(await acme.send(BOB), status="sent")  # its lane is warm
    await suppress(acme, "Ann@Example.org")
    both, alone = await acme.send(["ANN@example.org", BOB]), await acme.send(ANN)
    assert await statuses(acme, both, "partially_sent") == ["suppressed", "sent"]
    assert await statuses(acme, alone, "failed") == ["suppressed"]
    [recipient] = (await acme.read(f"/messages/{alone}"))["recipients"]
    assert recipient["last_reply"]["classification"] == "suppressed"
    assert recipient["attempts"] == 0
    assert await acme.attempts(alone) == []
    assert [message.recipients for message in server.messages] == [[BOB], [BOB]]


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
    await suppress(acme)
    await acme("POST", "/profiles/main/resume")
    await clock.advance(hours=1)
    assert await statuses(acme, waiting, "partially_sent") == ["suppressed", "sent"]
    assert await statuses(acme, deferred, "failed") == ["suppressed"]
    assert [message.recipients for message in server.messages] == [[BOB]]


async def test_for_a_tag_alone(heloise: Heloise, server: SmtpServer) -> None:
    """No newsletter, but receipts."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await suppress(acme, tag="newsletter", reason="unsubscribe")
    newsletter = await acme.send(ANN, tags=["january", "newsletter"])
    receipt = await acme.send(ANN, tags=["receipt"])
    plain = await acme.send(ANN)
    assert await statuses(acme, newsletter, "failed") == ["suppressed"]
    await acme.all_sent((receipt, plain))


@pytest.mark.parametrize("pattern", ["*@Example.org", "*.ORG"])
async def test_a_pattern_at_acceptance(heloise: Heloise, server: SmtpServer, pattern: str) -> None:
    """By every way a message comes in; addresses that it does not cover get their message."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    await suppress(acme, pattern)
    other = "ann@example.org.uk"
    single = await acme.send([ANN, other])
    body = {"to": [ANN, other], "subject": "Hi", "text": "Hi"}
    batch = (await acme("POST", "/messages/batch", {"messages": [body]})).json()
    raw = await acme(
        "POST",
        f"/messages/raw?to={ANN}&to={other}",
        content=b"From: billing@example.com\r\n\r\nHi\r\n",
        headers={"Content-Type": "message/rfc822"},
    )
    assert raw.status_code == 202, raw.text
    for message in (single, batch["results"][0]["message"]["id"], raw.json()["id"]):
        assert await statuses(acme, message, "partially_sent") == ["suppressed", "sent"]
    assert [message.recipients for message in server.messages] == [[other]] * 3
    groups = (await acme.read("/stats?by=domain"))["groups"]
    counts = {group["key"]: group["statuses"]["suppressed"] for group in groups}
    assert counts == {"example.org": 3, "example.org.uk": 0}


async def test_a_pattern_at_delivery(start: Start, server: SmtpServer) -> None:
    """A pattern holds for messages that were accepted before it, too, and by tag."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    await acme.profile("main", server.port)
    await acme("POST", "/profiles/main/pause")
    deep, apex = "ann@mail.eu.example.net", "ann@example.net"
    waiting = await acme.send([deep, apex, ANN], tags=["news"])
    receipt = await acme.send(ANN)
    await suppress(acme, "*.example.net")
    await suppress(acme, "*@example.org", tag="news")
    await acme("POST", "/profiles/main/resume")
    assert await statuses(acme, waiting, "partially_sent") == ["suppressed", "sent", "suppressed"]
    await acme.message(receipt, status="sent")
    [event] = [
        event
        for event in (await acme.read(f"/events?message={waiting}&type=recipient.suppressed"))[
            "items"
        ]
        if event["data"]["recipient"]["address"] == deep
    ]
    assert event["data"]["recipient"]["status"] == "suppressed"


async def test_what_covers_an_address_is_listed(heloise: Heloise) -> None:
    """Its own suppression and patterns, with their tags; another tenant's are not."""
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    await suppress(other, "*.com")
    address = await suppress(acme, "user@a.b.example.com")
    domain = await suppress(acme, "*@a.b.example.com", tag="news")
    above = await suppress(acme, "*.example.com")
    for elsewhere in ("*@b.example.com", "*.a.b.example.com", "*@example.com"):
        await suppress(acme, elsewhere)

    async def list_items(query: str) -> list[Any]:
        items: list[Any] = (await acme.read(f"/suppressions?{query}"))["items"]
        return items

    assert await list_items("recipient=USER@A.B.example.com") == [above, domain, address]
    assert await list_items("recipient=user@a.b.example.com&tag=news") == [domain]
    assert await list_items("recipient=bob@example.com&reason=manual") == await list_items(
        "address=*@EXAMPLE.com"
    )
    assert await list_items("address=*.example.com") == [above]
    assert await list_items("address=user@a.b.example.com") == [address]
    assert await list_items("recipient=user@example.org") == []
    second = await acme("POST", "/suppressions", {"address": "*.EXAMPLE.com"})
    assert (second.status_code, second.json()["type"]) == (409, "/problems/suppression-exists")
    created = await acme("POST", "/suppressions", {"address": "ann+x@example.org"})
    assert await list_items(created.headers["Location"].partition("?")[2]) == [created.json()]


async def test_a_bounce_never_suppresses_a_domain(heloise: Heloise, server: SmtpServer) -> None:
    """Nor does a complaint: the mailbox `*` of a domain is that mailbox, and keeps its quotes."""
    acme = await heloise.tenant(suppresses_hard_bounces=True)
    await acme.profile("main", server.port)
    server.script["rcpt"] = [HARD, None]
    await acme.message(await acme.send("*@example.org"), status="failed")
    complained = await acme.message(await acme.send("*@example.com"), status="sent")
    header = complained["message_id_header"]
    report = MIME_COMPLAINT.format(message_id_header=header).replace("\n", "\r\n").encode()
    answer = await acme(
        "POST", "/inbound/bounces", content=report, headers={"Content-Type": "message/rfc822"}
    )
    assert answer.json()["recipients"][0]["suppressed"], answer.text
    items = (await acme.read("/suppressions"))["items"]
    assert [(item["address"], item["reason"]) for item in items] == [
        ('"*"@example.com', "complaint"),
        ('"*"@example.org', "hard_bounce"),
    ]
    await acme.message(await acme.send([ANN, "ann@example.com"]), status="sent")
    assert await statuses(acme, await acme.send("*@example.org"), "failed") == ["suppressed"]
    [item] = (await acme.read("/suppressions?recipient=*@example.org"))["items"]
    assert item["address"] == '"*"@example.org'


MIME_COMPLAINT: Final = """\
From: <abuse@example.com>
Subject: Complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

A complaint.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Test/1
Version: 1

--b
Content-Type: message/rfc822

Message-ID: {message_id_header}
From: billing@example.com

Hi
--b--
"""


async def test_an_erased_recipient_stays_suppressed_by_a_pattern(
    heloise: Heloise, server: SmtpServer
) -> None:
    """A pattern names nobody, so nothing of it is erased, nor of the audit log's entry."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    pattern = await suppress(acme, "*@example.org", detail="left, with ann@example.org")
    message = await acme.send([ANN, "bob@example.net"])
    await acme.message(message, status="partially_sent")
    assert (await acme("DELETE", f"/recipients/{ANN}")).status_code in {200, 202, 204}
    [after] = (await acme.read(f"/suppressions?recipient={ANN}"))["items"]
    assert (after["id"], after["address"]) == (pattern["id"], "*@example.org")
    assert "ann@" not in after["detail"]
    entry = (await acme.read("/audit-log?action=suppression.create"))["items"][0]
    assert entry["changes"]["address"]["after"] == "*@example.org"
    assert await statuses(acme, await acme.send(ANN), "failed") == ["suppressed"]


async def test_it_is_the_tenants_own(heloise: Heloise, server: SmtpServer) -> None:
    """Another sends to the same address, and neither sees nor takes away what is not its own."""
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    suppression = await suppress(acme)
    await other.profile("main", server.port)
    await other.message(await other.send(ANN), status="sent")
    assert (await other.read("/suppressions"))["items"] == []
    answer = await other("DELETE", f"/suppressions/{suppression['id']}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/suppression-not-found")


@pytest.mark.one_database
async def test_taken_away_it_is_sent_to_again(heloise: Heloise, server: SmtpServer) -> None:
    """From the next message on; that is written down, by whom and why it had been."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    suppression = await suppress(acme, reason="complaint", detail="by phone")
    second = await acme("POST", "/suppressions", {"address": ANN})
    assert (second.status_code, second.json()["type"]) == (409, "/problems/suppression-exists")
    assert (await acme("DELETE", f"/suppressions/{suppression['id']}")).status_code == 204
    await acme.message(await acme.send(ANN), status="sent")
    entry = (await acme.read("/audit-log?action=suppression.delete"))["items"][0]
    assert entry["object_id"] == suppression["id"]
    assert entry["changes"]["reason"] == {"before": "complaint", "after": None}


async def test_they_are_listed(heloise: Heloise) -> None:
    """By address, reason and tag; page by page."""
    acme = await heloise.tenant()
    one = await suppress(acme)
    two = await suppress(acme, tag="newsletter", reason="unsubscribe")
    three = await suppress(acme, BOB, reason="complaint")

    async def list_items(query: str) -> list[Any]:
        items: list[Any] = (await acme.read(f"/suppressions?{query}"))["items"]
        return items

    assert await list_items("") == [three, two, one]
    assert await list_items("address=ANN@example.org") == [two, one]
    assert await list_items("reason=complaint") == [three]
    assert await list_items("tag=newsletter") == [two]
    first = await acme.read("/suppressions?limit=2")
    assert first["items"] == [three, two]
    assert await list_items(f"limit=2&cursor={first['next_cursor']}") == [one]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"address": "ann"}, ["address"]),
        ({"address": "Ann <ann@example.org>"}, ["address"]),
        ({"address": "*"}, ["address"]),
        ({"address": "foo*@example.org"}, ["address"]),
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


@pytest.mark.one_database
async def test_a_key_that_is_bound_changes_none(heloise: Heloise) -> None:
    """They hold for all of the tenant's profiles."""
    acme = await heloise.tenant()
    profile = await acme.profile("main", 25)
    body = {"name": "x", "scopes": ["suppressions:manage"], "profiles": [profile["id"]]}
    key = (await heloise.admin.made(f"/tenants/{acme.tenant_id}/keys", body))["key"]
    answer = await acme("POST", "/suppressions", {"address": ANN}, headers=bearer(key))
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/key-is-bound")


HARD: Final = "550 5.1.1 No such user"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("reply", "then"),
    [
        (HARD, "suppressed"),
        ("550 5.2.1 Disabled", "suppressed"),
        ("556 5.1.10 No mail here", "suppressed"),
        ("550 5.7.1 Not from you", "sent"),
        ("552 5.2.2 Full", "sent"),
        ("550 No such user", "sent"),
    ],
)
async def test_by_a_hard_bounce(
    heloise: Heloise, server: SmtpServer, reply: str, then: str
) -> None:
    """Where the server says that there is nobody, and the tenant wants that."""
    acme = await heloise.tenant(suppresses_hard_bounces=True)
    await acme.profile("main", server.port)
    server.script["rcpt"] = [reply, None]
    await acme.message(await acme.send(["Ann@example.org", BOB]), status="partially_sent")
    suppressions = [
        (e["address"], e["reason"]) for e in (await acme.read("/suppressions"))["items"]
    ]
    assert suppressions == ([(ANN, "hard_bounce")] if then == "suppressed" else [])
    await acme.recipient(await acme.send(ANN), ANN, status=then)


@pytest.mark.one_database
async def test_by_a_hard_bounce_where_nobody_wants_that(
    heloise: Heloise, server: SmtpServer
) -> None:
    """Nor are those suppressed who were never asked for at their server."""
    acme = await heloise.tenant("acme")
    other = await heloise.tenant("other", suppresses_hard_bounces=True)
    await acme.profile("main", server.port)
    await other.profile("main", server.port)
    server.script["rcpt"] = [HARD]
    await acme.message(await acme.send(ANN), status="failed")
    simulated = "bounce@simulator.heloise.test"
    await other.message(await other.send(simulated), status="failed")
    for tenant in (acme, other):
        assert (await tenant.read("/suppressions"))["items"] == []


async def import_file(tenant: Tenant, content: str | bytes) -> Any:
    """The answer to a file of suppressions."""
    return await tenant(
        "POST", "/suppressions/import", content=content, headers={"Content-Type": "text/csv"}
    )


async def test_in_files(heloise: Heloise) -> None:
    """What is exported can be imported elsewhere; what is wrong is told by its line."""
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    await suppress(acme, "bob@example.org", reason="complaint")
    await suppress(acme, "zoe@example.org", detail="'=1+1")
    lines = [
        "\ufeffDetail,Address,Tag",
        '"said, ""no""",Ann@Example.org,newsletter',
        ",nonsense,",
        ",bob@example.org,",
        "=1+1,+eve@example.org,",
        ",*@Bücher.example,",
        'the mailbox,"""*""@example.net",',
    ]
    answer = await import_file(acme, "\r\n".join(lines))
    assert answer.status_code == 200, answer.text
    [error] = answer.json().pop("errors")
    assert (error["line"], error["msg"].startswith("address: ")) == (3, True)
    counts = {name: answer.json()[name] for name in ("created", "existing", "invalid")}
    assert counts == {"created": 4, "existing": 1, "invalid": 1}
    exported = await acme("GET", "/suppressions/export")
    assert exported.headers["content-type"].startswith("text/csv")
    assert "'+eve@example.org" in exported.text  # or a spreadsheet would reckon
    assert (await import_file(other, exported.content)).json()["created"] == 6
    field_names = ("address", "tag", "reason", "detail")
    lists = [
        {
            tuple(item[name] for name in field_names)
            for item in (await t.read("/suppressions"))["items"]
        }
        for t in (acme, other)
    ]
    assert lists[0] == lists[1]
    assert ("ann@example.org", "newsletter", "manual", 'said, "no"') in lists[0]
    addresses = {address for address, *_ in lists[0]}
    assert addresses >= {"*@xn--bcher-kva.example", '"*"@example.net'}
    assert (await import_file(acme, "name\r\nx")).status_code == 422
    assert (await import_file(acme, b"address\r\n\xff")).status_code == 422
    assert (await acme("POST", "/suppressions/import", {"address": ANN})).status_code == 415


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("mailto", "tag"),
    [("leave@example.com", None), ("leave@example.com?subject=unsubscribe%20news", "news")],
)
async def test_who_leaves_by_the_header_that_was_sent_is_not_written_to_again(
    heloise: Heloise, server: SmtpServer, mailto: str, tag: str | None
) -> None:
    """From the header that the recipient got, through the mail that a program makes of it."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    way = {"mailto": mailto}
    await acme.message(await acme.send(ANN, list_unsubscribe=way, tags=["news"]), status="sent")
    header = message_from_bytes(server.messages[0].data, policy=policy.default)
    uri = urlsplit(header["List-Unsubscribe"].strip("<> "))
    [subject] = parse_qs(uri.query)["subject"]
    mail = f"From: {ANN}\r\nTo: {uri.path}\r\nSubject: {subject}\r\n\r\n"
    headers = {"Content-Type": "message/rfc822"}
    answer = await acme("POST", "/inbound/bounces", content=mail.encode(), headers=headers)
    assert answer.json()["recipients"][0]["suppressed"], answer.text
    assert await statuses(acme, await acme.send(ANN, tags=["news"]), "failed") == ["suppressed"]
    status = "failed" if tag is None else "sent"
    await acme.message(await acme.send(ANN, tags=["other"]), status=status)
