"""Find requests of the console among those of the API."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.services import Services
from app.domain.single_sign_on import AccessRule, OpenIdClient
from app.smtp.resolve import Network

# The ASGI app behind the console: the API.
API: Final = "heloise.api"
HOME: Final = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleSignOn:
    """The OpenID Connect provider that signs people in, and what they may do."""

    client: OpenIdClient
    rules: Sequence[AccessRule]
    network: Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleConfig:
    """How the console is served.

    `path` is its prefix, such as `/console`. A session ends after `idle_time` without a request,
    and `session_time` after the sign-in. Cookies are sent only over HTTPS if `is_secure`. Without
    `single_sign_on`, only keys sign in. `heloise dev` has an inbox, and on loopback it signs
    everybody in with `dev_key`.
    """

    path: str
    idle_time: timedelta
    session_time: timedelta
    is_secure: bool = True
    single_sign_on: SingleSignOn | None = None
    has_inbox: bool = False
    dev_key: str | None = field(default=None, repr=False)


class Console:
    """ASGI middleware that serves the console below its path; everything else is the API's.

    Without `config` there is no console. `/` leads to the console, or else to `/docs`.
    """

    def __init__(self, app: ASGIApp, *, services: Services, config: ConsoleConfig | None) -> None:
        self._app = app
        self._services = services
        self._config = config
        self._site: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, config = scope["path"], self._config
        if path == HOME and scope["method"] in {"GET", "HEAD"}:
            await RedirectResponse(_find_home(config), 307)(scope, receive, send)
        elif config is not None and (path == config.path or path.startswith(f"{config.path}/")):
            site = self._get_site(config)
            await site({**scope, API: self._app}, receive, send)
        else:
            await self._app(scope, receive, send)

    def _get_site(self, config: ConsoleConfig) -> ASGIApp:
        if self._site is None:
            # A process that serves no console needs neither its templates nor Jinja2.
            from app.console.site import build_site

            self._site = build_site(self._services, config)
        return self._site


def _find_home(config: ConsoleConfig | None) -> str:
    """Return the path of the first page."""
    if config is None:
        return "/docs"
    return f"{config.path}/" if config.dev_key is None else f"{config.path}/sign-in/dev"
