"""Show who is signed in, and end sessions: one's own like a sign-out, others through the API."""

from typing import Any, Final

from app.auth.caller import Caller
from app.console import sessions
from app.console.page import Visit
from app.domain.types import Scope


async def list_sessions(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List the user's own sessions and all of the tenant, or of admins."""
    cursor = visit.request.query_params.get("cursor")
    page = await visit.api.get("/console-sessions", {"cursor": cursor})
    return await _render(visit, page["items"], page["next_cursor"])


async def list_own_sessions(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List the user's own sessions; to an admin, also those of other admins."""
    if isinstance(visit.identity, Caller):
        visit.tenant = visit.identity.tenant.slug  # for the navigation
        return await _render(visit, [], None)
    return await list_sessions(visit)


async def _render(visit: Visit, all_sessions: list[Any], next_cursor: str | None) -> Any:  # noqa: ANN401 - an ASGI response
    own = await sessions.list_own(visit.services, visit.config, visit.session)
    own_ids = {session.id for session in own}
    return visit.render(
        "sessions/sessions.html",
        own=own,
        others=[session for session in all_sessions if session["id"] not in own_ids],
        next_cursor=next_cursor,
        link=visit.link if "tenant" in visit.request.path_params else visit.site_link,
    )


async def end_session(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """End a session."""
    session_id = visit.request.path_params["session"]
    own = await sessions.list_own(visit.services, visit.config, visit.session)
    for session in own:
        if session.id == session_id:
            await sessions.sign_out(visit.services, session)
            break
    else:
        await visit.api.call("DELETE", f"/console-sessions/{session_id}")
    if visit.tenant is None:
        return visit.site_redirect("/sessions", "The session has ended.")
    return visit.redirect("/sessions", "The session has ended.")


PAGES: Final = (
    ("GET", "/sessions", list_own_sessions),
    ("POST", "/sessions/{session}/end", end_session),
    ("GET", "/t/{tenant}/sessions", list_sessions),
    ("POST", "/t/{tenant}/sessions/{session}/end", end_session),
)
TABS: Final = (("/sessions", "Sessions", Scope.KEYS_MANAGE),)
