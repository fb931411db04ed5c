"""Show what waits, in the queue of a tenant or of all tenants."""

from typing import Any, Final

from app.console.page import Visit
from app.domain.types import Scope


async def show_queue(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the queue of the page's tenant; without one, of all tenants, to an admin."""
    if visit.tenant is None and not visit.is_admin:
        return visit.site_redirect("/")
    queue = await visit.api.get("/queue", {"cursor": visit.request.query_params.get("cursor")})
    template = "queue/part.html" if visit.is_live else "queue/queue.html"
    return visit.render(template, queue=queue)


PAGES: Final = (
    ("GET", "/queue", show_queue),
    ("GET", "/t/{tenant}/queue", show_queue),
)
TABS: Final = (("/queue", "Queue", Scope.MESSAGES_READ),)
