"""A request that is repeated with its key is done once, and answered as before."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.messages.test_attachments import sender
from tests.support.api_client import MESSAGE, Api, Caller

__all__ = ["sender"]


async def send_keyed(caller: Caller, key: str, body: Any = MESSAGE, **more: Any) -> httpx.Response:
    """The answer to a message with a key."""
    return await caller("POST", "/messages", body, headers={"Idempotency-Key": key}, **more)


async def count(caller: Caller) -> int:
    """How many messages there are."""
    return len((await caller.read("/messages"))["items"])


async def test_the_first_answer_is_given_again(sender: Caller) -> None:
    """Byte for byte, and says that it is; nothing else is made."""
    first = await send_keyed(sender, "order-42")
    second = await send_keyed(sender, "order-42")
    assert [first.status_code, second.status_code] == [202, 202]
    assert second.content == first.content
    assert second.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert await count(sender) == 1


async def test_the_same_body_may_be_written_otherwise(sender: Caller) -> None:
    """In another order, and with other blanks: as JSON it is the same."""
    first = await send_keyed(sender, "k", {"to": ["ann@example.org"], "text": "x", "subject": "é"})
    text = '{ "subject":"\\u00e9",\n "text":"x", "to":["ann@example.org"]}'
    second = await sender(
        "POST",
        "/messages",
        content=text,
        headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
    )
    assert second.json()["id"] == first.json()["id"]


async def test_a_key_with_another_body_is_refused(sender: Caller) -> None:
    """Whichever field it is that differs."""
    await send_keyed(sender, "k")
    for change in ({"subject": "Other"}, {"priority": "high"}, {"to": ["bob@example.org"]}):
        answer = await send_keyed(sender, "k", MESSAGE | change)
        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/idempotency-key-reused"
    assert await count(sender) == 1


async def test_keys_are_a_tenants_own(api: Api, sender: Caller) -> None:
    """Another tenant's request with the same key is another."""
    other = await api.tenant("other")
    body = {"name": "main", "host": "smtp.example.com", "default_from": "a@example.com"}
    await other.made("/profiles", body)
    one, two = await send_keyed(sender, "k"), await send_keyed(other, "k")
    assert one.json()["id"] != two.json()["id"]
    assert "Idempotent-Replayed" not in two.headers


async def test_what_was_refused_used_no_key(sender: Caller) -> None:
    """Mended, the request goes with the same one."""
    assert (await send_keyed(sender, "k", MESSAGE | {"to": []})).status_code == 422
    assert (await send_keyed(sender, "k")).status_code == 202


async def test_what_is_beyond_the_quota_used_no_key(api: Api, sender: Caller) -> None:
    """And who repeats what was accepted uses nothing of it."""
    await api.admin("PATCH", f"/tenants/{sender.tenant_id}", {"quota": {"messages_per_day": 1}})
    api.services.auth.forget_tenant(sender.tenant_id)
    assert (await send_keyed(sender, "one")).status_code == 202
    assert (await send_keyed(sender, "two")).status_code == 429
    assert (await send_keyed(sender, "one")).headers["Idempotent-Replayed"] == "true"
    await api.admin("PATCH", f"/tenants/{sender.tenant_id}", {"quota": {"messages_per_day": 2}})
    api.services.auth.forget_tenant(sender.tenant_id)
    assert (await send_keyed(sender, "two")).status_code == 202
    assert await count(sender) == 2


async def test_the_answer_stands_when_its_profile_is_gone(sender: Caller) -> None:
    """It is looked for before anything else is."""
    first = await send_keyed(sender, "k")
    await sender("DELETE", "/profiles/main?cancel_pending=true")
    second = await send_keyed(sender, "k")
    assert (second.status_code, second.content) == (202, first.content)


async def test_no_replay_names_an_erased_recipient(sender: Caller) -> None:
    """The message is told as it stands instead, and not sent again."""
    first = await send_keyed(sender, "k")
    await sender("DELETE", f"/recipients/{MESSAGE['to'][0]}")
    second = await send_keyed(sender, "k")
    assert (second.status_code, second.json()["id"]) == (202, first.json()["id"])
    assert second.json()["recipients"][0]["address"] is None
    assert await count(sender) == 1


async def test_of_many_at_once_one_is_done(sender: Caller) -> None:
    """The others are told that it is being worked on, or get its answer."""
    answers = await asyncio.gather(*(send_keyed(sender, "k") for _ in range(20)))
    successes = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.json()["id"] for answer in successes}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in successes) == 1
    waiting = [answer for answer in answers if answer.status_code != 202]
    assert {answer.json()["type"] for answer in waiting} <= {"/problems/idempotency-key-in-flight"}
    assert {answer.status_code for answer in waiting} <= {409}
    assert await count(sender) == 1


async def test_a_conflict_is_none_of_its_neighbours(sender: Caller) -> None:
    """What is written with it in one group is accepted."""
    await send_keyed(sender, "k")
    answers = await asyncio.gather(
        *(send_keyed(sender, "k" if number % 2 else f"k{number}") for number in range(20))
    )
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert await count(sender) == 11


@pytest.mark.one_database
@pytest.mark.parametrize("key", ["", "x" * 256, "zo\xeb", "a\tb"])
async def test_a_wrong_key_is_refused(sender: Caller, key: str) -> None:
    """1 to 255 characters of printable ASCII."""
    answer = await sender(
        "POST", "/messages", MESSAGE, headers={"Idempotency-Key": key.encode("latin-1")}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
