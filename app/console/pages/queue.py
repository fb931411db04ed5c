"""Show what waits, in the queue of a tenant or of all tenants."""

from typing import Final

from starlette.responses import Response

from app.console.page import Visit
from app.domain.types import Scope


async def show_queue(visit: Visit) -> Response:
    """Show the queue of the page's tenant; without one, of all tenants, to an admin."""
    if visit.tenant is None and not visit.is_admin:
        return visit.redirect("/")
    queue = await visit.api.get("/queue", {"cursor": visit.request.query_params.get("cursor")})
    return visit.render("queue.html", queue=queue)


PAGES: Final = (
    ("GET", "/queue", show_queue),
    ("GET", "/t/{tenant}/queue", show_queue),
)
TABS: Final = (("/queue", "Queue", Scope.MESSAGES_READ),)
