"""Serve a page of the console: session, form, rendering and security headers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from app.api.http.problem_types import PROBLEMS
from app.api.http.root_path import root_path
from app.api.services import Services
from app.auth.caller import Caller
from app.console import sessions
from app.console.api_client import ApiClient, ApiError, Forward
from app.console.errors import PageError
from app.console.middleware import ConsoleConfig
from app.console.rendering import build_time, read_static_files, render
from app.domain.audit import Actor
from app.domain.console_sessions import ConsoleSession
from app.domain.errors import Problem, TooManyRequests, Unavailable
from app.domain.types import Scope

MAX_FORM_BYTES: Final = 1024 * 1024
MAX_SIGN_IN_BYTES: Final = 16 * 1024
MAX_FORM_FIELDS: Final = 1000
FORM_SECONDS: Final = 15.0
NOTICE: Final = "notice"  # the cookie that tells of a change on the next page
NOTICE_SECONDS: Final = 30
# Scripts and styles only from the console's own files; nothing from other hosts.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


# A page of a tenant in the navigation: path, name, and the scope that it needs.
Tab = tuple[str, str, Scope]


@dataclass
class Visit:
    """A request of a signed-in user. `tenant` is the slug of the page's tenant, if it has one."""

    request: Request
    services: Services
    config: ConsoleConfig
    session: ConsoleSession
    identity: Actor | Caller
    tabs: Sequence[Tab]
    tenant: str | None = None
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_admin(self) -> bool:
        """Whether an admin is signed in."""
        return isinstance(self.identity, Actor)

    @property
    def is_live(self) -> bool:
        """Whether an open page asks for its live part."""
        return self.request.headers.get("heloise-live") == "true"

    @cached_property
    def api(self) -> ApiClient:
        """The API as this user sees it, for the page's tenant."""
        tenant = self.tenant if self.is_admin else None
        return ApiClient(self.request, self.session, tenant)

    def can(self, scope: str) -> bool:
        """Whether the user has a scope; an admin has all of them."""
        if isinstance(self.identity, Actor):
            return True
        key = self.identity.key
        return key is None or key.has_scope(Scope(scope))

    def link(self, path: str, **params: Any) -> str:  # noqa: ANN401 - values of a query
        """Return the URL of a page of the tenant, such as `/messages`."""
        place = "" if self.tenant is None else f"/t/{self.tenant}"
        return self.site_link(place + path, **params)

    def site_link(self, path: str, **params: Any) -> str:  # noqa: ANN401 - values of a query
        """Return the URL of a page that belongs to no tenant, such as `/tenants`."""
        return f"{root_path.get()}{self.config.path}{quote(path)}{_build_query(params)}"

    def with_query(self, **changes: Any) -> str:  # noqa: ANN401 - values of a query
        """Return the page's URL with some parameters changed; None removes one."""
        params = dict(self.request.query_params) | changes
        path = f"{root_path.get()}{self.request.url.path}"
        return path + (_build_query(params) or "?")

    def render(
        self,
        template: str,
        /,
        *,
        status: int = 200,
        error: ApiError | None = None,
        **values: Any,  # noqa: ANN401 - what the templates show
    ) -> Response:
        """Render a page; an error of the API is its `problem`, and decides the status."""
        now = self.services.now()
        notice = self.request.cookies.get(sessions.cookie_name(self.config, NOTICE))
        text = render(
            template,
            visit=self,
            csrf=sessions.derive_csrf_token(self.request, self.config),
            asset=make_asset_link(self.config),
            ago=lambda value: build_time(value, now),
            notice=notice,
            **{"problem": error and error.detail, **values},
        )
        response = (
            HTMLResponse(text, status)
            if error is None
            else HTMLResponse(text, error.status, error.headers)
        )
        if notice is not None and not self.is_live:
            sessions.set_cookie(response, self.config, "", purpose=NOTICE, seconds=0)
        return response

    def redirect(self, path: str, notice: str = "", **params: Any) -> Response:  # noqa: ANN401 - values of a query
        """Lead to a page of the tenant, if the page has one, after a change that `notice` tells."""
        # `RootPath` adds its path to Location.
        response = RedirectResponse(self.link(path, **params).removeprefix(root_path.get()), 303)
        if notice:
            sessions.set_cookie(
                response, self.config, quote(notice), purpose=NOTICE, seconds=NOTICE_SECONDS
            )
        return response


Page = Callable[[Visit], Awaitable[Response | Forward]]


def make_asset_link(config: ConsoleConfig) -> Callable[[str], str]:
    """Return a function that builds the URL of a script or style, with its version."""
    files = read_static_files()

    def link(name: str) -> str:
        return f"{root_path.get()}{config.path}/static/{name}?v={files[name][2]}"

    return link


