"""Serve foreign HTML as the document of an `<iframe sandbox>`."""

import re
from typing import Final

from starlette.responses import HTMLResponse, Response

# Scripts, forms, frames and fonts never; the document has an origin of its own.
_POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src {images}; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'"
)
_LINK: Final = re.compile("<link", re.IGNORECASE)


def respond_with_html(html: str, *, allow_remote: bool) -> Response:
    """Return a response with foreign HTML, which loads images of other hosts only if allowed."""
    images = "data: https: http:" if allow_remote else "data:"
    # A policy does not stop `<link rel=preconnect>`, which tells a server who reads.
    content = _LINK.sub("<removed-link", html)
    return HTMLResponse(
        content.encode("utf-8", "replace"),
        headers={
            "content-security-policy": _POLICY.format(images=images),
            "x-frame-options": "SAMEORIGIN",
            "referrer-policy": "no-referrer",
            "x-dns-prefetch-control": "off",
        },
    )
