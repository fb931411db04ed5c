"""Serve `/console-sessions`: who is signed in to the console."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import Field

from app.api.auth.dependencies import ListQuery, SessionManager
from app.api.http.fields import ResponseModel
from app.api.http.pagination import Page, read_page
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.domain.console_sessions import ConsoleSession
from app.domain.errors import NotFound
from app.domain.types import Scope
from app.store import console_sessions

router = Router("Console")

EXAMPLE: Final[dict[str, Any]] = {
    "id": "ses_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "name": "ann@example.com",
    "subject": "248289761001",
    "scopes": ["messages:read", "profiles:read"],
    "source": "192.0.2.10",
    "created_at": "2026-01-15T09:30:00Z",
    "last_used_at": "2026-01-15T10:00:00Z",
    "expires_at": "2026-01-15T21:30:00Z",
}


class ConsoleSessionRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A session of the console."""

    id: str
    name: str = Field(description="The name of the key or of the person who signed in.")
    subject: str | None = Field(
        description="The OpenID Connect provider's id of the person. Null if a key signed in."
    )
    scopes: list[Scope] | None = Field(
        description="What the session may do. Null: all that its key, or an admin, may do."
    )
    source: str | None = Field(description="The IP address that signed in.")
    created_at: datetime
    last_used_at: datetime = Field(description="Updated at most once a minute.")
    expires_at: datetime = Field(
        description="When the session ends at the latest. It ends earlier if nobody uses it for"
        " HELOISE_CONSOLE_IDLE_SECONDS."
    )

    @classmethod
    def of(cls, session: ConsoleSession) -> "ConsoleSessionRead":
        scopes = None if session.scopes is None else sorted(session.scopes)
        return cls.build(session, scopes=scopes)


class ConsoleSessionPage(Page[ConsoleSessionRead]):
    """A page of sessions, newest first."""


@router.get("/console-sessions", summary="List sessions of the console")
async def list_console_sessions(
    paging: ListQuery, manager: SessionManager, services: ReadyServices
) -> ConsoleSessionPage:
    """List the tenant's sessions, newest first. Without `Heloise-Tenant`, list those of admins."""
    load = partial(
        console_sessions.page,
        tenant_id=manager.tenant_id,
        now=services.now(),
        idle_time=services.console_idle_time,
    )
    read = ConsoleSessionRead.of
    return await read_page(services.database, paging, "ses", load, ConsoleSessionPage, read)


@router.delete(
    "/console-sessions/{console_session}",
    status_code=204,
    summary="End a session of the console",
    response_description="The session has ended.",
)
@problems("console-session-not-found")
async def end_console_session(
    console_session: Annotated[
        str, Path(description="The session's id.", examples=[EXAMPLE["id"]])
    ],
    manager: SessionManager,
    services: ReadyServices,
) -> None:
    """End a session of the tenant. Without `Heloise-Tenant`, end one of an admin.

    The process that handles the request refuses the session at once, every other process within
    five seconds.

    To keep somebody out, also revoke their key, or change HELOISE_OIDC_RULES.
    """
    async with services.database.transaction() as connection:
        if not await console_sessions.remove(
            connection, tenant_id=manager.tenant_id, session_id=console_session
        ):
            raise NotFound("console-session", console_session)
        await manager.record(connection, "console_session.end", object_id=console_session)
    services.auth.forget_session(console_session)
