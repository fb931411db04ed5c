"""The request that sent a message, and its trace, stay with the message and find it."""

import json
from typing import Any

import pytest

from tests.api.messages.test_upload import upload
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
RAW = b"From: Ann <ann@example.com>\r\nSubject: Hi\r\n\r\nHi.\r\n"


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A caller whose profile sends as anybody."""
    await acme.made("/profiles", PROFILE | {"is_default": True})
    return acme


def of_request(name: str) -> dict[str, str]:
    """The headers of a request with this id, within a trace."""
    return {"X-Request-ID": name, "traceparent": TRACEPARENT}


async def find(caller: Caller, query: str) -> list[dict[str, Any]]:
    """The messages that match, oldest first."""
    items = (await caller.read(f"/messages?limit=200&{query}"))["items"]
    return list(reversed(items))


async def test_each_way_of_the_api_stores_both(sender: Caller) -> None:
    """Alone, with a key, by form, raw, in a batch, uploaded, and retried."""

    async def post(path: str, json: Any = None, **more: Any) -> Any:
        headers = of_request(f"way-{path}".replace("/", ".").partition("?")[0])
        answer = await sender("POST", path, json, headers=headers | more.pop("headers", {}), **more)
        assert answer.status_code in {200, 202}, answer.text
        return answer.json()

    alone = await post("/messages", MESSAGE)
    await sender("POST", f"/messages/{alone['id']}/cancel")
    answers = [
        alone,
        await post("/messages", MESSAGE, headers={"Idempotency-Key": "once"}),
        await post("/messages", files={"message": (None, json.dumps(MESSAGE))}),
        await post(
            "/messages/raw?to=ann@example.org",
            content=RAW,
            headers={"Content-Type": "message/rfc822"},
        ),
        await post(f"/messages/{alone['id']}/retry", {}),
    ]
    answers += [
        line["message"]
        for line in (await post("/messages/batch", {"messages": [MESSAGE, MESSAGE]}))["results"]
    ]
    ids = [answer["request_id"] for answer in answers]
    expected = ["way-.messages"] * 3
    expected += ["way-.messages.raw", f"way-.messages.{alone['id']}.retry"]
    assert ids == expected + ["way-.messages.batch"] * 2
    assert {answer["trace_id"] for answer in answers} == {TRACE_ID}
    for answer in answers:
        read = await sender.read(f"/messages/{answer['id']}")
        assert (read["request_id"], read["trace_id"]) == (answer["request_id"], TRACE_ID)
    retry = {"action": "retry", "filter": {"status": "cancelled"}, "dry_run": False}
    await post("/messages/actions", retry)
    assert len(await find(sender, "request_id=way-.messages.actions")) == 1


async def test_an_upload_has_one_request_id(sender: Caller) -> None:
    """Its messages are found together, page by page, and without another's."""
    await upload(sender, [MESSAGE] * 5)
    await sender.made("/messages", MESSAGE)
    first, *others = await find(sender, "")
    request_id = first["request_id"]
    assert request_id.startswith("req_")
    ids = [message["id"] for message in (first, *others[:4])]
    path = f"/messages?request_id={request_id}&limit=2"
    page, listed_ids = await sender.read(path), list[str]()
    while True:
        listed_ids += [message["id"] for message in page["items"]]
        if page["next_cursor"] is None:
            break
        page = await sender.read(f"{path}&cursor={page['next_cursor']}")
    assert listed_ids == list(reversed(ids))


async def test_every_read_of_messages_takes_the_filter(sender: Caller) -> None:
    """The list with other filters, the export and actions."""
    await sender.made("/messages", MESSAGE)
    answer = await sender("POST", "/messages", MESSAGE, headers=of_request("order-42"))
    message = answer.json()
    for query in ("", f"&key={sender.key_id}", "&recipient=ann@example.org&source=api"):
        messages = await find(sender, f"request_id=order-42{query}")
        assert [item["id"] for item in messages] == [message["id"]]
    assert await find(sender, "request_id=order-4") == []
    assert await find(sender, "request_id=order-42&key=key_0") == []
    lines = (await sender("GET", "/messages/export?request_id=order-42")).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [message["id"]]
    file = (await sender("GET", "/messages/export?format=csv&request_id=order-42")).text
    assert f",order-42,{TRACE_ID}," in file.splitlines()[1]
    body = {"action": "cancel", "filter": {"request_id": "order-42"}}
    assert (await sender("POST", "/messages/actions", body)).json()["matched"] == 1
    assert (await sender("GET", f"/messages?request_id={'x' * 129}")).status_code == 422


async def test_another_tenant_finds_nothing(api: Api, sender: Caller) -> None:
    """Both may use the same ids."""
    await sender("POST", "/messages", MESSAGE, headers=of_request("order-42"))
    bravo = await api.tenant("bravo")
    assert await find(bravo, "request_id=order-42") == []


async def test_a_replay_shows_the_first_request(sender: Caller) -> None:
    """The message keeps the id of its first request."""
    key = {"Idempotency-Key": "order-42"}
    await sender("POST", "/messages", MESSAGE, headers=of_request("first") | key)
    second = await sender("POST", "/messages", MESSAGE, headers=of_request("second") | key)
    assert second.headers["X-Request-ID"] == "second"
    assert second.json()["request_id"] == "first"
    assert await find(sender, "request_id=second") == []


async def test_events_show_both(sender: Caller) -> None:
    """As webhooks and the stream get them."""
    await sender("POST", "/messages", MESSAGE, headers=of_request("order-42"))
    [event] = (await sender.read("/events"))["items"]
    message = event["data"]["message"]
    assert (message["request_id"], message["trace_id"]) == ("order-42", TRACE_ID)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("00-0-0-0",),
        (TRACEPARENT.upper(),),
        (TRACEPARENT, TRACEPARENT),
        (f"{TRACEPARENT},{TRACEPARENT}",),
        ("x" * 10_000,),
    ],
)
@pytest.mark.one_database
async def test_a_malformed_trace_holds_no_message_up(
    sender: Caller, values: tuple[str, ...]
) -> None:
    """The message has none then."""
    headers = [(name, text) for name, text in sender.headers.items()]
    headers += [("Content-Type", "application/json")]
    headers += [("traceparent", value) for value in values]
    answer = await sender.http.post("/messages", json=MESSAGE, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json()["trace_id"] is None
