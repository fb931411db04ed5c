"""/messages: sent, found, read."""

from datetime import datetime
from email import message_from_bytes
from email.policy import SMTP
from typing import Any

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Caller, without_waiting

FULL: dict[str, Any] = {
    "profile": "transactional",
    "from": "Ärzte, GmbH <office@example.com>",
    "to": ["ann@example.org", {"email": "bob@example.org", "name": "Bob"}],
    "cc": ["Carol <carol@example.org>"],
    "bcc": ["dave@example.org"],
    "reply_to": ["support@example.com"],
    "subject": "Ihr Beleg – Grüße",
    "text": "Danke.",
    "html": "<p>Danke.</p>",
    "headers": {"X-Campaign": "spring"},
    "tags": ["receipt", "spring", "receipt"],
    "metadata": {"order": "42"},
}


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A tenant with one profile."""
    await acme.made("/profiles", PROFILE)
    return acme


async def test_a_message_is_accepted(sender: Caller) -> None:
    """202, Location, and the message, which reads back the same."""
    answer = await sender("POST", "/messages", MESSAGE)
    message = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/messages/{message['id']}"
    assert message["status"] == "queued"
    assert message["from"] == "Billing <billing@example.com>"
    assert message["profile"] == "transactional"
    assert without_waiting(await sender.read(answer.headers["Location"])) == message


async def test_everything_given_is_read_back(sender: Caller) -> None:
    """Names in any script, tags once, recipients in the order to, cc, bcc."""
    message = await sender.made("/messages", FULL)
    assert without_waiting(await sender.read(f"/messages/{message['id']}")) == message
    assert message["from"] == '"Ärzte, GmbH" <office@example.com>'
    assert message["subject"] == FULL["subject"]
    assert message["tags"] == ["receipt", "spring"]
    assert message["metadata"] == {"order": "42"}
    assert [
        (recipient["kind"], recipient["address"], recipient["name"])
        for recipient in message["recipients"]
    ] == [
        ("to", "ann@example.org", ""),
        ("to", "bob@example.org", "Bob"),
        ("cc", "carol@example.org", "Carol"),
        ("bcc", "dave@example.org", ""),
    ]
    assert message["recipients"][0] | {"address": ""} == {
        "address": "",
        "name": "",
        "kind": "to",
        "status": "queued",
        "attempts": 0,
        "next_attempt_at": None,
        "last_reply": None,
        "sent_to": None,
        "report": None,
        "waiting": None,
    }


async def test_the_raw_message_is_what_goes_over_the_wire(sender: Caller) -> None:
    """RFC 5322, CRLF, and nobody sees the bcc."""
    message = await sender.made("/messages", FULL)
    answer = await sender("GET", f"/messages/{message['id']}/raw")
    parsed = message_from_bytes(answer.content, policy=SMTP)
    assert answer.headers["Content-Type"] == "message/rfc822"
    assert len(answer.content) == message["size_bytes"]
    assert parsed["Subject"] == FULL["subject"]
    assert parsed["Message-ID"] == message["message_id_header"]
    assert parsed["X-Campaign"] == "spring"
    assert parsed["From"].addresses[0].display_name == "Ärzte, GmbH"
    assert b"dave@example.org" not in answer.content
    assert answer.content.count(b"\n") == answer.content.count(b"\r\n")


async def test_attempts_are_listed(sender: Caller) -> None:
    """None yet: nothing delivers here."""
    message = await sender.made("/messages", MESSAGE)
    page = await sender.read(f"/messages/{message['id']}/attempts")
    assert page == {"items": [], "next_cursor": None}


@pytest.mark.one_database
@pytest.mark.parametrize(
    "form", ["a@example.com", "Ann <a@example.com>", {"email": "a@example.com", "name": "Ann"}]
)
@pytest.mark.parametrize("field", ["from", "to", "cc", "bcc", "reply_to"])
async def test_addresses_take_three_forms(sender: Caller, field: str, form: object) -> None:
    """Everywhere the same."""
    value = form if field == "from" else [form]
    await sender.made("/messages", MESSAGE | {field: value})


@pytest.mark.one_database
@pytest.mark.parametrize(
    "name",
    ["Ann", "Ann O'Neil", "Doe, Jane", 'Ann "The" Roe', "a\\b", "Ünal Ğ", "山田", "x.y", "@"],
)
async def test_an_address_that_was_answered_can_be_sent_back(sender: Caller, name: str) -> None:
    """What `from` reads, `from` takes, and it means the same."""
    sender_address = {"email": "ann@example.com", "name": name}
    first = await sender.made("/messages", MESSAGE | {"from": sender_address})
    second = await sender.made("/messages", MESSAGE | {"from": first["from"]})
    assert second["from"] == first["from"]
    repeated = await sender.made("/messages", MESSAGE | {"to": [first["from"]]})
    assert repeated["recipients"][0]["name"] == name


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"to": []}, ["body", "to"]),
        ({"to": ["ann"]}, ["body", "to", 0]),
        ({"to": ["ann@example.org", "a@b@c"]}, ["body", "to", 1]),
        ({"to": ["ann@example.org, bob@example.org"]}, ["body", "to", 0]),
        ({"to": [{"name": "Ann"}]}, ["body", "to", 0, "email"]),
        ({"to": [5]}, ["body", "to", 0]),
        ({"to": [{"email": "a@example.org", "name": "A\r\nBcc: x"}]}, ["body", "to", 0]),
        ({"from": "Ann\r\n <a@example.com>"}, ["body", "from"]),
        ({"subject": "Hello\r\nBcc: eve@example.net"}, ["body", "subject"]),
        ({"subject": "x" * 999}, ["body", "subject"]),
        ({"subject": "\ud800"}, ["body", "subject"]),
        ({"text": None}, ["body", "text"]),
        ({"text": "\0"}, ["body", "text"]),
        ({"html": "\ud800"}, ["body", "html"]),
        ({"headers": {"Bcc": "eve@example.net"}}, ["body", "headers", "Bcc"]),
        ({"headers": {"X-A": "a\r\nBcc: eve"}}, ["body", "headers", "X-A"]),
        ({"headers": {"X A": "a"}}, ["body", "headers", "X A"]),
        ({"headers": {"X-A": "a", "x-a": "b"}}, ["body", "headers", "x-a"]),
        ({"headers": {f"X-{n}": "" for n in range(51)}}, ["body", "headers"]),
        ({"tags": ["x"] * 21}, ["body", "tags"]),
        ({"tags": [""]}, ["body", "tags", 0]),
        ({"tags": ["x" * 65]}, ["body", "tags", 0]),
        ({"tags": ["a\nb"]}, ["body", "tags", 0]),
        ({"metadata": {str(n): "" for n in range(51)}}, ["body", "metadata"]),
        ({"metadata": {"k" * 65: ""}}, ["body", "metadata"]),
        ({"metadata": {"": ""}}, ["body", "metadata"]),
        ({"metadata": {"k": "v" * 513}}, ["body", "metadata"]),
        ({"metadata": {"k": "\0"}}, ["body", "metadata", "k"]),
        ({"metadata": {"k": 1}}, ["body", "metadata", "k"]),
        ({"to": ["a@example.org"] * 1001}, ["body", "to"]),
        ({"cc": ["a@example.org"] * 1000}, ["body", "to"]),
        ({"profile": "a\0b"}, ["body", "profile"]),
        ({"sent_at": None}, ["body", "sent_at"]),
    ],
)
async def test_a_wrong_message_is_refused(
    sender: Caller, change: dict[str, Any], loc: list[str | int]
) -> None:
    """422 names the field, and nothing is stored."""
    answer = await sender("POST", "/messages", MESSAGE | change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == loc
    assert (await sender.read("/messages"))["items"] == []


async def test_every_wrong_field_is_named(sender: Caller) -> None:
    """One answer for all mistakes."""
    body = {"to": [], "subject": "a\nb", "headers": {"Date": "now"}}
    errors = (await sender("POST", "/messages", body)).json()["errors"]
    assert [error["loc"][1] for error in errors] == ["to", "text", "subject", "headers"]


async def test_the_limits_are_inclusive(sender: Caller) -> None:
    """What is just within every limit is taken."""
    await sender.made(
        "/messages",
        MESSAGE
        | {
            "to": [f"a{n}@example.org" for n in range(1000)],
            "subject": "x" * 998,
            "headers": {f"X-{n}": "v" for n in range(50)},
            "tags": [f"{n:064}" for n in range(20)],
            "metadata": {f"{n:064}": "v" * 512 for n in range(50)},
        },
    )


async def test_a_sender_outside_allowed_from_is_403(sender: Caller) -> None:
    """The profile says whom it sends as."""
    answer = await sender("POST", "/messages", MESSAGE | {"from": "eve@example.net"})
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/sender-not-allowed")
    assert "*@example.com" in answer.json()["detail"]


@pytest.mark.parametrize("size", [100_001, 300_000])
async def test_a_message_past_the_limit_is_413(sender: Caller, size: int) -> None:
    """The limit is said; it counts the message as it is sent."""
    answer = await sender("POST", "/messages", MESSAGE | {"text": "x" * size})
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/message-too-large")
    assert "100000 bytes" in answer.json()["detail"]


async def test_encoding_counts_too(sender: Caller) -> None:
    """80,000 bytes of UTF-8 are more than 100,000 on the wire."""
    answer = await sender("POST", "/messages", MESSAGE | {"text": "é" * 40_000})
    assert answer.status_code == 413


async def test_without_any_profile_there_is_no_default(acme: Caller) -> None:
    """422 at `profile`."""
    answer = await acme("POST", "/messages", MESSAGE)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "profile"]


async def test_an_unknown_profile_is_404(sender: Caller) -> None:
    """It says which."""
    answer = await sender("POST", "/messages", MESSAGE | {"profile": "none"})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/profile-not-found")
    assert "'none'" in answer.json()["detail"]


async def test_a_profile_is_named_by_id_too(sender: Caller) -> None:
    """Id or name."""
    profile = await sender.read("/profiles/transactional")
    message = await sender.made("/messages", MESSAGE | {"profile": profile["id"]})
    assert message["profile_id"] == profile["id"]


async def test_a_changed_default_counts_at_once(sender: Caller) -> None:
    """What was remembered of a profile does not outlive a change made here."""
    assert (await sender.made("/messages", MESSAGE))["profile"] == "transactional"
    await sender.made("/profiles", PROFILE | {"name": "marketing", "is_default": True})
    assert (await sender.made("/messages", MESSAGE))["profile"] == "marketing"
    await sender("PATCH", "/profiles/marketing", {"allowed_from": ["billing@example.com"]})
    refusal = await sender("POST", "/messages", MESSAGE | {"from": "x@example.com"})
    assert refusal.status_code == 403


async def test_a_deleted_profile_takes_no_message(sender: Caller) -> None:
    """Nor is it anybody's default."""
    await sender.made("/messages", MESSAGE)
    assert (await sender("DELETE", "/profiles/transactional?cancel_pending=true")).is_success
    named = await sender("POST", "/messages", MESSAGE | {"profile": "transactional"})
    assert named.status_code == 404
    assert (await sender("POST", "/messages", MESSAGE)).status_code == 422


