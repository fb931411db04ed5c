"""Addresses in any script (RFC 6531): taken, read back, and found however they are written."""

from urllib.parse import quote

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Api, Caller, without_waiting
from tests.support.uncertain_message import held_message

KEPT = "änne@xn--bcher-kva.example"
WRITTEN = ["änne@bücher.example", "a\u0308nne@xn--bcher-kva.example", "änne@BÜCHER.example", KEPT]


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A tenant with one profile."""
    await acme.made("/profiles", PROFILE)
    return acme


async def test_an_address_in_another_script_reads_back(sender: Caller) -> None:
    """Composed, its domain as A-label; in to, cc, bcc, reply_to and from."""
    ways = {field: [WRITTEN[0]] for field in ("to", "reply_to")} | {"bcc": ["用户@example.org"]}
    message = await sender.made(
        "/messages", MESSAGE | ways | {"from": "Änne <a\u0308@example.com>"}
    )
    assert [recipient["address"] for recipient in message["recipients"]] == [
        KEPT,
        "用户@example.org",
    ]
    assert message["from"] == "Änne <ä@example.com>"
    assert without_waiting(await sender.read(f"/messages/{message['id']}")) == message


async def test_the_bytes_hold_it_as_it_is(sender: Caller) -> None:
    """In UTF-8 (RFC 6532)."""
    message = await sender.made("/messages", MESSAGE | {"to": [KEPT]})
    raw = await sender("GET", f"/messages/{message['id']}/raw")
    assert f"\r\nTo: {KEPT}\r\n".encode() in raw.content


@pytest.mark.parametrize("written", WRITTEN)
async def test_a_recipient_is_found_however_written(sender: Caller, written: str) -> None:
    """With the domain in its own script or as A-label, composed or not."""
    message = await sender.made("/messages", MESSAGE | {"to": [KEPT]})
    await sender.made("/messages", MESSAGE)
    page = await sender.read(f"/messages?recipient={quote(written)}")
    assert [item["id"] for item in page["items"]] == [message["id"]]


async def test_an_uncertain_recipient_is_resolved_however_written(api: Api, sender: Caller) -> None:
    """As above."""
    held = await held_message(api, sender, KEPT)
    answer = await sender(
        "POST", f"/messages/{held}/resolve", {"recipients": [WRITTEN[1]], "as": "sent"}
    )
    assert answer.json()["status"] == "sent"


async def test_a_profile_may_send_as_an_address_in_another_script(sender: Caller) -> None:
    """By its `allowed_from`, in any letter case and form."""
    own = {"allowed_from": ["Ä@example.com"], "default_from": "ä@example.com"}
    profile = await sender.made("/profiles", PROFILE | own | {"name": "own", "is_default": True})
    assert (profile["allowed_from"], profile["default_from"]) == (
        ["ä@example.com"],
        "ä@example.com",
    )
    await sender.made("/messages", MESSAGE | {"from": "a\u0308@example.com"})
    refusal = await sender("POST", "/messages", MESSAGE | {"from": "a@example.com"})
    assert refusal.status_code == 403
