"""How values may be written: null or nothing, one or several, in a URL or a body."""

import gzip
from json import dumps
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.api.auth.test_isolation import operations
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

ANN: Final = "ann@example.org"
BOB: Final = "Bob <bob@example.org>"


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A tenant with one profile."""
    await acme.made("/profiles", PROFILE)
    return acme


# What each operation that makes something takes at least.
LEAST: Final[dict[str, Any]] = {
    "send_message": {"to": [ANN], "text": "x"},
    "create_profile": PROFILE | {"name": "p"},
    "create_own_key": {"name": "k", "scopes": ["messages:send"]},
    "create_webhook": {"name": "w", "url": "https://log.example.com/"},
    "create_template": {"name": "t", "subject": "Hi", "text": "Hi"},
    "create_mailbox": {
        "name": "m",
        "host": "imap.example.com",
        "username": "u",
        "password": "p",
    },
    "create_provider_webhook": {"name": "p", "provider": "brevo"},
    "create_suppression": {"address": "eve@example.org"},
    "create_domain": {"domain": "example.com"},
}
# These change something, try it, or need something that was made before.
OTHERS: Final = {
    *("send_batch", "act_on_messages", "resolve_message", "retry_message", "rotate_own_key"),
    *("verify_profile", "verify_unsaved_profile", "preview_template", "test_template"),
    *("publish_template", "replay_webhook", "rotate_webhook_secret"),
    *("rotate_provider_webhook", "receive_provider_events"),
}


@pytest.mark.one_database
async def test_null_is_as_if_it_were_left_out(sender: Caller, document: dict[str, Any]) -> None:
    """For every field of the document that may be left out; and the document says so."""
    tried = set[str]()
    for method, path, operation in operations(document):
        name, body = operation["operationId"], operation.get("requestBody", {})
        schema = body.get("content", {}).get("application/json", {}).get("schema", {})
        if method != "POST" or not schema or path.startswith("/tenants") or name in OTHERS:
            continue
        tried.add(name)
        referenced = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        optional = referenced["properties"].keys() - set(referenced.get("required", ()))
        for field in optional:
            about = referenced["properties"][field]
            assert {"type": "null"} in about.get("anyOf", ()), (name, field, about)
        answer = await sender("POST", path, dict.fromkeys(optional) | LEAST[name])
        assert answer.status_code in {201, 202}, (name, answer.text)
    assert tried == LEAST.keys()


@pytest.mark.one_database
async def test_null_within_a_value_is_as_if_it_were_left_out(sender: Caller) -> None:
    """In an address, in a file, beside a template, in a line and in a batch."""
    file = {"filename": "a.txt", "content": "aGk=", "content_id": None, "disposition": None}
    body = MESSAGE | {"to": [{"email": ANN, "name": None}], "attachments": [file], "cc": None}
    await sender.made("/messages", body)
    batch = await sender.made("/messages/batch", {"messages": [body | {"subject": None}]})
    assert [result["status"] for result in batch["results"]] == [202]
    await sender.made("/templates", {"name": "t", "subject": "Hi", "text": "Hi", "html": None})
    await sender("POST", "/templates/t/publish", {"version": None})
    parts = {"subject": None, "text": None, "html": None}
    await sender.made("/messages", {"to": [ANN], "template": "t", **parts})


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/messages/actions", {"action": "cancel", "dry_run": False, "filter": {"tag": None}}),
        ("/webhooks/{webhook}/replay", {"events": None, "status": None}),
    ],
)
async def test_null_chooses_nothing(sender: Caller, path: str, body: Any) -> None:
    """What is to be done to many says to which: nulls do not, and do not mean all."""
    webhook = await sender.made("/webhooks", {"name": "w", "url": "https://log.example.com/"})
    answer = await sender("POST", path.format(webhook=webhook["id"]), body)
    assert answer.status_code == 422


@pytest.mark.one_database
@pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to"])
@pytest.mark.parametrize("form", [ANN, f"Ann <{ANN}>", {"email": ANN, "name": "Ann"}])
async def test_one_address_needs_no_list(sender: Caller, field: str, form: Any) -> None:
    """As text or as an object."""
    message = await sender.made("/messages", {"to": [BOB], "text": "x"} | {field: form})
    raw = (await sender("GET", f"/messages/{message['id']}/raw")).text
    if field != "reply_to":
        assert ANN in [recipient["address"] for recipient in message["recipients"]]
    assert (ANN in raw) is (field != "bcc")


@pytest.mark.one_database
@pytest.mark.parametrize(
    "addresses", [f"{ANN}, bob@example.org", f"{ANN},bob@example.org", f"Ann <{ANN}>, {BOB}"]
)
async def test_several_addresses_are_items(sender: Caller, addresses: str) -> None:
    """422 says what to write."""
    answer = await sender("POST", "/messages", {"to": addresses, "text": "x"})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "to", 0]
    assert '["a@b.example", "c@d.example"]' in error["msg"]


@pytest.mark.one_database
async def test_one_recipient_is_retried_and_resolved_without_a_list(sender: Caller) -> None:
    """Wherever addresses are listed."""
    message = await sender.made("/messages", MESSAGE)
    await sender("POST", f"/messages/{message['id']}/cancel")
    await sender.made(f"/messages/{message['id']}/retry", {"recipients": ANN})
    path = f"/messages/{message['id']}/resolve"
    answer = await sender("POST", path, {"recipients": ANN, "as": "sent"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/recipient-not-uncertain")


@pytest.mark.parametrize("way", ["list", "export", "actions"])
async def test_statuses_that_are_given_are_all_taken(sender: Caller, way: str) -> None:
    """One, or several of them, which one index or none holds."""
    queued = await sender.made("/messages", MESSAGE)
    answer = await sender.made("/messages", MESSAGE)
    await sender("POST", f"/messages/{answer['id']}/cancel")
    later = MESSAGE | {"send_at": "2100-01-01T00:00:00Z"} | {"expires_at": None}
    assert (await sender("POST", "/messages", later)).status_code == 422  # beyond a year
    for statuses, expected in (
        (["queued"], {queued["id"]}),
        (["queued", "cancelled"], {queued["id"], answer["id"]}),
        (["queued", "held", "scheduled"], {queued["id"]}),
        (["sent", "failed"], set()),
    ):
        query = "&".join(f"status={status}" for status in statuses)
        if way == "list":
            items = (await sender.read(f"/messages?{query}"))["items"]
            assert {item["id"] for item in items} == expected
        elif way == "export":
            lines = (await sender("GET", f"/messages/export?{query}")).text.splitlines()
            assert len(lines) == len(expected)
        else:
            body = {"action": "cancel", "filter": {"status": statuses}}
            assert (await sender("POST", "/messages/actions", body)).json()["matched"] == len(
                expected
            )
    one = {"action": "cancel", "filter": {"status": "queued"}}
    assert (await sender("POST", "/messages/actions", one)).json()["matched"] == 1


async def test_other_lists_take_several_too(sender: Caller) -> None:
    """Deliveries by their status, suppressions by their reason."""
    for number, reason in enumerate(("manual", "complaint", "unsubscribe")):
        await sender.made("/suppressions", {"address": f"{number}@example.org", "reason": reason})
    page = await sender.read("/suppressions?reason=manual&reason=complaint")
    assert [item["reason"] for item in page["items"]] == ["complaint", "manual"]
    webhook = await sender.made("/webhooks", {"name": "w", "url": "https://log.example.com/"})
    path = f"/webhooks/{webhook['id']}/deliveries?status=failed&status=pending"
    assert (await sender.read(path))["items"] == []


@pytest.mark.one_database
@pytest.mark.parametrize(
    "query",
    ["/messages?tag=a&tag=b", "/messages?limit=1&limit=2", "/stats?profile=a&profile=b"],
)
async def test_a_parameter_of_one_value_comes_once(sender: Caller, query: str) -> None:
    """Twice, it is refused: nobody knows which is meant."""
    answer = await sender("GET", query)
    assert answer.status_code == 422
    name = query.rpartition("&")[2].partition("=")[0]
    assert answer.json()["errors"][0]["loc"] == ["query", name]
    assert "once" in answer.json()["detail"]


@pytest.mark.one_database
async def test_every_list_takes_limit_once(
    api: Api, sender: Caller, document: dict[str, Any]
) -> None:
    """An admin's lists too: all refuse it twice."""
    lists = [
        path
        for path, operations in document["paths"].items()
        if any(
            parameter["name"] == "limit"
            for parameter in operations.get("get", {}).get("parameters", ())
        )
    ]
    assert {"/tenants", "/tenants/{tenant}/keys", "/audit-log", "/messages"} <= set(lists)
    for path in lists:
        caller = api.admin if path.startswith("/tenants") else sender
        answer = await caller("GET", f"{path}?limit=1&limit=2")
        assert (path, answer.status_code) == (path, 422)
        assert answer.json()["errors"][0]["loc"] == ["query", "limit"]
    assert (await api.admin("GET", "/audit-log?limit=1&limit=2")).status_code == 422


