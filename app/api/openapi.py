"""Write the OpenAPI document: description, tags and common responses."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from app import __version__
from app.api.auth.dependencies import (
    MAX_TENANT_CHARACTERS,
    TENANT_HEADER,
    TenantScope,
    require_admin,
)
from app.api.http.problem_types import PROBLEMS
from app.api.requests.problems import MEDIA_TYPE, ProblemBody
from app.api.services import require_ready_services
from app.auth.caches import SharedReads

DESCRIPTION: Final = """\
Heloise accepts messages over HTTP, stores them in a durable queue, and delivers each through the \
SMTP server of a **profile**, with that profile's EHLO name and credentials.

**How to send.** Press *Authorize* and enter a key. Create a profile (`POST /profiles`) with an \
SMTP server and credentials, then send a message (`POST /messages`). Heloise answers \
`202 Accepted` when the message is durably stored: it survives crashes, and Heloise tries until \
it is delivered, refused for good or expired. `GET /messages/{id}` shows its status, and \
`GET /messages/{id}/attempts` every reply of the server.

**The EHLO name.** An SMTP client sends its name in EHLO. In a container this is `localhost` \
or a random host name, which strict servers refuse (`504 5.5.2 need fully-qualified hostname`). \
So each profile has an `ehlo_name`. Without it, Heloise uses the name of the tenant, service or \
machine, or the IP address, in that order, but never `localhost`. A profile's `effective_ehlo` \
shows the name and its source. If a server refuses the name, the profile is `failing` and its \
messages wait; after you change `ehlo_name`, Heloise sends them.

