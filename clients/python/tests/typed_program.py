"""A program that uses the client: a type checker refuses the marked lines, and no other."""

from datetime import UTC, datetime
from typing import assert_type

from heloise_client import ApiError, AsyncHeloise, Heloise, attach_bytes, types, verify_webhook
from heloise_client.calls import Page


def send(heloise: Heloise) -> types.MessageRead:
    """Send, and read the answer."""
    addresses = ["ann@example.org"]
    message: types.MessageCreate = {"to": addresses, "subject": "Hello", "text": "It works."}
    message["from"] = {"email": "shop@example.com", "name": "Shop"}
    message["send_at"] = datetime.now(UTC)
    message["attachments"] = [attach_bytes(b"%PDF", "receipt.pdf")]
    message["sbject"] = "Hello"  # refused: no such field
    message["priority"] = "urgent"  # refused: not one of the values
    heloise.send_message({"too": "ann@example.org"})  # refused: no such field
    heloise.send_message({"to": [{"name": "Ann"}]})  # refused: an address has no email
    heloise.send_message({"text": 1})  # refused: no text
    heloise.send_batch({"messages": [{"sbject": "Hello"}]})  # refused: no such field
    heloise.send_mesage(message)  # refused: no such operation
    heloise.create_profile({"host": "mail.example.com"})  # refused: no name
    heloise.send_message(message, idempotency_ky="order-42")  # refused: no such argument
    answer = heloise.send_message(message, idempotency_key="order-42")
    assert_type(answer, types.MessageRead)
    assert_type(answer["from"], str)
    assert answer["recipients"][0]["statuss"]  # refused: no such field
    if answer["status"] == "sended":  # refused: never
        raise ValueError(answer["id"])
    return answer


def read(heloise: Heloise) -> None:
    """Lists, filters and their values."""
    assert_type(heloise.list_messages(status="failed").page(), Page[types.MessageRead])
    page = heloise.list_messages(status=["failed", "held"], limit=10).page()
    heloise.list_messages(cursor=page["next_cursor"], tag="receipt")
    heloise.list_messages(status="lost")  # refused: not one of the values
    heloise.list_messages(tagg="receipt")  # refused: no such filter
    for message in heloise.list_messages():
        assert_type(message, types.MessageRead)
        assert message["idd"]  # refused: no such field
    for line in heloise.export_messages(format="csv"):
        assert_type(line, str)
    assert_type(heloise.get_raw_message("msg_1"), bytes)
    assert_type(heloise.get_usage(), types.UsageRead)


async def follow(heloise: AsyncHeloise) -> None:
    """The same for asyncio."""
    sent = await heloise.send_message({"to": "ann@example.org", "text": "It works."})
    assert_type(sent, types.MessageRead)
    await heloise.send_message({"to": "ann@example.org", "sbject": "Hello"})  # refused: no field
    async for event in heloise.stream_events(type=["recipient.*"]):
        assert_type(event, types.EventRead)
    heloise.list_messages(tagg="receipt")  # refused: no such filter


def receive(body: bytes, headers: dict[str, str]) -> str:
    """A webhook, and an error."""
    event = verify_webhook(body, headers, "whsec_…")
    try:
        return event["typ"]  # refused: no such field
    except ApiError as error:
        return error.errors[0]["msg"]
