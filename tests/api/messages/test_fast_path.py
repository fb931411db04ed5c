"""`POST /messages` has a short way for what is plainly a message; the answers are the same."""

import logging
from typing import Any

import httpx
import pytest

from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

# Named with a charset it is as good, and not of the one form that the short way takes.
LONG_WAY = {"Content-Type": "application/json; charset=utf-8"}
OWN = ("id", "message_id_header", "created_at", "updated_at", "expires_at", "request_id")

BODIES: list[Any] = [
    MESSAGE,
    MESSAGE | {"from": {"email": "billing@example.com", "name": "Rechnung, Äpfel"}},
    MESSAGE
    | {"to": ["Ann <ann@example.org>", {"email": "bob@example.org"}], "bcc": ["c@d.example"]},
    MESSAGE | {"html": "<p>Thanks.", "tags": ["b", "a", "b"], "metadata": {"order": "42"}},
    MESSAGE | {"priority": "high", "guarantee": "at_most_once", "headers": {"X-A": "1"}},
    MESSAGE | {"subject": "Zoë\ud83d\ude00"},
    MESSAGE | {"subject": "half \ud83d"},
    MESSAGE | {"text": "NUL \0"},
    MESSAGE | {"subjet": "Hello"},
    MESSAGE | {"to": ["nobody"]},
    MESSAGE | {"to": "ann@example.org"},
    MESSAGE | {"to": []},
    MESSAGE | {"from": "eve@example.net"},
    MESSAGE | {"profile": "none"},
    MESSAGE | {"priority": "urgent"},
    MESSAGE | {"expires_at": "2001-01-01T00:00:00Z"},
    MESSAGE | {"expires_at": "tomorrow"},
    MESSAGE | {"text": None},
    MESSAGE | {"text": 1},
    {},
    [],
    "text",
    7,
]


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A tenant with a profile, whose key was seen."""
    await acme.made("/profiles", PROFILE)
    return acme


def _comparable(answer: httpx.Response) -> Any:
    body = answer.json()
    body = {key: value for key, value in body.items() if key not in OWN}
    header_names = {"location", "x-request-id", "content-type", "cache-control"}
    return answer.status_code, body, sorted(header_names & set(answer.headers))


@pytest.mark.one_database
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body)[-50:])
async def test_both_ways_answer_the_same(sender: Caller, body: Any) -> None:
    """What is stored, and every error: its status, its type and each field that it names."""
    short = await sender("POST", "/messages", body)
    long = await sender("POST", "/messages", body, headers=LONG_WAY)
    assert _comparable(short) == _comparable(long)


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b'{"to": ["ann@example.org"], "text": NaN}', 422),
        (b'{"to": "\xff"}', 422),
        (b"null", 422),
        (b"\xff\xfe", 415),
        ('{"text": "UTF-16"}'.encode("utf-16-be"), 415),
    ],
)
async def test_what_is_no_json_is_answered_the_same(
    sender: Caller, content: bytes, status: int
) -> None:
    """As a problem that names the body."""
    answers = [
        await sender.http.post("/messages", content=content, headers=sender.headers | headers)
        for headers in ({"Content-Type": "application/json"}, LONG_WAY)
    ]
    assert _comparable(answers[0]) == _comparable(answers[1])
    assert answers[0].status_code == status


@pytest.mark.parametrize("ways", [({}, LONG_WAY), (LONG_WAY, {})], ids=["short", "long"])
async def test_a_key_is_one_key_whichever_way_it_came(
    sender: Caller, ways: tuple[dict[str, str], dict[str, str]]
) -> None:
    """What was done is not done again, with its JSON in whatever order; another body is refused."""
    key = {"Idempotency-Key": "order-42"}
    turned = dict(reversed(MESSAGE.items()))
    first, second = [
        await sender("POST", "/messages", body, headers=key | way)
        for body, way in zip((MESSAGE, turned), ways, strict=True)
    ]
    assert (first.status_code, second.status_code) == (202, 202)
    assert (second.json(), second.headers["Idempotent-Replayed"]) == (first.json(), "true")
    others = [
        await sender("POST", "/messages", MESSAGE | {"subject": "Another"}, headers=key | way)
        for way in ways
    ]
    assert _comparable(others[0]) == _comparable(others[1])
    assert others[0].json()["type"] == "/problems/idempotency-key-reused"


@pytest.mark.one_database
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body)[-50:])
async def test_both_ways_answer_the_same_to_a_new_key(sender: Caller, body: Any) -> None:
    """Keys change nothing of what is accepted."""
    short = await sender("POST", "/messages", body, headers={"Idempotency-Key": "a"})
    long = await sender("POST", "/messages", body, headers={"Idempotency-Key": "b"} | LONG_WAY)
    assert _comparable(short) == _comparable(long)


@pytest.mark.one_database
@pytest.mark.parametrize("key", ["", "a" * 256, "caf\u00e9"])
async def test_both_ways_refuse_what_is_no_key(sender: Caller, key: str) -> None:
    """Empty, too long, or not ASCII."""
    short, long = [
        await sender("POST", "/messages", MESSAGE, headers={"Idempotency-Key": key.encode()} | way)
        for way in ({}, LONG_WAY)
    ]
    assert _comparable(short) == _comparable(long)
    assert short.status_code == 422


async def test_a_key_that_may_not_send_is_refused(api: Api, sender: Caller) -> None:
    """Whether it was seen lately or not."""
    reader = await api.key(sender.tenant_id, ["messages:read"])
    for _ in range(2):
        answer = await reader("POST", "/messages", MESSAGE)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/scope-missing")


async def test_a_key_that_was_revoked_sends_nothing_more(api: Api, sender: Caller) -> None:
    """At once, where it was revoked."""
    await sender.made("/messages", MESSAGE)
    path = f"/tenants/{sender.tenant_id}/keys/{sender.key_id}"
    assert (await api.admin("DELETE", path)).status_code == 204
    assert (await sender("POST", "/messages", MESSAGE)).status_code == 401


async def test_a_refused_request_is_logged_and_others_in_detail_alone(
    sender: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """With its method, path, status and how long it took."""
    caplog.set_level(logging.INFO, "app.api.requests.middleware")
    await sender.made("/messages", MESSAGE)
    assert not caplog.records
    await sender("POST", "/messages", {})
    caplog.set_level(logging.DEBUG, "app.api.requests.middleware")
    await sender.made("/messages", MESSAGE)
    refused, accepted = caplog.records
    for record, level, status in ((refused, "INFO", 422), (accepted, "DEBUG", 202)):
        assert (record.levelname, record.message) == (level, "request")
        assert vars(record) | {"status": status} == vars(record)
        assert (vars(record)["method"], vars(record)["path"]) == ("POST", "/messages")
        assert vars(record)["duration_ms"] > 0
