"""Define the JSON of an attachment."""

import binascii
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from app.api.http.fields import RequestModel
from app.domain.mime.attachment import (
    MAX_FILENAME_CHARACTERS,
    Attachment,
    parse_content_type,
    strip_directories,
)
from app.domain.mime.byte_blocks import BLOCK_BYTES, join_blocks
from app.domain.mime.media_types import DEFAULT_TYPE, find_disguise, guess_type

MAX_ATTACHMENTS: Final = 100
BASE64_QUANTUM: Final = 4  # characters of base64 for three bytes


def _decode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return join_blocks(_decode_blocks(value))
    except (binascii.Error, ValueError):
        raise ValueError(
            "not base64: encode the file's bytes with padding (RFC 4648 section 4)"
        ) from None


def _decode_blocks(text: str) -> Iterator[bytes]:
    """Decode base64 in blocks, so that other threads run in between."""
    rest, is_padded = "", False
    for start in range(0, len(text), BLOCK_BYTES):
        digits = rest + "".join(text[start : start + BLOCK_BYTES].split())
        if digits and is_padded:
            raise ValueError("not base64: remove what follows the padding")
        whole_length = len(digits) - len(digits) % BASE64_QUANTUM
        yield binascii.a2b_base64(digits[:whole_length], strict_mode=True)
        is_padded, rest = digits.endswith("=", 0, whole_length), digits[whole_length:]
    yield binascii.a2b_base64(rest, strict_mode=True)


class AttachmentBody(RequestModel):
    """A file to attach."""

    filename: Annotated[str, AfterValidator(strip_directories)] = Field(
        default="",
        max_length=MAX_FILENAME_CHARACTERS,
        description="The file name, in any script. If it is a path, Heloise uses the last part.",
        examples=["receipt.pdf"],
    )
    content_type: str | None = Field(
        default=None,
        max_length=800,
        description="The media type, with parameters if any. Default: derived from the file name."
        " `text/calendar; method=REQUEST` makes an invitation.",
        examples=["application/pdf"],
    )
    content: Annotated[bytes, BeforeValidator(_decode, json_schema_input_type=str)] = Field(
        description="The file's bytes in base64.", examples=["JVBERi0xLjcK"]
    )
    content_id: str | None = Field(
        default=None,
        description='The id by which the HTML shows the file: `<img src="cid:logo@example.com">`.',
        examples=["logo@example.com"],
    )
    disposition: Literal["attachment", "inline"] | None = Field(
        default=None,
        description="Default: `inline` with a `content_id`, otherwise `attachment`.",
    )

    @model_validator(mode="after")
    def _check_disguise(self) -> "AttachmentBody":
        parsed = parse_content_type(self.to_attachment().content_type)
        if parsed and (disguise := find_disguise(self.filename, parsed[0])):
            raise ValueError(disguise)
        return self

    def to_attachment(self) -> Attachment:
        """Decode the file; raises ValueError."""
        is_inline = None if self.disposition is None else self.disposition == "inline"
        return Attachment(
            filename=self.filename,
            content_type=self.content_type or guess_type(self.filename) or DEFAULT_TYPE,
            content=self.content,
            content_id=self.content_id,
            is_inline=is_inline,
        )
