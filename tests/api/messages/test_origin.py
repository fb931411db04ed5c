"""Who sent a message: the way in and the key stay with it, and messages are found by both."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.api.messages.test_upload import upload
from tests.support.api_client import EVERY_SCOPE, MESSAGE, PROFILE, Api, Caller

RAW = b"From: Ann <ann@example.com>\r\nSubject: Hi\r\n\r\nHi.\r\n"


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A caller whose profile sends as anybody."""
    await acme.made("/profiles", PROFILE | {"is_default": True})
    return acme


def origin(message: Any) -> tuple[str, str]:
    """What a message says of who sent it."""
    return message["source"], message["key_id"]


async def find_ids(caller: Caller, query: str) -> list[str]:
    """The ids of the messages that match, oldest first."""
    items = (await caller.read(f"/messages?limit=200&{query}"))["items"]
    return [message["id"] for message in reversed(items)]


async def test_each_way_of_the_api_records_the_key(api: Api, sender: Caller) -> None:
    """Alone, in a batch, raw, uploaded, from a template and retried."""
    await sender.made("/templates", {"name": "hello", "subject": "Hi", "text": "Hi."})
    await sender("POST", "/templates/hello/publish", {})
    alone = await sender.made("/messages", MESSAGE)
    raw = await sender(
        "POST",
        "/messages/raw?to=ann@example.org",
        content=RAW,
        headers={"Content-Type": "message/rfc822"},
    )
    batch = await sender.made("/messages/batch", {"messages": [MESSAGE, MESSAGE]})
    await upload(sender, [MESSAGE])
    templated = await sender.made("/messages", {"to": ["ann@example.org"], "template": "hello"})
    answers = [alone, raw.json(), templated, *(line["message"] for line in batch["results"])]
    expected = ("api", sender.key_id)
    assert [origin(answer) for answer in answers] == [expected] * 5
    items = (await sender.read("/messages"))["items"]
    assert [origin(message) for message in items] == [expected] * 6
    await sender("POST", f"/messages/{alone['id']}/cancel")
    other = await api.key(sender.tenant_id, EVERY_SCOPE)
    second = await other.made(f"/messages/{alone['id']}/retry", {})
    assert origin(second) == ("api", other.key_id)
    body = {"action": "retry", "filter": {"key": sender.key_id, "status": "cancelled"}}
    actions_answer = await api.admin_for("acme")(
        "POST", "/messages/actions", body | {"dry_run": False}
    )
    assert actions_answer.json()["done"] == 1
    assert len(await find_ids(sender, "key=admin:admin&source=api")) == 1


async def test_an_admin_key_is_recorded_by_its_name(api: Api, sender: Caller) -> None:
    """It has no id. It finds its own messages among the tenant's."""
    await sender.made("/messages", MESSAGE)
    message = await api.admin_for("acme").made("/messages", MESSAGE)
    assert origin(message) == ("api", "admin:admin")
    assert await find_ids(sender, "key=admin:admin") == [message["id"]]


async def test_every_read_of_messages_takes_the_filters(api: Api, sender: Caller) -> None:
    """The list, the export and actions; an unknown source is refused."""
    other = await api.key(sender.tenant_id, EVERY_SCOPE)
    mine, theirs = [await caller.made("/messages", MESSAGE) for caller in (sender, other)]
    assert await find_ids(sender, f"key={other.key_id}") == [theirs["id"]]
    assert await find_ids(sender, "source=api") == [mine["id"], theirs["id"]]
    for query in ("source=smtp", "key=key_0", f"key={other.key_id}&source=smtp"):
        assert await find_ids(sender, query) == []
    lines = (await sender("GET", f"/messages/export?key={other.key_id}")).text.splitlines()
    assert [origin(json.loads(line)) for line in lines] == [("api", other.key_id)]
    file = (await sender("GET", f"/messages/export?format=csv&key={other.key_id}")).text
    assert f",api,{other.key_id}," in file.splitlines()[1]
    body = {"action": "cancel", "filter": {"source": "api", "key": other.key_id}}
    assert (await sender("POST", "/messages/actions", body)).json()["matched"] == 1
    assert (await sender("GET", "/messages?source=fax")).status_code == 422


async def test_a_revoked_key_stays_on_its_messages(api: Api, sender: Caller) -> None:
    """So what a stolen key has sent is found after it is revoked."""
    stolen = await api.key(sender.tenant_id, EVERY_SCOPE)
    message = await stolen.made("/messages", MESSAGE)
    answer = await sender("DELETE", f"/keys/{stolen.key_id}")
    assert answer.status_code == 204
    assert await find_ids(sender, f"key={stolen.key_id}") == [message["id"]]


async def test_a_replay_shows_the_key_of_the_first_request(api: Api, sender: Caller) -> None:
    """Another key that repeats a request sends nothing."""
    headers = {"Idempotency-Key": "order-42"}
    first = await sender("POST", "/messages", MESSAGE, headers=headers)
    other = await api.key(sender.tenant_id, EVERY_SCOPE)
    second = await other("POST", "/messages", MESSAGE, headers=headers)
    assert (second.headers["Idempotent-Replayed"], second.json()) == ("true", first.json())
    assert origin(second.json()) == ("api", sender.key_id)


async def test_events_show_the_key_of_the_message(sender: Caller) -> None:
    """As webhooks get them."""
    message = await sender.made("/messages", MESSAGE)
    [event] = (await sender.read("/events"))["items"]
    assert event["data"]["message"]["id"] == message["id"]
    assert origin(event["data"]["message"]) == ("api", sender.key_id)


async def test_a_message_keeps_the_clients_address_with_its_content(
    api: Api, sender: Caller
) -> None:
    """In answers, lists and the export, until the content is deleted; or not at all."""
    message = await sender.made("/messages", MESSAGE)
    file = (await sender("GET", "/messages/export?format=csv")).text
    assert message["client_address"] == "127.0.0.1"
    assert (await sender.read(f"/messages/{message['id']}"))["client_address"] == "127.0.0.1"
    assert ",127.0.0.1," in file.splitlines()[1]
    await sender("DELETE", f"/recipients/{MESSAGE['to'][0]}")
    assert (await sender.read(f"/messages/{message['id']}"))["client_address"] is None
    auth = replace(api.services.auth, stores_client_addresses=False)
    api.services = api.app.state.services = replace(api.services, auth=auth)
    for caller in (sender, api.admin_for("acme")):
        message = await caller.made("/messages", MESSAGE)
        assert message["client_address"] is None
        assert (await sender.read(f"/messages/{message['id']}"))["client_address"] is None
