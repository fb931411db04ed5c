"""Messages to render and to read again."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

from hypothesis import strategies as st

from app.domain.mime.build import Content, render
from app.domain.types import NamedAddress

NOW: Final = datetime(2026, 1, 15, 9, 30, 5, tzinfo=UTC)
ANN: Final = NamedAddress("ann@example.org", "Ann")
MESSAGE_ID: Final = "<0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>"
BODIES: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


def content(**fields: Any) -> Content:
    """A content of which only some fields matter."""
    given_fields: dict[str, Any] = {
        "sender": NamedAddress("billing@example.com", "Billing"),
        "to": (ANN,),
        "text": "Thanks.\n",
        "message_id": MESSAGE_ID,
        "date": NOW,
    }
    return Content(**(given_fields | fields))


def render_content(**fields: Any) -> bytes:
    """The message of such a content."""
    return render(content(**fields))


def parse(mime: bytes) -> EmailMessage:
    """The message as a reader sees it; first, that any server takes it as it is."""
    assert mime.isascii()
    assert b"\0" not in mime
    assert mime.count(b"\r\n") == mime.count(b"\n") == mime.count(b"\r")
    assert mime.endswith(b"\r\n")
    assert max(map(len, mime.split(b"\r\n"))) <= 998
    message = message_from_bytes(mime, policy=SMTP)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert part.defects == []
        assert [address.defects for address in part.values()] == [() for _ in part]
    return message