async def test_messages_are_found_by_what_they_have(sender: Caller) -> None:
    """Every filter narrows; all given must match."""
    await sender.made("/profiles", PROFILE | {"name": "other"})
    one = await sender.made("/messages", FULL)
    two = await sender.made("/messages", MESSAGE | {"profile": "other", "tags": ["spring"]})
    both = [two["id"], one["id"]]
    cases = {
        "": both,
        "status=queued": both,
        "status=sent": [],
        "profile=other": [two["id"]],
        f"profile={one['profile_id']}": [one["id"]],
        "tag=spring": both,
        "tag=receipt": [one["id"]],
        "tag=none": [],
        "recipient=BOB@example.org": [one["id"]],
        "recipient=dave@example.org": [one["id"]],
        "recipient=none@example.org": [],
        "tag=spring&recipient=bob@example.org&profile=transactional": [one["id"]],
        f"created_after={two['created_at']}": [two["id"]],
        f"created_before={two['created_at']}": [one["id"]],
    }
    ids_by_query = {
        query: [item["id"] for item in (await sender.read(f"/messages?{query}"))["items"]]
        for query in cases
    }
    assert ids_by_query == cases


async def test_messages_are_listed_newest_first_in_pages(sender: Caller) -> None:
    """A message that arrives meanwhile neither repeats nor hides another."""
    created_ids = [(await sender.made("/messages", MESSAGE))["id"] for _ in range(5)]
    first = await sender.read("/messages?limit=2")
    await sender.made("/messages", MESSAGE)
    second = await sender.read(f"/messages?limit=2&cursor={first['next_cursor']}")
    third = await sender.read(f"/messages?limit=2&cursor={second['next_cursor']}")
    ids = [item["id"] for page in (first, second, third) for item in page["items"]]
    assert ids == created_ids[::-1]
    assert third["next_cursor"] is None


async def test_filtering_by_an_unknown_profile_name_is_404(sender: Caller) -> None:
    """A mistyped name is no empty list."""
    assert (await sender("GET", "/messages?profile=none")).status_code == 404


async def test_times_are_utc(sender: Caller) -> None:
    """RFC 3339 with Z; it expires an hour on, as this API is set."""
    message = await sender.made("/messages", MESSAGE)
    assert message["created_at"].endswith("Z")
    lasts = datetime.fromisoformat(message["expires_at"]) - datetime.fromisoformat(
        message["created_at"]
    )
    assert lasts.total_seconds() == 3600


async def test_a_paused_profile_still_accepts(sender: Caller) -> None:
    """Its messages wait."""
    await sender("POST", "/profiles/transactional/pause")
    assert (await sender.made("/messages", MESSAGE))["status"] == "queued"
