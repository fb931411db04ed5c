"""Both clients against a running service."""

import json
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import pytest

from clients.python.tests.conftest import Service
from heloise_client import ApiError, AsyncHeloise, Heloise, attach_bytes, attach_file
from tests.support.waiting import until

ANN: Final = "ann@example.org"


async def _sent(client: AsyncHeloise, message_id: str) -> bool | None:
    return (await client.get_message(message_id))["status"] == "sent" or None


async def test_a_message_from_sending_to_its_end(service: Service) -> None:
    """Sent, read, listed; its attempts and events are there."""
    async with service.async_client() as client:
        sent = await client.send_message(
            {
                "to": [ANN],
                "from": "billing@mail.dev.example",
                "subject": "Hi",
                "text": "x",
                "tags": ["live"],
            }
        )
        assert (sent["status"], sent["from"]) == ("queued", "billing@mail.dev.example")
        await until(lambda: _sent(client, sent["id"]))
        listing = client.list_messages(tag="live")
        assert [message["id"] async for message in listing] == [sent["id"]]
        attempts = await client.list_attempts(sent["id"]).page()
        assert [attempt["verdict"] for attempt in attempts["items"]] == ["delivered"]
        history = [event["type"] async for event in client.list_events(message=sent["id"])]
        assert history == ["message.queued", "recipient.sent", "message.sent"]


def test_a_batch_has_a_result_for_each_message(heloise: Heloise) -> None:
    """An invalid message has a problem, and does not harm the others."""
    results = heloise.send_batch(
        {"messages": [{"to": [ANN], "text": "1"}, {}, {"to": [ANN], "text": "2"}]}
    )["results"]
    assert [result["status"] for result in results] == [202, 422, 202]
    assert results[1]["problem"] is not None
    assert results[1]["problem"]["type"] == "/problems/invalid-request"


def test_a_list_is_read_page_by_page(heloise: Heloise) -> None:
    """Iteration reads all pages; `page` one."""
    for number in range(5):
        heloise.create_suppression({"address": f"{number}@example.net", "tag": "pages"})
    listing = heloise.list_suppressions(tag="pages", limit=2)
    addresses = [suppression["address"] for suppression in listing]
    assert addresses == [f"{number}@example.net" for number in (4, 3, 2, 1, 0)]
    assert list(listing) == list(listing)
    first = listing.page()
    second = heloise.list_suppressions(tag="pages", limit=2, cursor=first["next_cursor"]).page()
    listed_addresses = [item["address"] for item in first["items"] + second["items"]]
    assert listed_addresses == addresses[:4]


def test_each_kind_of_body_and_answer(heloise: Heloise, tmp_path: Path) -> None:
    """JSON Lines, CSV, a raw message, plain text, and nothing."""
    lines = "".join(json.dumps({"to": [ANN], "text": f"{n}", "tags": ["up"]}) + "\n" for n in "ab")
    report = heloise.upload_messages(lines.encode()).splitlines()
    assert json.loads(report[-1])
    exported = [json.loads(line) for line in heloise.export_messages(tag="up", format="jsonl")]
    assert len(exported) == 2
    imported = heloise.import_suppressions(b"address,tag\neve@example.com,csv\n")
    assert imported["created"] == 1
    assert any("eve@example.com" in line for line in heloise.export_suppressions())
    raw = EmailMessage()
    raw["From"], raw["To"] = "billing@mail.dev.example", ANN
    raw["Subject"], raw["Date"] = "Raw", "Thu, 15 Jan 2026 09:30:00 +0000"
    raw["Message-ID"] = "<raw@mail.dev.example>"
    raw.set_content("It works.")
    sent = heloise.send_raw_message(raw.as_bytes(), to=[ANN, "bob@example.org"], tag=["raw"])
    assert [recipient["address"] for recipient in sent["recipients"]] == [ANN, "bob@example.org"]
    file = tmp_path / "receipt.pdf"
    file.write_bytes(b"%PDF-1.7")
    message = heloise.send_message(
        {
            "to": [ANN],
            "html": '<img src="cid:logo">',
            "attachments": [attach_file(file), attach_bytes(b"PNG", "a.png", content_id="logo")],
        }
    )
    content = heloise.get_raw_message(message["id"])
    assert b'filename="receipt.pdf"' in content
    assert b"<logo>" in content
    assert "heloise_" in heloise.get_metrics()
    assert heloise.get_health() == {"status": "ok"}
    [suppression] = heloise.list_suppressions(address="eve@example.com")
    heloise.delete_suppression(suppression["id"])
    assert heloise.list_suppressions(address="eve@example.com").page()["items"] == []


def test_times_may_be_datetimes(heloise: Heloise) -> None:
    """In bodies and in queries."""
    now = heloise.send_message({"to": [ANN], "text": "x", "tags": ["times"]})["created_at"]
    moment = datetime.fromisoformat(now)
    later = moment + timedelta(hours=1)
    scheduled = heloise.send_message(
        {"to": [ANN], "text": "x", "tags": ["times"], "send_at": later}
    )
    assert scheduled["status"] == "scheduled"
    listed = heloise.list_messages(tag="times", created_after=moment + timedelta(microseconds=1))
    assert [message["id"] for message in listed] == [scheduled["id"]]
    assert heloise.cancel_message(scheduled["id"])["status"] == "cancelled"


async def test_events_arrive_live(service: Service) -> None:
    """After a cursor, and from where an earlier stream ended."""
    async with service.async_client() as client:
        cursor = (await client.list_events(limit=200).page())["next_cursor"]
        while (page := await client.list_events(limit=200, cursor=cursor).page())["items"]:
            cursor = page["next_cursor"]
        for _ in range(2):
            sent = await client.send_message({"to": [ANN], "text": "x"})
            stream = client.stream_events(type=["message.queued"], cursor=cursor)
            event = await anext(aiter(stream))
            assert event["data"]["message"] is not None
            assert event["data"]["message"]["id"] == sent["id"]
            assert stream.cursor is not None
            cursor = stream.cursor


def test_an_admin_manages_tenants_and_acts_for_them(service: Service) -> None:
    """Its key needs a name for what belongs to a tenant."""
    with service.admin() as admin:
        admin.create_tenant({"slug": "umbrella"})
        key = admin.create_key("umbrella", {"name": "app", "scopes": ["messages:read"]})
        with pytest.raises(ApiError, match="Heloise-Tenant"):
            admin.get_usage()
    with service.admin("umbrella") as acting:
        assert list(acting.list_messages()) == []
        assert [own["id"] for own in acting.list_own_keys()] == [key["id"]]
    with Heloise(service.url, key["key"]) as bound, pytest.raises(ApiError) as excinfo:
        bound.send_message({"to": [ANN], "text": "x"})
    assert (excinfo.value.status, excinfo.value.slug) == (403, "scope-missing")


def test_what_the_service_refuses_is_said(heloise: Heloise) -> None:
    """With the problem's name, its words and its fields."""
    with pytest.raises(ApiError) as excinfo:
        heloise.send_message({"to": ["nonsense"], "text": "x"})
    assert (excinfo.value.status, excinfo.value.slug) == (422, "invalid-request")
    assert excinfo.value.errors[0]["loc"] == ["body", "to", 0]
    with pytest.raises(ApiError, match="There is no message"):
        heloise.get_message("msg_1")
