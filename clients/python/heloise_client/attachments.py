"""Encode files for the field `attachments` of a message."""

import base64
from os import PathLike
from pathlib import Path

from heloise_client.types import AttachmentBody


def attach_file(
    file: str | PathLike[str], *, content_type: str | None = None, content_id: str | None = None
) -> AttachmentBody:
    """Read a file from disk and make an attachment of it."""
    path = Path(file)
    return attach_bytes(
        path.read_bytes(), path.name, content_type=content_type, content_id=content_id
    )


def attach_bytes(
    content: bytes,
    filename: str = "",
    *,
    content_type: str | None = None,
    content_id: str | None = None,
) -> AttachmentBody:
    """Make an attachment of bytes. HTML shows it inline by its `content_id`: `cid:logo`.

    Without a `content_type`, Heloise derives it from the file name.
    """
    attachment: AttachmentBody = {"content": base64.b64encode(content).decode("ascii")}
    if filename:
        attachment["filename"] = filename
    if content_type is not None:
        attachment["content_type"] = content_type
    if content_id is not None:
        attachment["content_id"] = content_id
    return attachment
