"""Resend's SDK for Node works with another base URL: each call and each class of error."""

import asyncio
import base64
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.resend.conftest import ResendCaller
from tests.support.api_client import Caller

NODE: Final = Path(__file__).parent / "node"

pytestmark = [
    pytest.mark.one_database,
    pytest.mark.resend_node,
    pytest.mark.skipif(
        not (NODE / "node_modules/resend").exists(),
        reason="Resend's SDK for Node is not installed: see .ci/run",
    ),
]

EMAIL: Final = {
    "from": "Billing <billing@example.com>",
    "to": "ann@example.org",
    "replyTo": "help@example.com",
    "subject": "Your receipt",
    "html": "<strong>Thanks.</strong>",
    "tags": [{"name": "category", "value": "receipt"}],
}


async def call_node(caller: Caller, *calls: Sequence[Any], **environment: str) -> list[Any]:
    """What calls of the SDK return: each a method and its arguments."""
    key = caller.headers["Authorization"].removeprefix("Bearer ")
    orders = [
        {"key": key, "method": method, "args": args} if isinstance(method, str) else method
        for method, *args in calls
    ]
    url = f"http://127.0.0.1:{caller.http.base_url.port}/resend"
    process = await asyncio.create_subprocess_exec(
        *("node", str(NODE / "call.mjs")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"RESEND_BASE_URL": url} | environment,
    )
    output, errors = await process.communicate(json.dumps(orders).encode())
    assert process.returncode == 0, errors.decode()
    answers: list[Any] = json.loads(output)
    return answers


async def test_emails(resend: ResendCaller, acme: Caller) -> None:
    """Send with files, batch, read, list, move, cancel, repeat."""
    file = bytes(range(256)) * 200
    with_file = EMAIL | {
        "attachments": [
            {"filename": "a.bin", "content": {"$file": base64.b64encode(file).decode()}},
            {"filename": "b.txt", "content": "Yg==", "contentType": "text/plain", "contentId": "b"},
        ]
    }
    key = {"idempotencyKey": "order-42"}
    at = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    permissive = {"batchValidation": "permissive"}
    sent, got, listed, batch, mixed, scheduled, moved, canceled, again, conflict = await call_node(
        resend,
        ("emails.send", with_file),
        ("emails.get", "$0.id"),
        ("emails.list", {"limit": 1}),
        ("batch.send", [EMAIL, EMAIL]),
        ("batch.send", [EMAIL, EMAIL | {"to": "nobody"}], permissive),
        ("emails.send", EMAIL | {"scheduledAt": "in 1 hour"}),
        ("emails.update", {"id": "$5.id", "scheduledAt": at}),
        ("emails.cancel", "$5.id"),
        ("emails.send", EMAIL, key),
        ("emails.send", EMAIL | {"subject": "Another"}, key),
    )
    assert sent["error"] is None
    assert got["data"]["from"] == EMAIL["from"]
    assert got["data"]["reply_to"] == ["help@example.com"]
    assert got["data"]["html"] == EMAIL["html"]
    assert got["data"]["tags"] == EMAIL["tags"]
    assert [email["id"] for email in listed["data"]["data"]] == [sent["data"]["id"]]
    assert len(batch["data"]["data"]) == 2
    assert [error["index"] for error in mixed["data"]["errors"]] == [1]
    assert moved["data"] == canceled["data"] == {"object": "email", "id": scheduled["data"]["id"]}
    assert again["error"] is None
    assert conflict["error"]["name"] == "invalid_idempotent_request"
    message = await acme("GET", f"/messages/{sent['data']['id']}/raw")
    parts = {part.get_filename(): part for part in message_from_bytes(message.content).walk()}
    assert parts["a.bin"].get_payload(decode=True) == file
    assert parts["b.txt"]["Content-ID"] == "<b>"


async def test_objects(resend: ResendCaller) -> None:
    """Domains, keys, suppressions and webhooks, from making to deleting them."""
    url = "https://hooks.example.com/resend"
    answers = await call_node(
        resend,
        ("domains.create", {"name": "example.com"}),
        ("domains.get", "$0.id"),
        ("domains.verify", "$0.id"),
        ("domains.list",),
        ("domains.remove", "$0.id"),
        ("apiKeys.create", {"name": "sender", "permission": "sending_access"}),
        ("apiKeys.list",),
        ("apiKeys.remove", "$5.id"),
        ("suppressions.add", {"email": "bob@example.org"}),
        ("suppressions.get", "bob@example.org"),
        ("suppressions.list", {"origin": "manual"}),
        ("suppressions.remove", "bob@example.org"),
        ("webhooks.create", {"endpoint": url, "events": ["email.delivered"]}),
        ("webhooks.get", "$12.id"),
        ("webhooks.update", "$12.id", {"status": "disabled"}),
        ("webhooks.list",),
        ("webhooks.remove", "$12.id"),
    )
    for number, answer in enumerate(answers):
        assert answer.get("error", "thrown") is None, (number, answer)
    assert answers[1]["data"]["records"] == answers[0]["data"]["records"]
    assert answers[5]["data"]["token"].startswith("hel_")
    assert [item["email"] for item in answers[10]["data"]["data"]] == ["bob@example.org"]
    assert answers[13]["data"]["events"] == ["email.delivered"]


async def test_errors(resend: ResendCaller) -> None:
    """The SDK shows each with Resend's name, and never an `application_error` of its own."""
    answers = await call_node(
        resend,
        [{"key": "re_123", "method": "emails.send", "args": [EMAIL]}],
        ("emails.send", EMAIL | {"from": None}),
        ("emails.send", EMAIL | {"from": "eve@elsewhere.example"}),
        ("emails.send", EMAIL | {"attachments": [{"filename": "a"}]}),
        ("emails.send", EMAIL, {"idempotencyKey": "k" * 257}),
        ("emails.get", "msg_1"),
        ("emails.share", "msg_1"),
    )
    errors = [
        (answer["error"]["statusCode"], answer["error"]["name"], answer["data"])
        for answer in answers
    ]
    assert errors == [
        (403, "invalid_api_key", None),
        (422, "missing_required_field", None),
        (403, "validation_error", None),
        (422, "invalid_attachment", None),
        (400, "invalid_idempotency_key", None),
        (404, "not_found", None),
        (404, "not_found", None),
    ]
