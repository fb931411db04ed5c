"""Show the sessions of SMTP clients: what they said, and what Heloise replied."""

from typing import Final

from starlette.responses import Response

from app.console.forms import Field, read_list
from app.console.page import Visit
from app.domain.types import Scope

FILTERS: Final = (
    Field("client_address", "Client's IP address"),
    Field("login", "User name"),
    Field("message", "Message id"),
    Field("profile", "Profile"),
    Field("started_after", "Started since"),
    Field("started_before", "Started before"),
)


async def list_submissions(visit: Visit) -> Response:
    """List sessions with the API's filters."""
    page, filters = await read_list(visit, "/submissions", FILTERS)
    return visit.render("submissions/list.html", status=filters.status, page=page, filters=filters)


async def show(visit: Visit) -> Response:
    """Show the dialogue of a session."""
    submission = await visit.api.get(f"/submissions/{visit.request.path_params['submission']}")
    return visit.render("submissions/submission.html", submission=submission)


PAGES: Final = (
    ("GET", "/t/{tenant}/submissions", list_submissions),
    ("GET", "/t/{tenant}/submissions/{submission}", show),
)
TABS: Final = (("/submissions", "SMTP sessions", Scope.MESSAGES_READ),)
