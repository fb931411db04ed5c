"""Many messages in one request: each is its own, and all are written at once."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.messages.test_attachments import sender
from tests.support.api_client import MESSAGE, Api, Caller, without_waiting

__all__ = ["sender"]


async def batch(caller: Caller, *messages: Any, **headers: str) -> httpx.Response:
    """The answer to a batch of these."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await caller("POST", "/messages/batch", {"messages": list(messages)}, headers=named)


def to(name: str, **fields: Any) -> dict[str, Any]:
    """A message to somebody."""
    return MESSAGE | {"to": [f"{name}@example.org"], **fields}


async def list_recipients(caller: Caller) -> list[str]:
    """Who gets the messages that there are, in the order of their acceptance."""
    items = (await caller.read("/messages?limit=200"))["items"]
    return [item["recipients"][0]["address"] for item in reversed(items)]


async def test_each_is_accepted_in_its_place(sender: Caller) -> None:
    """With its id, as if it had come by itself."""
    answer = await batch(sender, to("ann"), to("bob", priority="high"), to("carol"))
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 202, 202]
    assert [result["problem"] for result in results] == [None] * 3
    for result, name in zip(results, ("ann", "bob", "carol"), strict=True):
        assert result["message"]["recipients"][0]["address"] == f"{name}@example.org"
        message = await sender.read(f"/messages/{result['message']['id']}")
        assert without_waiting(message) == result["message"]


async def test_one_that_is_refused_is_no_fault_of_its_neighbours(api: Api, sender: Caller) -> None:
    """Its result is the problem that it would have been answered with."""
    await api.admin(
        "PATCH", f"/tenants/{sender.tenant_id}", {"allowed_recipient_domains": ["example.org"]}
    )
    api.services.auth.forget_tenant(sender.tenant_id)
    invalid: list[tuple[Any, int, str]] = [
        (MESSAGE | {"to": []}, 422, "invalid-request"),
        (MESSAGE | {"to": ["nobody"]}, 422, "invalid-request"),
        (MESSAGE | {"too": []}, 422, "invalid-request"),
        ("a message", 422, "invalid-request"),
        (MESSAGE | {"profile": "none"}, 404, "profile-not-found"),
        (MESSAGE | {"to": ["eve@example.net"]}, 403, "recipient-not-allowed"),
        (MESSAGE | {"text": "x" * 100_001}, 413, "message-too-large"),
    ]
    answer = await batch(sender, to("ann"), *(body for body, *_ in invalid), to("bob"))
    assert answer.status_code == 202
    [first, *refused, last] = answer.json()["results"]
    assert [first["status"], last["status"]] == [202, 202]
    for result, (body, status, slug) in zip(refused, invalid, strict=True):
        assert (result["status"], result["message"]) == (status, None)
        assert result["problem"]["type"] == f"/problems/{slug}"
        if isinstance(body, dict):
            alone = (await sender("POST", "/messages", body)).json()
            same = ("type", "title", "status", "detail", "errors")
            assert [result["problem"].get(n) for n in same] == [alone.get(n) for n in same]
    assert await list_recipients(sender) == ["ann@example.org", "bob@example.org"]


@pytest.mark.one_database
@pytest.mark.parametrize("messages", [[], [MESSAGE] * 1001, "x", None])
async def test_it_has_one_to_a_thousand(sender: Caller, messages: object) -> None:
    """Else it is refused as a whole."""
    answer = await sender("POST", "/messages/batch", {"messages": messages})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "messages"]


async def test_a_quota_is_kept_to_the_message(api: Api, sender: Caller) -> None:
    """The first ones go, the others are told when to come again."""
    await api.admin("PATCH", f"/tenants/{sender.tenant_id}", {"quota": {"messages_per_day": 2}})
    api.services.auth.forget_tenant(sender.tenant_id)
    answer = await batch(sender, *(to(name) for name in ("ann", "bob", "carol")))
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 202, 429]
    assert results[2]["problem"]["type"] == "/problems/sending-quota-exceeded"


async def test_sent_again_with_its_key_it_is_the_same(sender: Caller) -> None:
    """Byte for byte; nothing else is made."""
    messages = [to("ann"), to("bob")]
    first = await batch(sender, *messages, Idempotency_Key="k")
    second = await batch(sender, *messages, Idempotency_Key="k")
    assert second.content == first.content
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(await list_recipients(sender)) == 2


async def test_what_was_refused_is_tried_once_more(sender: Caller) -> None:
    """What was accepted stays; what has another body now is told, each in its place."""
    first = await batch(sender, to("ann"), to("bob"), to("carol", to=[]), Idempotency_Key="k")
    second = await batch(
        sender, to("ann"), to("bob", subject="Other"), to("carol"), Idempotency_Key="k"
    )
    assert [result["status"] for result in first.json()["results"]] == [202, 202, 422]
    results = second.json()["results"]
    assert [result["status"] for result in results] == [202, 422, 202]
    assert results[0] == first.json()["results"][0]
    assert results[1]["problem"]["type"] == "/problems/idempotency-key-reused"
    assert await list_recipients(sender) == [
        f"{name}@example.org" for name in ("ann", "bob", "carol")
    ]


async def test_a_key_of_a_batch_is_no_messages_key(sender: Caller) -> None:
    """Neither is in the other's way."""
    await batch(sender, to("ann"), Idempotency_Key="k")
    answer = await sender("POST", "/messages", to("bob"), headers={"Idempotency-Key": "k"})
    assert answer.status_code == 202
    assert len(await list_recipients(sender)) == 2


async def test_several_at_once_with_one_key_are_one(sender: Caller) -> None:
    """The others wait, or get its answer."""
    messages = [to(f"n{number}") for number in range(10)]
    answers = await asyncio.gather(
        *(batch(sender, *messages, Idempotency_Key="k") for _ in range(8))
    )
    contents = [answer.content for answer in answers if answer.status_code == 202]
    assert len(set(contents)) == 1
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len(await list_recipients(sender)) == 10


async def test_a_thousand_go(sender: Caller) -> None:
    """In one transaction, each with its own id."""
    answer = await batch(sender, *(to(f"n{number}") for number in range(1000)))
    results = answer.json()["results"]
    assert {result["status"] for result in results} == {202}
    assert len({result["message"]["id"] for result in results}) == 1000
