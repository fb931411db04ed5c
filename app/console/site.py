"""Build the console: its routes, and the headers of every answer."""

import logging
import string
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.root_path import root_path
from app.api.requests.middleware import RequestMiddleware
from app.api.services import Services
from app.auth.caller import Caller
from app.console import sessions
from app.console.api_client import ApiError
from app.console.errors import PageError
from app.console.middleware import ConsoleConfig
from app.console.page import (
    HEADERS,
    MAX_SIGN_IN_BYTES,
    PageRoutes,
    Visit,
    make_page_error,
    read_form,
)
from app.console.pages import (
    audit,
    domains,
    events,
    inbox,
    keys,
    mailboxes,
    message,
    messages,
    profiles,
    provider_webhooks,
    queue,
    statistics,
    submissions,
    suppressions,
    templates,
    tenants,
    webhooks,
)
from app.console.pages import sessions as session_pages
from app.console.rendering import read_static_files
from app.console.single_sign_on import PersonSignIn
from app.domain.errors import Problem

log = logging.getLogger(__name__)

# The modules of the pages, in the order of the navigation.
MODULES: Final[tuple[Any, ...]] = (
    messages,
    message,
    profiles,
    queue,
    templates,
    suppressions,
    domains,
    webhooks,
    mailboxes,
    provider_webhooks,
    submissions,
    events,
    statistics,
    keys,
    audit,
    session_pages,
    tenants,
)


def build_site(services: Services, config: ConsoleConfig) -> ASGIApp:
    """Build the ASGI app of the console."""
    modules = (inbox, *MODULES) if config.has_inbox else MODULES
    tabs = [tab for module in modules for tab in module.TABS]
    pages = PageRoutes(services, config, tabs)
    site = _Site(pages)
    routes = [
        Route(f"{config.path}/static/{{name}}", _serve_static),
        pages.route_stranger("/sign-in", site.show_sign_in),
        pages.route_stranger("/sign-in", site.sign_in, "POST"),
        *site.list_optional_routes(),
        pages.route("/sign-out", _sign_out, "POST"),
        pages.route("/", _lead_home),
        pages.route("", _lead_home),
    ]
    routes += [
        pages.route(path, page, method) for module in modules for method, path, page in module.PAGES
    ]
    routes.append(Route(f"{config.path}/{{path:path}}", site.show_nothing))
    frame = _Frame(Router(routes), pages)
    return RequestMiddleware(frame, record=_count_nothing, literal_paths=())


def _count_nothing(_method: str, _route: str, _status: int, _seconds: float) -> None:
    """Count no page: the API counts what it asks for."""


