"""Convert an uploaded form (RFC 7578) to the JSON of a message.

`message` is the JSON of the message, each `attachments` a file.
"""

import asyncio
import base64
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeGuard
from urllib.parse import unquote

from fastapi import Request, Response
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Message

from app.api.auth.visitors import get_visitor
from app.api.messages.attachment_schemas import MAX_ATTACHMENTS
from app.api.requests.json_limits import BoundedRoute, check_json
from app.api.requests.media_types import get_media_type, require_identity_coding, require_utf8
from app.domain.errors import InvalidRequest

FORM: Final = "multipart/form-data"
MESSAGE: Final = "message"
FILES: Final = "attachments"
JSON_HEADER: Final = (b"content-type", b"application/json")
EXTRA: Final[dict[str, Any]] = {
    "requestBody": {
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": [MESSAGE],
                    "additionalProperties": False,
                    "properties": {
                        MESSAGE: {
                            "type": "string",
                            "description": "The message as JSON, as in an `application/json` body.",
                        },
                        FILES: {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Files to attach, each with its name and type. The HTML"
                            " can show a file with a `Content-ID`.",
                        },
                    },
                },
            }
        }
    }
}


# RFC 8187 section 3.2.1. RFC 7578 section 4.2 does not want it in forms, but some clients send it.
_EXTENDED_FILENAME: Final = re.compile(
    rb";[ \t]*filename\*=(utf-8|iso-8859-1)'[^';]*'([^;\"\s]+)", re.IGNORECASE
)
_FILENAME: Final = re.compile(rb";[ \t]*filename=", re.IGNORECASE)


class _Parser(MultiPartParser):
    """Starlette's parser, in memory: the body is bounded, and files stay off the disk."""

    spool_max_size = 2**62

    def on_header_end(self) -> None:
        value = self._current_partial_header_value
        extended_filename = _EXTENDED_FILENAME.search(value)
        if extended_filename is not None and _FILENAME.search(value) is None:
            name = unquote(
                extended_filename[2].decode("ascii", "replace"),
                extended_filename[1].decode(),
                "replace",
            )
            escaped_name = name.replace("\\", "\\\\").replace('"', '\\"')
            self._current_partial_header_value += f'; filename="{escaped_name}"'.encode()
        super().on_header_end()


class UploadRoute(BoundedRoute):
    """A route that also accepts its JSON body as a form with files."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def uploaded(request: Request) -> Response:
            is_form = get_media_type(request) == FORM
            return await handle(await _convert_to_json(request) if is_form else request)

        return uploaded


async def _convert_to_json(request: Request) -> Request:
    """Replace the form by JSON. Raises InvalidRequest or UnsupportedMediaType."""
    await get_visitor(request).identify()
    require_identity_coding(request)
    require_utf8(request)
    parser = _Parser(
        request.headers,
        request.stream(),
        max_files=MAX_ATTACHMENTS,
        max_fields=1,
        max_part_size=2**62,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:  # KeyError: the header has no boundary
        reason = (
            error.message
            if isinstance(error, MultiPartException)
            else "the Content-Type has no boundary"
        )
        raise InvalidRequest(f"The form is malformed: {reason.rstrip('.')}.") from None
    try:
        content = await asyncio.to_thread(_build_json, form)
    finally:
        await form.close()
    headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    return Request(dict(request.scope) | {"headers": [*headers, JSON_HEADER]}, receive)


def _build_json(form: FormData) -> bytes:
    messages = form.getlist(MESSAGE)
    if set(form) - {MESSAGE, FILES} or len(messages) != 1:
        raise InvalidRequest.at(
            MESSAGE,
            msg=f"write one field {MESSAGE!r} with the JSON of the message, and its files as"
            f" {FILES!r}",
        )
    [message_field] = messages
    # Browsers and `curl -F message=@m.json` send it as a file.
    content = (
        message_field.file.read()
        if isinstance(message_field, UploadFile)
        else message_field.encode()
    )
    check_json(content)
    try:
        message = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest.at(MESSAGE, msg=f"not JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get(FILES) or [], list):
        raise InvalidRequest.at(MESSAGE, msg="write a JSON object as POST /messages takes it")
    files = [file for file in form.getlist(FILES) if _is_file(file)]
    message[FILES] = [*(message.get(FILES) or []), *map(_build_attachment, files)]
    return json.dumps(message).encode()


def _is_file(value: UploadFile | str) -> TypeGuard[UploadFile]:
    """Return whether a value is a file. Browsers send an unnamed one if none is chosen."""
    return isinstance(value, UploadFile) and bool(value.filename or value.size)


def _build_attachment(file: UploadFile) -> dict[str, Any]:
    content_id = file.headers.get("content-id")
    return {
        "filename": file.filename or "",
        "content_type": file.content_type,
        "content": base64.b64encode(file.file.read()).decode(),
        "content_id": None if content_id is None else content_id.strip().strip("<>"),
    }
