"""django-anymail's Resend backend works with another URL."""

import asyncio
from email import message_from_bytes
from typing import Any, Final

import pytest
from anymail.backends.resend import EmailBackend
from anymail.exceptions import AnymailRequestsAPIError
from anymail.message import AnymailMessage
from django.conf import settings

from tests.api.resend.conftest import ResendCaller
from tests.support.api_client import Caller

pytestmark = pytest.mark.one_database

SENDER: Final = "Billing <billing@example.com>"


@pytest.fixture
def backend(resend: ResendCaller) -> EmailBackend:
    """The backend, with the URL and the key of the service."""
    if not settings.configured:
        settings.configure()
    return EmailBackend(
        api_url=f"http://127.0.0.1:{resend.http.base_url.port}/resend",
        api_key=resend.headers["Authorization"].removeprefix("Bearer "),
    )


async def send(backend: EmailBackend, message: AnymailMessage) -> Any:
    """What anymail knows of each recipient."""
    assert await asyncio.to_thread(backend.send_messages, [message]) == 1
    return message.anymail_status.recipients


async def test_a_message_with_everything(
    backend: EmailBackend, resend: ResendCaller, acme: Caller
) -> None:
    """Text, HTML, files, headers, tags, metadata and a time."""
    message = AnymailMessage(
        subject="Your receipt",
        body="Thanks.",
        from_email=SENDER,
        to=["Ann <ann@example.org>"],
        cc=["bob@example.org"],
        reply_to=["help@example.com"],
        headers={"X-Order": 42},
    )
    message.attach_alternative("<p>Thanks.</p>", "text/html")
    message.attach("a.bin", bytes(range(256)), "application/octet-stream")
    message.tags, message.metadata = ["receipt"], {"order": "42"}
    recipients = await send(backend, message)
    assert recipients.keys() == {"ann@example.org", "bob@example.org"}
    email_id = recipients["ann@example.org"].message_id
    email = (await resend("GET", f"/emails/{email_id}")).json()
    assert (email["text"].strip(), email["html"].strip()) == ("Thanks.", "<p>Thanks.</p>")
    raw = message_from_bytes((await acme("GET", f"/messages/{email_id}/raw")).content)
    assert raw["X-Order"] == "42"
    files = {part.get_filename(): part.get_payload(decode=True) for part in raw.walk()}
    assert files["a.bin"] == bytes(range(256))


async def test_a_batch(backend: EmailBackend, acme: Caller) -> None:
    """One email for each recipient, with headers of its own."""
    message = AnymailMessage("Hi", "Text", SENDER, ["ann@example.org", "bob@example.org"])
    message.merge_metadata = {"ann@example.org": {"n": 1}, "bob@example.org": {"n": 2}}
    recipients = await send(backend, message)
    ids = {recipient.message_id for recipient in recipients.values()}
    assert {item["id"] for item in (await acme.read("/messages"))["items"]} == ids


async def test_an_error_has_its_message(backend: EmailBackend) -> None:
    """It is in the exception."""
    message = AnymailMessage("Hi", "Text", "eve@elsewhere.example", ["ann@example.org"])
    with pytest.raises(AnymailRequestsAPIError, match="allowed_from"):
        await send(backend, message)
