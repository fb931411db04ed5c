"""Resend's SDK for Python works with another base URL: each call and each error class."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from types import ModuleType
from typing import Any, Final

import pytest
import resend as sdk
from resend.exceptions import (
    InvalidApiKeyError,
    MissingRequiredFieldsError,
    RateLimitError,
    ResendError,
    ValidationError,
)

from tests.api.resend.conftest import ResendCaller
from tests.support.api_client import Api, Caller

pytestmark = pytest.mark.one_database

EMAIL: Final[dict[str, Any]] = {
    "from": "Billing <billing@example.com>",
    "to": ["ann@example.org"],
    "subject": "Your receipt",
    "html": "<strong>Thanks.</strong>",
    "tags": [{"name": "category", "value": "receipt"}],
}


@pytest.fixture
async def python(resend: ResendCaller, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The SDK, with the base URL and the key of the service."""
    monkeypatch.setattr(sdk, "api_url", f"http://127.0.0.1:{resend.http.base_url.port}/resend")
    monkeypatch.setattr(sdk, "api_key", resend.headers["Authorization"].removeprefix("Bearer "))
    return sdk


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """What a call of the SDK returns; it blocks, so it has a thread."""
    return await asyncio.to_thread(function, *args)


async def test_emails(python: ModuleType, acme: Caller) -> None:
    """Send with files, batch, read, list, move, cancel, repeat."""
    file = bytes(range(256)) * 200
    attachments = [
        {"filename": "a.bin", "content": list(file)},
        {"filename": "b.txt", "content": "Yg==", "inline_content_id": "b"},
    ]
    sent = await call(python.Emails.send, EMAIL | {"attachments": attachments})
    email = await call(python.Emails.get, sent["id"])
    assert (email["subject"], email["last_event"], email["tags"]) == (
        "Your receipt",
        "queued",
        EMAIL["tags"],
    )
    page = await call(python.Emails.list, {"limit": 1})
    assert [email["id"] for email in page["data"]] == [sent["id"]]
    batch = await call(python.Batch.send, [EMAIL, EMAIL])
    assert len(batch["data"]) == 2
    mixed = [EMAIL, EMAIL | {"to": "nobody"}]
    partly = await call(python.Batch.send, mixed, {"batch_validation": "permissive"})
    assert ([error["index"] for error in partly["errors"]], len(partly["data"])) == ([1], 1)
    scheduled = await call(python.Emails.send, EMAIL | {"scheduled_at": "in 1 hour"})
    at = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    moved = await call(python.Emails.update, {"id": scheduled["id"], "scheduled_at": at})
    canceled = await call(python.Emails.cancel, scheduled["id"])
    assert moved["id"] == canceled["id"] == scheduled["id"]
    key = {"idempotency_key": "order-42"}
    first, second = [await call(python.Emails.send, EMAIL, key) for _ in range(2)]
    assert first["id"] == second["id"]
    with pytest.raises(ResendError) as conflict:
        await call(python.Emails.send, EMAIL | {"subject": "Another"}, key)
    error = conflict.value
    assert (error.code, error.error_type) == (409, "invalid_idempotent_request")
    message = await acme("GET", f"/messages/{sent['id']}/raw")
    parts = {part.get_filename(): part for part in message_from_bytes(message.content).walk()}
    assert parts["a.bin"].get_payload(decode=True) == file
    assert parts["b.txt"]["Content-ID"] == "<b>"


async def test_objects(python: ModuleType) -> None:
    """Domains, keys, suppressions and webhooks, from making to deleting them."""
    domain = await call(python.Domains.create, {"name": "example.com", "region": "us-east-1"})
    assert (await call(python.Domains.get, domain["id"]))["records"] == domain["records"]
    await call(python.Domains.verify, domain["id"])
    assert (await call(python.Domains.list))["data"][0]["status"] == "pending"
    assert (await call(python.Domains.remove, domain["id"]))["deleted"]
    key = await call(python.ApiKeys.create, {"name": "s", "permission": "sending_access"})
    assert key["token"].startswith("hel_")
    assert (await call(python.ApiKeys.list))["data"][0]["id"] == key["id"]
    await call(python.ApiKeys.remove, key["id"])
    added = await call(python.Suppressions.add, {"email": "bob@example.org"})
    assert (await call(python.Suppressions.get, "bob@example.org"))["id"] == added["id"]
    assert (await call(python.Suppressions.list))["data"][0]["origin"] == "manual"
    assert (await call(python.Suppressions.remove, added["id"]))["deleted"]
    hook = {"endpoint": "https://hooks.example.com/", "events": ["email.delivered"]}
    webhook = await call(python.Webhooks.create, hook)
    assert (await call(python.Webhooks.get, webhook["id"]))["events"] == ["email.delivered"]
    changes = {"webhook_id": webhook["id"], "status": "disabled"}
    await call(python.Webhooks.update, changes)
    assert (await call(python.Webhooks.list))["data"][0]["status"] == "disabled"
    rotated = await call(python.Webhooks.rotate_signing_secret, webhook["id"])
    assert rotated["signing_secret"] != webhook["signing_secret"]
    assert (await call(python.Webhooks.remove, webhook["id"]))["deleted"]


async def test_errors(api: Api, python: ModuleType, resend: ResendCaller) -> None:
    """Each becomes the SDK's exception for it, never "Expected JSON response"."""
    raised = {
        MissingRequiredFieldsError: EMAIL | {"from": None},
        ValidationError: EMAIL | {"to": "nobody"},
    }
    for kind, email in raised.items():
        with pytest.raises(kind):
            await call(python.Emails.send, email)
    with pytest.raises(ResendError) as excinfo:
        await call(python.Emails.send, EMAIL | {"from": "eve@elsewhere.example"})
    assert (excinfo.value.code, excinfo.value.error_type) == (403, "validation_error")
    with pytest.raises(ResendError) as missing:
        await call(python.Emails.get, "msg_1")
    assert (missing.value.code, missing.value.error_type) == (404, "not_found")
    await api.admin("PATCH", f"/tenants/{resend.tenant_id}", {"quota": {"messages_per_day": 0}})
    with pytest.raises(RateLimitError):
        await call(python.Emails.send, EMAIL)
    python.api_key = "re_123"
    with pytest.raises(InvalidApiKeyError):
        await call(python.Emails.send, EMAIL)