**Errors** are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems; `type` is one of \
`GET /problems`. Every response has the header `X-Request-ID`.
"""

TAGS: Final[list[dict[str, Any]]] = [
    {"name": "Messages", "description": "Send messages and track their delivery."},
    {"name": "Queue", "description": "What waits, since when, and which profiles hold it up."},
    {"name": "Templates", "description": "Versioned templates for messages."},
    {
        "name": "Suppressions",
        "description": "Addresses and patterns that a tenant does not send to.",
    },
    {"name": "Events", "description": "What happened, in order: as a list and as a stream."},
    {"name": "Submissions", "description": "What SMTP clients sent, and how Heloise replied."},
    {"name": "Webhooks", "description": "URLs to which Heloise posts a tenant's events."},
    {"name": "Profiles", "description": "SMTP identities: server, EHLO name, credentials, limits."},
    {"name": "Domains", "description": "Domains that Heloise signs for (DKIM), and their keys."},
    {"name": "Tenants", "description": "Owners of profiles, keys and messages (admin key)."},
    {"name": "Keys", "description": "A tenant's API keys: scopes, profiles and networks."},
    {"name": "Console", "description": "Who is signed in to the console."},
    {"name": "Audit", "description": "Who did what, from where, and which requests were refused."},
    {"name": "Health", "description": "For load balancers and orchestrators; no key needed."},
    {"name": "Problems", "description": "Types of errors; no key needed."},
]

RESEND_PREFIX: Final = "/resend/"
OPENAPI_KWARGS: Final[dict[str, Any]] = {
    "title": "Heloise",
    "summary": "Send email over HTTP: durable queue, one SMTP identity per profile",
    "description": DESCRIPTION,
    "version": __version__,
    "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "openapi_tags": TAGS,
    # No redirects: half of all clients lose the body of a redirected POST.
    "redirect_slashes": False,
    # FastAPI's own traces would record request bodies (invariant 9).
    "telemetry": {"tracing": False, "metrics": False, "logs": False},
    "swagger_ui_parameters": {
        "tryItOutEnabled": True,
        "displayRequestDuration": True,
        "persistAuthorization": True,
        "filter": True,
        "docExpansion": "list",
        "defaultModelsExpandDepth": 0,
        "validatorUrl": None,
    },
}

SECURITY_SCHEMES: Final = {
    "key": {
        "type": "http",
        "description": "A tenant's key (`hel_…`) reaches only that tenant. An admin key manages"
        " tenants and their keys, and acts for a tenant with the header `Heloise-Tenant`.",
        "scheme": "bearer",
    }
}
_TENANT_TEXT: Final = (
    "The id or slug of the tenant to act for. Required with an admin key; leave it out with a"
    " tenant's key."
)
TENANT_PARAMETER: Final[dict[str, Any]] = {
    "name": TENANT_HEADER,
    "in": "header",
    "required": False,
    "schema": {
        "anyOf": [{"type": "string", "maxLength": MAX_TENANT_CHARACTERS}, {"type": "null"}],
        "description": _TENANT_TEXT,
        "title": TENANT_HEADER,
    },
    "description": _TENANT_TEXT,
}
SCHEMA_REF: Final = "#/components/schemas/{model}"
REQUEST_ID: Final = "X-Request-ID"

_ANY: Final = ("duplicate-header", "internal-error")
_STORED: Final = ("commit-unknown", "database-unavailable", "not-ready")
_KEY: Final = ("unauthenticated", "admin-only", "network-not-allowed", "too-many-auth-failures")
_TENANT: Final = ("scope-missing", "tenant-not-found", "too-many-requests", "tenant-required")
_BODY: Final = (
    "invalid-json",
    "invalid-request",
    "json-too-large",
    "request-timeout",
    "body-too-large",
    "unsupported-media-type",
    "overloaded",
)

Responses = dict[int | str, dict[str, Any]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_NAMED: Final[dict[object, tuple[str, ...]]] = {}


def problems(*slugs: str) -> Callable[[Endpoint], Endpoint]:
    """Name the problems of an operation, without those of every caller, body and query.

    The document adds these when somebody reads it: a start must not pay for it.
    """

    def name_problems(endpoint: Endpoint) -> Endpoint:
        _NAMED[endpoint] = slugs
        return endpoint

    return name_problems


def location_header(path: str) -> dict[str, Any]:
    """Document a `Location` header with an example path."""
    return {"Location": {"description": "The path of the new object.", "schema": _string(path)}}


def lines_content(media_type: str, example: str) -> dict[str, Any]:
    """Document a body of text lines with an example."""
    return {media_type: {"schema": {}, "examples": {"lines": {"value": example}}}}


def describe_location(path: str) -> Responses:
    """Document the `Location` header of a 201 with an example path."""
    return {201: {"headers": location_header(path)}}


def _add_problems(responses: dict[Any, Any], slugs: Iterable[str]) -> None:
    """Add problems to an operation's responses, with an example each."""
    for slug in sorted(slugs, key=lambda problem_slug: PROBLEMS[problem_slug].status):
        kind = PROBLEMS[slug]
        response = responses.setdefault(str(kind.status), _problem_response(kind.status))
        examples = response["content"][MEDIA_TYPE]["examples"]
        examples[slug] = {"summary": kind.title, "value": _example(slug)}
        response["description"] = " · ".join(example["summary"] for example in examples.values())


