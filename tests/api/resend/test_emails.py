"""Emails of the Resend-compatible API: accepted like messages, and shown in Resend's form."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from functools import partial
from typing import Any

import pytest

from app.domain.networks import AddressGuard
from app.http_client import fetch_file
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from tests.api.resend.conftest import EMAIL, ResendCaller, check_error, resend_of
from tests.support.api_client import PROFILE, Api, Caller

FILE = bytes(range(256))


@asynccontextmanager
async def serving_files(files: dict[str, bytes]) -> AsyncIterator[str]:
    """An HTTP server with these files by path; yields its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        status, content = ("200 OK", files[path]) if path in files else ("404 Not Found", b"")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_email_becomes_a_message(resend: ResendCaller, acme: Caller) -> None:
    """With the fields of both APIs, and where it came from."""
    email_id = await resend.send(
        cc="bob@example.org",
        bcc=["carol@example.org"],
        reply_to="Help <help@example.com>",
        tags=[{"name": "category", "value": "receipt"}],
        headers={
            "X-Entity-Ref-ID": "42",
            "List-Unsubscribe": "<https://example.com/leave>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        topic_id="billing",
    )
    message = await acme.read(f"/messages/{email_id}")
    assert message["source"] == "resend"
    assert message["key_id"] == acme.key_id
    assert message["metadata"] == {"category": "receipt"}
    assert message["tags"] == ["billing", "category:receipt"]
    raw = (await acme("GET", f"/messages/{email_id}/raw")).text
    assert "X-Entity-Ref-ID: 42" in raw
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in raw
    email = (await resend("GET", f"/emails/{email_id}")).json()
    assert email == {
        "object": "email",
        "id": email_id,
        "message_id": message["message_id_header"],
        "to": ["ann@example.org"],
        "from": "Billing <billing@example.com>",
        "cc": ["bob@example.org"],
        "bcc": ["carol@example.org"],
        "reply_to": ["Help <help@example.com>"],
        "created_at": message["created_at"],
        "subject": "Your receipt",
        "html": "<p>Thanks.</p>",
        "text": "Thanks.",
        "last_event": "queued",
        "scheduled_at": None,
        "tags": [{"name": "category", "value": "receipt"}],
        "topic_id": None,
    }


async def test_null_is_what_is_left_out(resend: ResendCaller) -> None:
    """Some SDKs write each field of their types."""
    fields = ("cc", "bcc", "reply_to", "text", "headers", "attachments", "tags")
    await resend.send(**dict.fromkeys((*fields, "scheduled_at", "template", "topic_id")))


@pytest.mark.one_database
@pytest.mark.parametrize(
    "content",
    [
        base64.b64encode(FILE).decode(),
        list(FILE),
        {"type": "Buffer", "data": list(FILE)},
        list(FILE * 1000),  # more JSON values than a request may have
        {"type": "Buffer", "data": list(FILE * 100)},
    ],
    ids=["base64", "array", "Buffer", "large array", "large Buffer"],
)
async def test_each_form_of_a_file(api: Api, resend: ResendCaller, content: Any) -> None:
    """Base64, `list(bytes)` of Python, and Node's JSON of a Buffer are the same file."""
    api.services = api.app.state.services = replace(api.services, max_message_bytes=2_000_000)
    numbers = content["data"] if isinstance(content, dict) else content
    file = FILE if isinstance(content, str) else bytes(numbers)
    attachments = [
        {"filename": "a.bin", "content": content},
        {"filename": False, "content": "YQ=="},
    ]
    email_id = await resend.send(attachments=attachments)
    native = Caller(resend.http, resend.headers)
    parts = list(
        message_from_bytes((await native("GET", f"/messages/{email_id}/raw")).content).walk()
    )
    assert parts[-2].get_filename() == "a.bin"
    assert parts[-2].get_payload(decode=True) == file
    assert parts[-1].get_payload(decode=True) == b"a"


@pytest.mark.one_database
@pytest.mark.parametrize(
    "attachment",
    [
        {"filename": "a.bin"},
        {"filename": "a.bin", "content": [1, 256]},
        {"filename": "a.bin", "content": [300] * 2000},
        {"filename": "a.bin", "content": {"type": "Buffer"}},
        {"filename": "a.bin", "content": "no base64!"},
        {"filename": "a.bin", "path": "https://127.0.0.1/a.bin"},
    ],
)
async def test_a_file_that_is_none(resend: ResendCaller, attachment: dict[str, Any]) -> None:
    """The error says which attachment, and what to write."""
    message = await resend.refuse(422, "invalid_attachment", attachments=[attachment])
    assert message.startswith("attachments.0.")


async def test_a_file_is_downloaded(api: Api, resend: ResendCaller, acme: Caller) -> None:
    """From an address that the guard allows, at most as many bytes as a message has."""
    files = {"/a.txt": b"content", "/large": b"x" * 200_000}
    guard = AddressGuard(allow_private=True, is_port_allowed=lambda _: True)
    network = Network(guard, Resolver([("127.0.0.1", 9)]))
    fetch = partial(fetch_file, network, max_bytes=api.services.max_message_bytes)
    api.services = api.app.state.services = replace(api.services, fetch_file=fetch)
    async with serving_files(files) as url:
        email_id = await resend.send(attachments=[{"path": f"{url}/a.txt"}])
        for path, reason in {"large": "100000 bytes", "none": "answered 404"}.items():
            attachments = [{"path": f"{url}/{path}"}]
            message = await resend.refuse(422, "invalid_attachment", attachments=attachments)
            assert reason in message
    raw = message_from_bytes((await acme("GET", f"/messages/{email_id}/raw")).content)
    [attached] = [part for part in raw.walk() if part.get_filename()]
    assert (attached.get_filename(), attached.get_payload(decode=True)) == ("a.txt", b"content")


@pytest.mark.one_database
async def test_which_profile_sends(api: Api, acme: Caller) -> None:
    """The key's only one; else the one that names the sender most closely; else the default."""
    plain = PROFILE | {"default_from": None}
    profiles = {
        name: await acme.made("/profiles", plain | {"name": name, "allowed_from": list(patterns)})
        for name, patterns in {
            "default": ("*@example.com", "*@example.net"),
            "domain": ("*@shop.example.com",),
            "address": ("ann@shop.example.com", "bob@example.net"),
            "subdomains": ("*@*.example.com",),
        }.items()
    }
    await acme("PATCH", f"/profiles/{profiles['default']['id']}", {"is_default": True})
    resend = resend_of(acme)
    chosen = {
        "any@example.com": "default",
        "any@shop.example.com": "domain",
        "Ann <ann@shop.example.com>": "address",
        "any@news.example.com": "subdomains",
        "bob@example.net": "address",
    }
    for sender, profile in chosen.items():
        email_id = await resend.send(**{"from": sender})
        assert (await acme.read(f"/messages/{email_id}"))["profile"] == profile
    await resend.refuse(403, "validation_error", **{"from": "eve@elsewhere.example"})
    scopes = ["messages:send"]
    bound = resend_of(
        await api.key(acme.tenant_id, scopes, profiles=[profiles["subdomains"]["id"]])
    )
    email_id = await bound.send(**{"from": "ann@shop.example.com"})
    assert (await acme.read(f"/messages/{email_id}"))["profile"] == "subdomains"
    ids = [profiles["domain"]["id"], profiles["address"]["id"]]
    several = resend_of(await api.key(acme.tenant_id, scopes, profiles=ids))
    email_id = await several.send(**{"from": "eve@shop.example.com"})
    assert (await acme.read(f"/messages/{email_id}"))["profile"] == "domain"
    message = await several.refuse(403, "validation_error", **{"from": "any@example.com"})
    assert "allowed_from" in message


async def test_schedule_move_and_cancel(resend: ResendCaller, acme: Caller) -> None:
    """By a time or by Resend's words for a delay; what is canceled has one l."""
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    email_id = await resend.send(scheduled_at=at.isoformat())
    email = (await resend("GET", f"/emails/{email_id}")).json()
    assert email["last_event"] == "scheduled"
    assert datetime.fromisoformat(email["scheduled_at"]) == at
    body = {"id": email_id, "scheduled_at": "in 2 hours"}
    moved = await resend("PATCH", f"/emails/{email_id}", body)
    assert moved.json() == {"object": "email", "id": email_id}
    send_at = datetime.fromisoformat((await acme.read(f"/messages/{email_id}"))["send_at"])
    assert timedelta(hours=1, minutes=55) < send_at - datetime.now(UTC) <= timedelta(hours=2)
    canceled = await resend("POST", f"/emails/{email_id}/cancel")
    assert canceled.json() == {"object": "email", "id": email_id}
    assert (await resend("GET", f"/emails/{email_id}")).json()["last_event"] == "canceled"
    check_error(await resend("POST", f"/emails/{email_id}/cancel"), 422, "validation_error")


@pytest.mark.one_database
async def test_lists_go_both_ways(resend: ResendCaller) -> None:
    """Newest first, after or before an id, with `has_more` for that direction."""
    ids = [await resend.send() for _ in range(5)][::-1]

    async def list_page(**params: Any) -> tuple[list[str], bool]:
        answer = (await resend("GET", "/emails", params=params)).json()
        assert answer["object"] == "list"
        return [email["id"] for email in answer["data"]], answer["has_more"]

    assert await list_page() == (ids, False)
    assert await list_page(limit=2) == (ids[:2], True)
    assert await list_page(limit=2, after=ids[1]) == (ids[2:4], True)
    assert await list_page(limit=2, after=ids[2]) == (ids[3:], False)
    assert await list_page(limit=2, before=ids[4]) == (ids[2:4], True)
    assert await list_page(limit=2, before=ids[2]) == (ids[:2], False)
    email = (await resend("GET", "/emails")).json()["data"][0]
    assert not email.keys() & {"html", "text", "tags", "object"}
    for params in ({"limit": 101}, {"after": "x"}, {"after": ids[0], "before": ids[1]}):
        check_error(await resend("GET", "/emails", params=params), 422, "validation_error")


async def test_a_batch_is_accepted_as_a_whole(resend: ResendCaller, acme: Caller) -> None:
    """One bad email, or a quota without room for all, keeps all out."""
    good, bad = EMAIL, EMAIL | {"to": "nobody"}
    answer = await resend("POST", "/emails/batch", [good, good])
    assert [item.keys() for item in answer.json()["data"]] == [{"id"}, {"id"}]
    message = check_error(
        await resend("POST", "/emails/batch", [good, bad]), 422, "validation_error"
    )
    assert message.startswith("1.to")
    check_error(await resend("POST", "/emails/batch", [EMAIL] * 101), 422, "validation_error")
    check_error(await resend("POST", "/emails/batch", []), 422, "validation_error")
    assert len((await acme.read("/messages"))["items"]) == 2


async def test_a_permissive_batch_accepts_the_good_ones(resend: ResendCaller) -> None:
    """`errors` names the others by their index, and is always there."""
    permissive = {"x-batch-validation": "permissive"}
    emails = [EMAIL, EMAIL | {"subject": None}, EMAIL | {"attachments": [{"path": "https://x"}]}]
    answer = (await resend("POST", "/emails/batch", emails, headers=permissive)).json()
    assert len(answer["data"]) == 1
    assert [error["index"] for error in answer["errors"]] == [1, 2]
    assert answer["errors"][0]["message"] == "Missing `subject` field."
    answer = (await resend("POST", "/emails/batch", [EMAIL], headers=permissive)).json()
    assert answer["errors"] == []


async def test_a_quota_admits_a_whole_batch_or_none(api: Api, resend: ResendCaller) -> None:
    """A strict batch is one unit; a permissive one is admitted email by email."""
    quota = {"quota": {"messages_per_day": 3}}
    await api.admin("PATCH", f"/tenants/{resend.tenant_id}", quota)
    emails = [EMAIL] * 4
    answer = await resend("POST", "/emails/batch", emails)
    check_error(answer, 429, "daily_quota_exceeded")
    assert int(answer.headers["retry-after"]) == int(answer.headers["ratelimit-reset"]) > 0
    assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("3", "0")
    headers = {"x-batch-validation": "permissive"}
    partial_answer = (await resend("POST", "/emails/batch", emails, headers=headers)).json()
    assert len(partial_answer["data"]) == 3
    assert [error["index"] for error in partial_answer["errors"]] == [3]


async def test_a_repeated_request_sends_once(resend: ResendCaller, acme: Caller) -> None:
    """With the same key and body the same ids; with another body an error of its own."""
    key = {"Idempotency-Key": "k" * 256}
    first, second = [await resend("POST", "/emails", EMAIL, headers=key) for _ in range(2)]
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    other = EMAIL | {"subject": "Another"}
    answer = await resend("POST", "/emails", other, headers=key)
    check_error(answer, 409, "invalid_idempotent_request")
    batch = {"Idempotency-Key": "batch"}
    answers = [
        (await resend("POST", "/emails/batch", [EMAIL, EMAIL], headers=batch)).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    for changed in ([EMAIL, other], [EMAIL], [EMAIL, EMAIL, EMAIL]):
        answer = await resend("POST", "/emails/batch", changed, headers=batch)
        check_error(answer, 409, "invalid_idempotent_request")
    for length in ("", "k" * 257):
        answer = await resend("POST", "/emails", EMAIL, headers={"Idempotency-Key": length})
        check_error(answer, 400, "invalid_idempotency_key")
    assert len((await acme.read("/messages"))["items"]) == 3


async def test_a_template_makes_the_content(resend: ResendCaller, acme: Caller) -> None:
    """The published one, with the sender of the profile if the email names none."""
    template = {"name": "receipt", "subject": "Hi {{ name }}", "text": "Hello"}
    created_template = await acme.made("/templates", template)
    await acme("POST", f"/templates/{created_template['id']}/publish")
    body = {"to": "ann@example.org", "template": {"id": "receipt", "variables": {"name": "Ann"}}}
    answer = await resend("POST", "/emails", body)
    email = (await resend("GET", f"/emails/{answer.json()['id']}")).json()
    assert (email["subject"], email["from"]) == ("Hi Ann", "Billing <billing@example.com>")


async def test_sensitive_content_is_not_shown(resend: ResendCaller, acme: Caller) -> None:
    """Messages of the native API are emails too, as far as Heloise shows them."""
    body = {"to": "ann@example.org", "subject": "Secret", "text": "Secret", "sensitive": True}
    message = await acme.made("/messages", body)
    email = (await resend("GET", f"/emails/{message['id']}")).json()
    assert (email["subject"], email["text"], email["html"]) == ("", None, None)
