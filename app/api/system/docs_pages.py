"""Serve `/docs` and `/redoc` with a Content-Security-Policy for their own scripts only."""

import base64
import re
from hashlib import sha256
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGES: Final = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# They must work without any other host, and so they are kept from asking one. Both draw with styles
# that they make themselves, and ReDoc searches in a worker.
POLICY: Final = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:;"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# A key that was typed in there is not to be clicked for by somebody who shows them in a frame.
OTHER_HEADERS: Final = (
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class DocsPages:
    """ASGI middleware: adds the policy (CSP Level 3), with a hash of each inline script."""

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
                start = message  # a page is sent in one piece, which has to be seen first
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
    """The Content-Security-Policy of a page."""
    digests = (sha256(script).digest() for script in _INLINE.findall(page))
    hashes = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return POLICY.format(hashes=hashes)