@pytest.mark.one_database
async def test_a_plus_in_a_url_is_to_be_escaped(sender: Caller) -> None:
    """422 says how; escaped, it is an offset, or a part of an address."""
    for path in ("/messages", "/stats", "/messages/export"):
        for name in ("created_after", "created_before"):
            answer = await sender("GET", f"{path}?{name}=2026-01-16T09:30:00+01:00")
            assert answer.status_code == 422
            assert "%2B" in answer.json()["errors"][0]["msg"]
    escaped = quote("2026-01-16T09:30:00+01:00")
    assert (await sender("GET", f"/messages?created_before={escaped}")).status_code == 200
    await sender.made("/messages", MESSAGE | {"to": ["ann+x@example.org"]})
    refusal = await sender("GET", "/messages?recipient=ann+x@example.org")
    assert (refusal.status_code, "%2B" in refusal.json()["detail"]) == (422, True)
    right = await sender.read("/messages?recipient=ann%2Bx@example.org")
    assert len(right["items"]) == 1


@pytest.mark.one_database
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, identity"])
async def test_a_body_is_not_encoded(sender: Caller, coding: str) -> None:
    """415 names the header; by whichever operation, and in whichever form."""
    content = gzip.compress(dumps(MESSAGE).encode())
    for path, kind in (
        ("/messages", "application/json"),
        ("/messages", "multipart/form-data; boundary=b"),
        ("/messages/batch", "application/json"),
        ("/messages/upload", "application/jsonl"),
        ("/messages/raw?to=ann@example.org", "message/rfc822"),
        ("/inbound/bounces", "message/rfc822"),
        ("/suppressions/import", "text/csv"),
        ("/profiles", "application/json"),
    ):
        headers = {"Content-Type": kind, "Content-Encoding": coding}
        answer = await sender("POST", path, content=content, headers=headers)
        assert answer.status_code == 415, (path, answer.text)
        assert answer.json()["type"] == "/problems/unsupported-media-type"
        assert "Content-Encoding" in answer.json()["detail"]
        assert answer.headers["Accept-Encoding"] == "identity"


@pytest.mark.one_database
async def test_a_body_may_say_that_it_is_not_encoded(api: Api, sender: Caller) -> None:
    """`identity` is none."""
    del api
    answer = await sender("POST", "/messages", MESSAGE, headers={"Content-Encoding": "identity"})
    assert answer.status_code == 202
