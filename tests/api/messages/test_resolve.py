"""/messages/{message}/resolve: somebody finds out what became of an uncertain message."""

from typing import Any

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Api, Caller
from tests.support.uncertain_message import held_message

ANN, BOB = "ann@example.org", "bob@example.org"


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A tenant with one profile."""
    await acme.made("/profiles", PROFILE)
    return acme


async def test_a_held_message_is_listed_as_such(api: Api, sender: Caller) -> None:
    """By its status, with its recipients uncertain (invariant 5)."""
    message = await held_message(api, sender)
    await sender.made("/messages", MESSAGE)
    [held] = (await sender.read("/messages?status=held"))["items"]
    assert (held["id"], held["finished_at"]) == (message, None)
    assert held["recipients"][0]["status"] == "uncertain"


@pytest.mark.parametrize(
    ("resolution", "recipient", "message"),
    [("sent", "sent", "sent"), ("bounced", "bounced", "failed"), ("retry", "queued", "queued")],
)
async def test_what_is_said_is_what_is_written(
    api: Api, sender: Caller, resolution: str, recipient: str, message: str
) -> None:
    """`sent`, `bounced`, or once more into the queue."""
    held = await held_message(api, sender)
    answer = await sender("POST", f"/messages/{held}/resolve", {"as": resolution})
    after = answer.json()
    assert answer.status_code == 200
    assert (after["recipients"][0]["status"], after["status"]) == (recipient, message)
    assert await sender.read(f"/messages/{held}") == after


async def test_recipients_are_resolved_one_by_one(api: Api, sender: Caller) -> None:
    """In any letter case; the message is held until the last one is."""
    held = await held_message(api, sender, ANN, BOB)
    path = f"/messages/{held}/resolve"
    first = await sender("POST", path, {"recipients": [ANN.upper()], "as": "sent"})
    assert first.json()["status"] == "held"
    last = await sender("POST", path, {"as": "bounced"})
    assert last.json()["status"] == "partially_sent"
    assert [recipient["status"] for recipient in last.json()["recipients"]] == ["sent", "bounced"]


async def test_only_what_is_uncertain_can_be_resolved(api: Api, sender: Caller) -> None:
    """409 says which address is none of those, and nothing changes."""
    held = await held_message(api, sender)
    answer = await sender(
        "POST", f"/messages/{held}/resolve", {"recipients": [ANN, BOB], "as": "sent"}
    )
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/recipient-not-uncertain")
    assert BOB in answer.json()["detail"]
    assert (await sender.read(f"/messages/{held}"))["status"] == "held"


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "as"]),
        ({"as": "delivered"}, ["body", "as"]),
        ({"as": "sent", "recipients": []}, ["body", "recipients"]),
        ({"as": "sent", "recipients": ["a\nb"]}, ["body", "recipients", 0]),
        ({"resolution": "sent"}, ["body", "resolution"]),
    ],
)
async def test_a_wrong_resolution_is_refused(
    sender: Caller, body: dict[str, Any], loc: list[str | int]
) -> None:
    """422 names the field."""
    message = await sender.made("/messages", MESSAGE)
    answer = await sender("POST", f"/messages/{message['id']}/resolve", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == loc
