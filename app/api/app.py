"""Install middleware, error handlers and routers into the app."""

from operator import itemgetter
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.routing import compile_path

from app.api.http.root_path import DocsRootPath, RootPath
from app.api.messages.fast_path import SendFastPath
from app.api.openapi import OPENAPI_KWARGS, customize_openapi
from app.api.requests.body_memory import Budget
from app.api.requests.body_reader import BodyMiddleware
from app.api.requests.middleware import RequestMiddleware
from app.api.requests.problems import add_handlers
from app.api.resend.middleware import ResendSurface
from app.api.routers import admin_routers, routers
from app.api.services import Services
from app.api.system.docs_pages import DocsPages

__all__: Final = ["OPENAPI_KWARGS", "install"]


def install(
    app: FastAPI, services: Services, budget: Budget, console: Middleware | None = None
) -> None:
    """Install the API into an app that was created with `OPENAPI_KWARGS`.

    Request bodies count against `budget`. `console` serves its own paths.
    """
    app.state.services = services
    if services.root_path:
        app.add_middleware(DocsRootPath)
    app.add_middleware(SendFastPath)
    app.add_middleware(DocsPages)
    app.add_middleware(BodyMiddleware, max_body_bytes=services.max_body_bytes, budget=budget)
    admin = services.admin_prefix
    prefixed = [("", router) for router in routers] + [(admin, router) for router in admin_routers]
    routes = [
        (prefix + route.path, route.methods)
        for prefix, router in prefixed
        for route in router.routes
        if isinstance(route, APIRoute)
    ]
    app.add_middleware(
        RequestMiddleware,
        record=services.record_request,
        literal_paths={path for path, _ in routes if "{" not in path},
    )
    if console is not None:
        app.add_middleware(console.cls, *console.args, **console.kwargs)
    app.add_middleware(ResendSurface)
    if services.root_path:
        app.add_middleware(RootPath, path=services.root_path)
    add_handlers(app)
    for prefix, router in prefixed:
        if prefix:
            app.include_router(router, prefix=prefix)
        else:  # `include_router` would build every route again at the first request
            app.router.routes.extend(router.routes)
    # The methods of each path. Literal paths come before those with parameters.
    ways = [("{" in path, compile_path(path)[0], methods) for path, methods in routes]
    app.state.ways = sorted(ways, key=itemgetter(0))
    customize_openapi(app)
