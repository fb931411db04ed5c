"""Check the media type of a body (RFC 9110 section 8.3)."""

import re
from typing import Final

from fastapi import Request

from app.api.requests.body_reader import has_body
from app.domain.errors import UnsupportedMediaType

RFC822: Final = "message/rfc822"
JSON: Final = "application/json"
MAX_CHARACTERS: Final = 255
_CHARSET: Final = re.compile(r'; *charset *= *"?([^";\s]*)', re.IGNORECASE)


def get_media_type(request: Request) -> str:
    """Return type and subtype in lower case, without parameters, or ""."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_identity_coding(request: Request) -> None:
    """Raise UnsupportedMediaType for a Content-Encoding (RFC 9110 section 8.4)."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        raise UnsupportedMediaType(
            f"The body is encoded ({coding[:MAX_CHARACTERS]}); send it without encoding and"
            " without the header Content-Encoding."
        )


def require_media_type(request: Request, noun: str, media_type: str, *alternatives: str) -> None:
    """Raise UnsupportedMediaType for other types; `noun` names the expected body."""
    require_identity_coding(request)
    mime_type = get_media_type(request)
    if mime_type not in {media_type, *alternatives}:
        raise UnsupportedMediaType(
            f"The body is {mime_type[:MAX_CHARACTERS] or 'of no type'}; send {noun} with the header"
            f" `Content-Type: {media_type}`."
        )
    require_utf8(request)


def require_json(request: Request) -> None:
    """Raise UnsupportedMediaType for a body that is not JSON (RFC 8259)."""
    require_identity_coding(request)
    media_type = get_media_type(request)
    if media_type == JSON or (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        require_utf8(request)
    elif media_type or has_body(request.scope):
        require_media_type(request, "JSON", JSON)


def require_utf8(request: Request) -> None:
    """Raise UnsupportedMediaType for another charset or a long header.

    Some of Python's codecs, and its parser of parameters, take quadratic time.
    """
    content_type = request.headers.get("content-type", "")
    if len(content_type) > MAX_CHARACTERS:
        raise UnsupportedMediaType(
            f"The header Content-Type has more than {MAX_CHARACTERS} characters; shorten it."
        )
    charset = _CHARSET.search(content_type)
    if charset is not None and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType(
            f"The body is in the charset {charset[1]}; send it in UTF-8, which needs no charset in"
            " Content-Type."
        )