class _Site:
    """The pages for users who have not signed in."""

    def __init__(self, pages: PageRoutes) -> None:
        self._pages = pages

    def list_optional_routes(self) -> list[Route]:
        """Return the routes of the sign-ins that are configured, besides that with a key."""
        pages, config = self._pages, self._pages.config
        routes = []
        if config.single_sign_on is not None:
            sign_in = PersonSignIn(pages.services, config, config.single_sign_on)
            routes += [
                pages.route_stranger("/sign-in/provider", sign_in.begin),
                pages.route_stranger("/sign-in/callback", sign_in.finish),
                pages.route_stranger("/signed-out", partial(self.show_signed_out, sign_in)),
            ]
        if config.dev_key is not None:
            routes.append(pages.route_stranger("/sign-in/dev", self.sign_in_dev))
        return routes

    async def sign_in_dev(self, request: Request) -> Response:
        """Sign in with the key of `heloise dev`, if no other site asks for it."""
        services, config = self._pages.services, self._pages.config
        if await sessions.find_user(services, config, request) is not None:
            return RedirectResponse(f"{config.path}/", 303)
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return RedirectResponse(f"{config.path}/sign-in", 303)
        token = await sessions.sign_in_with_key(services, config, request, config.dev_key or "")
        return sessions.lead_in(config, token)

    async def show_sign_in(self, request: Request) -> Response:
        """Show the form."""
        return self._render(request.query_params.get("next", ""))

    async def sign_in(self, request: Request) -> Response:
        """Exchange a key for a session."""
        services, config = self._pages.services, self._pages.config
        target = ""
        try:
            sessions.require_same_origin(request)
            form = await read_form(request, MAX_SIGN_IN_BYTES)
            target = form.get("next", "")
            token = await sessions.sign_in_with_key(
                services, config, request, form.get("key", "").strip()
            )
        except (Problem, PageError) as error:
            return self._render(target, make_page_error(error))
        return sessions.lead_in(config, token, target)

    async def show_signed_out(self, sign_in: PersonSignIn, request: Request) -> Response:
        """Lead a person who has signed out to the provider, which may sign them out, too."""
        services, config = self._pages.services, self._pages.config
        if await sessions.find_user(services, config, request) is not None:
            return RedirectResponse(f"{config.path}/", 303)
        return self._pages.render(
            "signed_out.html",
            provider=config.single_sign_on and config.single_sign_on.client.provider_name,
            url=await sign_in.find_sign_out(request),
            home=f"{root_path.get()}{config.path}/sign-in",
        )

    async def show_nothing(self, request: Request) -> Response:
        """Say that there is no such page."""
        detail = f"There is no page at {request.url.path}."
        return self._pages.render_error(PageError(404, "No such page", detail))

    def _render(self, target: str, error: PageError | None = None) -> Response:
        config = self._pages.config
        action = f"{root_path.get()}{config.path}/sign-in"
        return self._pages.render(
            "sign_in.html",
            error=error,
            action=action,
            target=target,
            provider=config.single_sign_on and config.single_sign_on.client.provider_name,
            provider_link=f"{action}/provider?{urlencode({'next': target})}",
            dev_link=f"{action}/dev" if config.dev_key else None,
        )


async def _lead_home(visit: Visit) -> Response:
    if isinstance(visit.identity, Caller):
        visit.tenant = visit.identity.tenant.slug
        return visit.redirect("/messages")
    return visit.redirect("/queue")


async def _sign_out(visit: Visit) -> Response:
    await sessions.sign_out(visit.services, visit.session)
    response = visit.redirect("/signed-out" if visit.session.issuer else "/sign-in")
    sessions.set_cookie(response, visit.config, "", seconds=0)
    return response


async def _serve_static(request: Request) -> Response:
    file = read_static_files().get(request.path_params["name"])
    if file is None:
        return Response(status_code=404)
    content, media_type, version = file
    # Another replica may serve another version during an update, so a browser may keep neither.
    is_lasting = request.query_params.get("v") == version
    headers = {"cache-control": "public, max-age=31536000, immutable"} if is_lasting else {}
    return Response(content, media_type=media_type, headers=headers)


class _Frame:
    """ASGI app around all pages: adds the security headers that a response does not set itself.

    Answers unexpected errors with a page.
    """

    _headers: Final = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    def __init__(self, app: ASGIApp, pages: PageRoutes) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_started = False
        # Starlette decodes the query as ASCII.
        query = quote(scope["query_string"], safe=string.punctuation)
        scope = {**scope, "query_string": query.encode()}

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                headers = list(message.get("headers", ()))
                set_names = {name.lower() for name, _ in headers}
                headers += [item for item in self._headers if item[0] not in set_names]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ApiError as error:
            refusal = make_page_error(error)
        except HTTPException as error:
            detail = f"This page does not allow {scope['method']}."
            refusal = PageError(error.status_code, error.detail, detail, error.headers)
        except Exception:
            log.exception("could not show a page of the console", extra={"path": scope["path"]})
            if is_started:
                raise
            refusal = PageError(
                500, "Unexpected error", "The log of the service shows what happened. Try again."
            )
        else:
            return
        await self._pages.render_error(refusal)(scope, receive, send_with_headers)
