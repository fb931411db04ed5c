"""Show the audit log."""

from typing import Final

from starlette.responses import Response

from app.auth.caller import Caller
from app.console.forms import ANY, Field, list_choices, read_list
from app.console.page import Visit
from app.domain.audit import ActorKind
from app.domain.types import Scope

FILTERS: Final = (
    Field("action", "Action", hint="Such as key.create"),
    Field("object_id", "Object"),
    Field("actor_name", "Name of the actor"),
    Field("actor_id", "Key or session"),
    Field("actor_kind", "Kind of actor", options=[ANY, *list_choices(ActorKind)]),
    Field("source", "Address or machine"),
    Field("refused", "Result", options=[ANY, ("false", "done"), ("true", "refused")]),
    Field("request_id", "Request"),
    Field("created_after", "Since"),
    Field("created_before", "Before"),
)


async def list_entries(visit: Visit) -> Response:
    """List entries, newest first: of a tenant, or of all for an admin."""
    if isinstance(visit.identity, Caller) and visit.tenant is None:
        visit.tenant = visit.identity.tenant.slug
        return visit.redirect("/audit-log")
    page, filters = await read_list(visit, "/audit-log", FILTERS)
    return visit.render("audit.html", status=filters.status, page=page, filters=filters)


PAGES: Final = (
    ("GET", "/audit-log", list_entries),
    ("GET", "/t/{tenant}/audit-log", list_entries),
)
TABS: Final = (("/audit-log", "Audit log", Scope.KEYS_MANAGE),)