@dataclass(frozen=True, slots=True)
class PageRoutes:
    """Build routes of pages for signed-in users."""

    services: Services
    config: ConsoleConfig
    tabs: Sequence[Tab]

    def route(self, path: str, page: Page, method: str = "GET") -> Route:
        """Return the route of a page below the console's path."""

        async def serve(request: Request) -> Response | Forward:
            try:
                visit = await self._admit(request)
                if not isinstance(visit, Visit):
                    return visit
                return await _serve_page(page, visit)
            except (Problem, PageError) as error:
                return self.render_problem(error)

        return Route(self.config.path + path, serve, methods=[method])

    def route_stranger(
        self, path: str, page: Callable[[Request], Awaitable[Response]], method: str = "GET"
    ) -> Route:
        """Return the route of a page that needs no session."""

        async def serve(request: Request) -> Response:
            try:
                return await page(request)
            except (Problem, PageError) as error:
                return self.render_problem(error)

        return Route(self.config.path + path, serve, methods=[method])

    def render_problem(self, error: Problem | PageError) -> Response:
        """Render the page of an error, which may be the API's."""
        return self.render_error(make_page_error(error))

    async def _admit(self, request: Request) -> Visit | Response:
        """Return the visit of the session's user, or a response that leads to the sign-in."""
        services, config = self.services, self.config
        services.auth.require_schema()
        user = await sessions.find_user(services, config, request)
        if user is None:
            return self._lead_to_sign_in(request)
        session, identity = user
        form: Mapping[str, str] = {}
        if request.method not in sessions.SAFE_METHODS:
            sessions.require_same_origin(request)
            form = await read_form(request, MAX_FORM_BYTES)
            sessions.require_csrf_token(request, config, form.get("csrf", ""))
        tenant = request.path_params.get("tenant")
        if "\0" in (tenant or ""):
            raise PageError(404, "No such tenant", "A slug contains no NUL.")
        if isinstance(identity, Caller) and tenant not in {None, identity.tenant.slug}:
            tenant = identity.tenant.slug
            return RedirectResponse(f"{config.path}/t/{tenant}/messages", 303)
        return Visit(request, services, config, session, identity, self.tabs, tenant, form)

    def _lead_to_sign_in(self, request: Request) -> Response:
        if request.headers.get("sec-fetch-site") == "cross-site":
            # A link from another site comes without the cookie (`SameSite=Strict`); the page loads
            # itself again, as its own.
            return HTMLResponse(render("again.html"))
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        where = f"{self.config.path}/sign-in"
        if request.method in sessions.SAFE_METHODS and target.rstrip("/") != self.config.path:
            where += f"?{urlencode({'next': target})}"
        if request.headers.get("hx-request"):  # a part of a page cannot be the sign-in
            return Response(headers={"HX-Redirect": root_path.get() + where})
        return RedirectResponse(where, 303)

    def render_error(self, error: PageError) -> Response:
        """Render the page of an error."""
        home = f"{root_path.get()}{self.config.path}/"
        return self.render("problem.html", error=error, title=error.title, home=home)

    def render(
        self,
        template: str,
        /,
        *,
        error: PageError | None = None,
        **values: Any,  # noqa: ANN401 - what the templates show
    ) -> Response:
        """Render a page for who has not signed in; an error is its `problem`."""
        text = render(
            template,
            visit=None,
            asset=make_asset_link(self.config),
            notice=None,
            problem=error and error.detail,
            **values,
        )
        if error is None:
            return HTMLResponse(text)
        return HTMLResponse(text, error.status, error.headers)


def make_page_error(error: Problem | PageError | ApiError) -> PageError:
    """Make the error of a page from one of the API's."""
    if isinstance(error, ApiError):
        return PageError(error.status, error.body["title"], error.detail, error.headers)
    if isinstance(error, PageError):
        return error
    kind, headers = PROBLEMS[error.slug], None
    if isinstance(error, TooManyRequests | Unavailable):
        headers = {"Retry-After": str(error.retry_after_seconds)}
    return PageError(kind.status, kind.title, error.detail, headers)


async def _serve_page(page: Page, visit: Visit) -> Response | Forward:
    try:
        return await page(visit)
    except ApiError as error:
        title = error.body["title"]
        return visit.render("problem.html", error=error, title=title, home=visit.site_link("/"))


async def read_form(request: Request, max_bytes: int) -> Mapping[str, str]:
    """Read the fields of a form; raises PageError if it is too large, too slow or broken.

    Of repeated fields, the values are joined by line feeds.
    """
    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise PageError(413, "Form too large", f"It exceeds {max_bytes} bytes.")
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except (ValueError, TimeoutError):
        raise PageError(
            400, "Invalid form", "The request is not a form of the console. Load the page again."
        ) from None
    form = dict[str, str]()
    for name, value in pairs:
        text = value.replace("\r\n", "\n")
        form[name] = f"{form[name]}\n{text}" if name in form else text
    return form


def _build_query(params: Mapping[str, Any]) -> str:
    present = {name: value for name, value in params.items() if value not in {None, ""}}
    return f"?{urlencode(present)}" if present else ""
