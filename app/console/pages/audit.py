"""Show the audit log."""

from typing import Any, Final

from app.auth.caller import Caller
from app.console.page import Visit
from app.domain.types import Scope

FILTERS: Final = ("action",)


async def list_entries(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List entries, newest first: of a tenant, or of all for an admin."""
    if isinstance(visit.identity, Caller) and visit.tenant is None:
        visit.tenant = visit.identity.tenant.slug
        return visit.redirect("/audit-log")
    given = visit.request.query_params
    params = {name: given.get(name, "").strip() for name in FILTERS}
    page = await visit.api.get("/audit-log", {**params, "cursor": given.get("cursor")})
    return visit.render(
        "audit/entries.html",
        params=params,
        entries=page["items"],
        next_cursor=page["next_cursor"],
    )


PAGES: Final = (
    ("GET", "/audit-log", list_entries),
    ("GET", "/t/{tenant}/audit-log", list_entries),
)
TABS: Final = (("/audit-log", "Audit log", Scope.KEYS_MANAGE),)
