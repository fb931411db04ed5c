"""Serve foreign HTML as the document of an `<iframe sandbox>`."""

import re
from typing import Final

from starlette.responses import HTMLResponse, Response

# Scripts, forms, frames and fonts never; the document has an origin of its own.
_POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src {images}; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'"
)
# A policy does not stop `<link rel=preconnect>`, and Chromium connects to the server of a frame
# before it asks the policy: both tell a server who reads.
_CONNECTING: Final = re.compile(r"<(?=link|i?frame|object|embed)", re.IGNORECASE)


def respond_with_html(html: str, *, allow_remote: bool) -> Response:
    """Return a response with foreign HTML, which loads images of other hosts only if allowed."""
    images = "data: https: http:" if allow_remote else "data:"
    content = _CONNECTING.sub("<removed-", html)
    return HTMLResponse(
        content.encode("utf-8", "replace"),
        headers={
            "content-security-policy": _POLICY.format(images=images),
            "x-frame-options": "SAMEORIGIN",
            "referrer-policy": "no-referrer",
            "x-dns-prefetch-control": "off",
        },
    )