def _problem_response(status: int) -> dict[str, Any]:
    schema = {"$ref": SCHEMA_REF.format(model=ProblemBody.__name__)}
    headers: dict[str, Any] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"schema": _string("Bearer")}
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["Retry-After"] = {
            "description": "Seconds to wait before the next request.",
            "schema": {"type": "integer", "examples": [5]},
        }
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        headers["RateLimit"] = {"schema": _string('"too-many-verifications";r=0;t=6')}
        headers["RateLimit-Policy"] = {"schema": _string('"too-many-verifications";q=10;w=60')}
    return {"content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}, "headers": headers}


def _example(slug: str) -> dict[str, Any]:
    kind = PROBLEMS[slug]
    body: dict[str, Any] = {
        "type": f"/problems/{slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.example,
        "instance": "/messages",
        "request_id": "req_0198c5a2d3f07b6e8a4c1d2e3f405162",
    }
    if slug == "invalid-request":
        place, _, msg = kind.example.partition(": ")
        body["errors"] = [{"loc": place.split("."), "msg": msg, "type": "value_error"}]
    return body


def _string(example: str) -> dict[str, Any]:
    return {"type": "string", "examples": [example]}


def customize_openapi(app: FastAPI) -> None:
    """Add what FastAPI leaves out of the OpenAPI document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build_document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way
    _keep_text(app)


def _keep_text(app: FastAPI) -> None:
    """Serialize the document once, in a thread: FastAPI takes two seconds per request."""
    texts: dict[str, bytes] = {}
    reads = SharedReads[str, bytes]()

    async def openapi(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        if root not in texts:
            write = partial(asyncio.to_thread, _text, app, root)
            await reads.get(root, write, partial(texts.__setitem__, root))
        return Response(texts[root], media_type="application/json")

    paths = [getattr(route, "path", "") for route in app.router.routes]
    route = Route(str(app.openapi_url), openapi, include_in_schema=False)
    app.router.routes[paths.index(route.path)] = route


def _text(app: FastAPI, root: str) -> bytes:
    document = app.openapi()
    if root:
        document = {**document, "servers": [{"url": root}]}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def build_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app's routes."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        license_info=app.license_info,
        tags=app.openapi_tags,
        # Resend documents its API itself.
        routes=[
            route
            for route in app.routes
            if not getattr(route, "path", "").startswith(RESEND_PREFIX)
        ],
    )
    _, schemas = models_json_schema([(ProblemBody, "serialization")], ref_template=SCHEMA_REF)
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    components = document["components"]["schemas"]
    components |= schemas["$defs"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    document["paths"] = _sort_paths(document["paths"])
    route_by_id = {
        route.unique_id: route
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute)
    }
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation, route_by_id[operation["operationId"]])
    return document


def _sort_paths(paths: dict[str, Any]) -> dict[str, Any]:
    """Put each collection before its items: `/docs` and `/redoc` keep the document's order."""
    collections = list(dict.fromkeys(path.split("/")[1] for path in paths))
    return dict(
        sorted(
            paths.items(),
            key=lambda item: (collections.index(item[0].split("/")[1]), item[0].count("/")),
        )
    )


def _complete(operation: dict[str, Any], route: RouteContext) -> None:
    """Add what follows from the caller and the request, and drop the 422 that FastAPI adds."""
    responses = operation["responses"]
    if MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        responses.pop("422", None)
    slugs = [*_ANY]
    for call in _list_calls(route.dependant):
        if isinstance(call, TenantScope) or call is require_admin:
            operation["security"] = [{scheme: []} for scheme in SECURITY_SCHEMES]
        if isinstance(call, TenantScope):
            slugs += [*_STORED, *_KEY, *_TENANT, *(["key-is-bound"] if call.is_unbound else [])]
            operation["description"] += _describe_scope(call)
            operation.setdefault("parameters", []).append(TENANT_PARAMETER)
        elif call is require_admin:
            slugs += [*_STORED, *_KEY]
        elif call is require_ready_services:
            slugs += _STORED
    if "requestBody" in operation:
        slugs += _BODY
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
        slugs.append("invalid-request")
    _add_problems(responses, dict.fromkeys([*slugs, *_NAMED.get(route.endpoint, ())]))
    for response in responses.values():
        response.setdefault("headers", {})[REQUEST_ID] = {
            "description": "The id of the request.",
            "schema": {"type": "string"},
        }


def _list_calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    """List the dependencies of an operation, and theirs."""
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _list_calls(dependency)


def _describe_scope(required: TenantScope) -> str:
    more = " and a key that is not bound to profiles" if required.is_unbound else ""
    return f"\n\nRequires the scope `{required.scope}`{more}."
