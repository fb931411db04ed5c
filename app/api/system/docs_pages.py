"""Serve `/docs` and `/redoc` with a Content-Security-Policy for their own scripts only."""

import base64
import re
from hashlib import sha256
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGES: Final = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# The pages must load nothing from other hosts. Both set styles of their own, and ReDoc searches in
# a worker.
POLICY: Final = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:;"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Pages with a key in them must not be framed (clickjacking).
OTHER_HEADERS: Final = (
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class DocsPages:
    """ASGI middleware that adds a CSP Level 3 policy with hashes of inline scripts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in PAGES:
            await self._app(scope, receive, send)
            return
        start: Message = {}

        async def send_with_policy(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message  # hashing needs the page, which is sent in one part
                return
            if start:
                policy = (
                    b"content-security-policy",
                    build_policy(message.get("body", b"")).encode(),
                )
                headers = [*start.get("headers", ()), policy, *OTHER_HEADERS]
                await send({**start, "headers": headers})
                start = {}
            await send(message)

        await self._app(scope, receive, send_with_policy)


def build_policy(page: bytes) -> str:
    """Build the Content-Security-Policy of a page."""
    digests = (sha256(script).digest() for script in _INLINE.findall(page))
    hashes = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return POLICY.format(hashes=hashes)
