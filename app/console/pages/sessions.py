"""Show who is signed in, and end sessions: one's own like a sign-out, others through the API."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from app.auth.caller import Caller
from app.console import sessions
from app.console.forms import read_list
from app.console.page import Visit
from app.domain.types import Scope


async def list_sessions(visit: Visit) -> Response:
    """List the user's own sessions and all of the tenant, or of admins."""
    page, _ = await read_list(visit, "/console-sessions")
    return await _render(visit, page)


async def list_own_sessions(visit: Visit) -> Response:
    """List the user's own sessions; to an admin, also those of other admins."""
    if isinstance(visit.identity, Caller):
        visit.tenant = visit.identity.tenant.slug  # for the navigation
        return await _render(visit, {"items": [], "next_cursor": None})
    return await list_sessions(visit)


async def _render(visit: Visit, page: Mapping[str, Any]) -> Response:
    own = await sessions.list_own(visit.services, visit.config, visit.session)
    own_ids = {session.id for session in own}
    return visit.render(
        "sessions/sessions.html",
        own=own,
        others=[session for session in page["items"] if session["id"] not in own_ids],
        next_cursor=page["next_cursor"],
        link=visit.link if "tenant" in visit.request.path_params else visit.site_link,
    )


async def end_session(visit: Visit) -> Response:
    """End a session."""
    session_id = visit.request.path_params["session"]
    own = await sessions.list_own(visit.services, visit.config, visit.session)
    for session in own:
        if session.id == session_id:
            await sessions.sign_out(visit.services, session)
            break
    else:
        await visit.api.call("DELETE", f"/console-sessions/{session_id}")
    return visit.redirect("/sessions", "The session has ended.")


PAGES: Final = (
    ("GET", "/sessions", list_own_sessions),
    ("POST", "/sessions/{session}/end", end_session),
    ("GET", "/t/{tenant}/sessions", list_sessions),
    ("POST", "/t/{tenant}/sessions/{session}/end", end_session),
)
TABS: Final = (("/sessions", "Sessions", Scope.KEYS_MANAGE),)
