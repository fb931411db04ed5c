"""Of which type a body is (RFC 9110 section 8.3)."""

from typing import Final

from fastapi import Request

from app.domain.errors import UnsupportedMediaType

RFC822: Final = "message/rfc822"


def media_type_of(request: Request) -> str:
    """Type and subtype in lower case, without parameters; empty where the request names none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_type(request: Request, noun: str, wanted: str, *others: str) -> None:
    """Raise UnsupportedMediaType where it is none of these; `noun` is what is to be sent."""
    given = media_type_of(request)
    if given not in {wanted, *others}:
        raise UnsupportedMediaType(
            f"The body is {given or 'of no type'}; send {noun} with the header"
            f" `Content-Type: {wanted}`."
        )
