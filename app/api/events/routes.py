"""Serve `/events`: list events after a cursor, or stream them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.auth.dependencies import EventReader
from app.api.events.responses import (
    EXAMPLE,
    EventListQuery,
    EventPage,
    EventQuery,
    EventRead,
    Order,
)
from app.api.http.pagination import MAX_CURSOR_CHARACTERS, decode_cursor, encode_cursor
from app.api.openapi import problems
from app.api.profiles.filter import resolve_profile_id
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.caller import Caller
from app.domain.errors import FieldError, InvalidRequest, Unavailable
from app.domain.events import (
    FIRST_POSITION,
    Event,
    Position,
    find_matching_types,
    parse_position,
)
from app.store import events

router = Router("Events")

POLL_INTERVAL: Final = timedelta(seconds=1)
# Streams end after this time and clients reconnect, so that revoked keys and new replicas take
# effect.
STREAM_TIME: Final = timedelta(minutes=10)
# A cursor of one order would repeat or skip events in the other.
DESC_PREFIX: Final = "desc:"
STREAM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events as they happen, each with an `id` to resume after.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/events", summary="List events")
@problems("profile-not-found")
async def list_events(
    query: Annotated[EventListQuery, Query()], caller: EventReader, services: ReadyServices
) -> EventPage:
    """List the events after a cursor, complete and in the order in which they happened.

    New events always come after `next_cursor`. With `order=desc`, the newest events come first, and
    a cursor leads to older ones. A key that is bound to profiles gets only their events.
    """
    prefix = DESC_PREFIX if query.order is Order.DESC else ""
    start = _parse_start(query.cursor, "query", "cursor", prefix=prefix)
    event_query = await _build_query(services, caller, query)
    if query.order is Order.DESC:
        rows = await event_query.read_newest(services, start)
        items, has_more = rows[: query.limit], len(rows) > query.limit
        end = items[-1].position if has_more else None
    else:
        event_page = await event_query.read_page(services, start or FIRST_POSITION)
        items, end = event_page.items, event_page.end
    return EventPage(
        items=[EventRead.of(item) for item in items],
        next_cursor=None if end is None else encode_cursor(f"{prefix}{end}"),
    )


@dataclass(frozen=True, slots=True)
class _Stream:
    """A client of the event stream, and its first page."""

    services: Services
    query: "_EventQuery"
    start: Position
    first_page: events.EventPage
    stopping: asyncio.Event


async def _follow(
    query: Annotated[EventQuery, Query()],
    caller: EventReader,
    services: ReadyServices,
    request: Request,
    last_event_id: Annotated[
        str | None,
        Header(
            max_length=MAX_CURSOR_CHARACTERS,
            description="The `id` of the last event received. Clients of server-sent events send"
            " it on reconnect; `cursor` does the same.",
        ),
    ] = None,
) -> _Stream:
    """Validate the request and read the first page, while the status can still change."""
    start = _parse_start(last_event_id, "header", "Last-Event-ID")
    start = start or _parse_start(query.cursor, "query", "cursor")
    if start is None:
        async with services.database.reading() as connection:
            start = await events.horizon(connection)
    event_query = await _build_query(services, caller, query)
    stopping = getattr(request.state, "stopping", None) or asyncio.Event()
    first_page = await event_query.read_page(services, start)
    return _Stream(services, event_query, start, first_page, stopping)


@router.get(
    "/events/stream",
    summary="Stream events",
    response_class=EventSourceResponse,
    responses=STREAM_RESPONSES,
)
@problems("profile-not-found")
async def stream_events(
    following: Annotated[_Stream, Depends(_follow)],
) -> AsyncIterator[ServerSentEvent]:
    """Stream events as server-sent events: `event` is the type, `data` the event as JSON.

    The stream starts after `Last-Event-ID` or `cursor`, or now. It ends every ten minutes and when
    the service stops; reconnect to continue.
    """
    services, event_page = following.services, following.first_page
    ends_at = services.now() + STREAM_TIME
    # The id lets a client that gets no event before the stream ends continue from its start.
    start = encode_cursor(str(following.start))
    yield ServerSentEvent(comment="from now on", id=start, retry=1000)
    while True:
        for event in event_page.items:
            yield ServerSentEvent(
                data=EventRead.of(event),
                event=event.type.value,
                id=encode_cursor(str(event.position)),
            )
        now = services.now()
        if following.stopping.is_set() or now >= ends_at:
            return
        if len(event_page.items) < following.query.limit:
            await services.clock.wait(following.stopping, now + POLL_INTERVAL)
        try:
            event_page = await following.query.read_page(services, event_page.end)
        except Unavailable:  # the client reconnects and continues here
            return


@router.get("/events/{event}", summary="Get an event")
@problems("event-not-found")
async def get_event(
    event: Annotated[str, Path(description="The event's id.", examples=[EXAMPLE["id"]])],
    caller: EventReader,
    services: ReadyServices,
) -> EventRead:
    """Get an event."""
    async with services.database.reading() as connection:
        event_row = await events.find(connection, tenant_id=caller.tenant_id, event_id=event)
    return EventRead.of(caller.require_reachable("event", event, event_row))


@dataclass(frozen=True, slots=True)
class _EventQuery:
    """The filters of an event list, resolved once per request."""

    tenant_id: str
    limit: int
    filters: events.EventFilters

    async def read_page(self, services: Services, start: Position) -> events.EventPage:
        async with services.database.reading() as connection:
            return await events.page(
                connection,
                tenant_id=self.tenant_id,
                limit=self.limit,
                start=start,
                **self.filters,
            )

    async def read_newest(self, services: Services, before: Position | None) -> list[Event]:
        """Read the events before a position, newest first, and one more than a page."""
        async with services.database.reading() as connection:
            return await events.page_newest_first(
                connection,
                tenant_id=self.tenant_id,
                limit=self.limit + 1,
                before=before,
                **self.filters,
            )


async def _build_query(services: Services, caller: Caller, query: EventQuery) -> _EventQuery:
    """Resolve a request's filters within the caller's reach.

    Raises InvalidRequest or NotFound.
    """
    try:
        types = find_matching_types(query.type)
    except ValueError as error:
        raise InvalidRequest.in_query("type", str(error)) from None
    profile_ids = caller.profiles
    if query.profile is not None:
        async with services.database.reading() as connection:
            profile_id = await resolve_profile_id(connection, caller, query.profile)
        profile_ids = (profile_id,) if caller.can_reach(profile_id) else ()
    filters: events.EventFilters = {
        "types": types,
        "profile_ids": profile_ids,
        "message_id": query.message,
        "created_after": query.created_after,
    }
    return _EventQuery(caller.tenant_id, query.limit, filters)


def _parse_start(cursor: str | None, *loc: str, prefix: str = "") -> Position | None:
    if cursor is None:
        return None
    try:
        text = decode_cursor(cursor)
        return parse_position(text.removeprefix(prefix) if text.startswith(prefix) else "")
    except ValueError:
        msg = (
            "not a cursor of events in this order; write the next_cursor of a previous response, or"
            " leave it out"
        )
        raise InvalidRequest(f"{'.'.join(loc)}: {msg}", [FieldError(loc, msg)]) from None
