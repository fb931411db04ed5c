"""Define the JSON of emails in requests, as Resend's SDKs send it."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from app.api.http.fields import Address, Line, RequestModel, Text
from app.api.messages.attachment_schemas import MAX_ATTACHMENTS
from app.api.messages.schemas import (
    MAX_HEADERS,
    MAX_METADATA,
    MAX_REPLY_TO,
    MAX_SUBJECT_CHARACTERS,
    Addresses,
    Recipients,
    Variables,
)

MAX_BATCH: Final = 100
NO_BYTES: Final = "write the file in base64, or as an array of its bytes"


def _read_content(value: object) -> object:
    """Return bytes for an array of numbers or Node's JSON of a Buffer; base64 stays a string."""
    if isinstance(value, dict) and value.keys() == {"type", "data"} and value["type"] == "Buffer":
        value = value["data"]
    if isinstance(value, list):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            raise ValueError(NO_BYTES) from None
    if value is None or isinstance(value, str):
        return value
    raise ValueError(NO_BYTES)


class EmailAttachment(RequestModel):
    """A file: its content, or the URL to download it from."""

    filename: Text | Literal[False] | None = None
    content: Annotated[
        str | bytes | None, BeforeValidator(_read_content, json_schema_input_type=Any)
    ] = None
    path: Line | None = Field(default=None, max_length=2000)
    content_type: str | None = None
    content_id: str | None = None
    inline_content_id: str | None = None


class EmailTag(RequestModel):
    """A name and its value, which Heloise keeps as metadata."""

    name: Annotated[Line, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
    value: Annotated[Line, Field(max_length=256, pattern=r"^[A-Za-z0-9_-]*$")]


class EmailTemplate(RequestModel):
    """A published template and the values of its variables."""

    id: Text = Field(max_length=100)
    variables: Variables = Field(default_factory=dict)


class EmailCreate(RequestModel):
    """An email to send."""

    sender: Address | None = Field(default=None, alias="from")
    to: Recipients = Field(default_factory=list)
    cc: Recipients = Field(default_factory=list)
    bcc: Recipients = Field(default_factory=list)
    reply_to: Addresses = Field(default_factory=list, max_length=MAX_REPLY_TO)
    subject: str | None = Field(default=None, max_length=MAX_SUBJECT_CHARACTERS)
    html: Text | None = None
    text: Text | None = None
    headers: dict[str, str] = Field(default_factory=dict, max_length=MAX_HEADERS)
    attachments: list[EmailAttachment] = Field(default_factory=list, max_length=MAX_ATTACHMENTS)
    tags: list[EmailTag] = Field(default_factory=list, max_length=MAX_METADATA)
    scheduled_at: Line | None = Field(default=None, max_length=100)
    template: EmailTemplate | None = None
    topic_id: Line | None = Field(default=None, max_length=64)


class EmailUpdate(RequestModel):
    """A new time for a scheduled email. Python's SDK repeats the id."""

    id: Text | None = None
    scheduled_at: Line = Field(max_length=100)
