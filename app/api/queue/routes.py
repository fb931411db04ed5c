"""Serve `/queue`: what waits, and why."""

from typing import Annotated

from fastapi import Query

from app.api.auth.dependencies import QueueReader
from app.api.http.pagination import Paging, decode_cursor
from app.api.openapi import problems
from app.api.profiles.filter import resolve_profile_ids
from app.api.queue.schemas import DepthQuery, DepthRead, QueueQuery, QueueRead
from app.api.queue.service import read_depth, read_queue
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.domain.errors import InvalidRequest
from app.domain.ids import is_id
from app.store.delivery.queue import QueuePlace, QueueScope

router = Router("Queue")


@router.get("/queue", summary="Get the queue")
@problems("profile-not-found")
async def get_queue(
    query: Annotated[QueueQuery, Query()], caller: QueueReader, services: ReadyServices
) -> QueueRead:
    """Get the depth and age of the queue, the throughput, and the profiles that hold mail up.

    `items` lists the profiles with waiting messages or a fault, failing ones first. A key that is
    bound to profiles gets only their messages. Without `Heloise-Tenant`, an admin key gets all
    tenants' queue, and `service`.
    """
    scope = QueueScope(
        tenant_id=None if caller is None else caller.tenant_id,
        profile_ids=await resolve_profile_ids(services.database, caller, query.profile),
    )
    after, now = _parse_place(query), services.now()
    async with services.database.reading() as connection:
        return await read_queue(
            connection,
            scope,
            now=now,
            alive_since=services.alive_since(now),
            limit=query.limit,
            after=after,
        )


@router.get("/queue/depth", summary="Count the messages of the queue")
@problems("profile-not-found")
async def get_queue_depth(
    query: Annotated[DepthQuery, Query()], caller: QueueReader, services: ReadyServices
) -> DepthRead:
    """Count unfinished messages by status, among the tenant's 10000 oldest.

    Costs little, so a page may ask every few seconds. `profile`, and the profiles that a key is
    bound to, select from those 10000. Without `Heloise-Tenant`, an admin key counts the first 10000
    in the order of tenants.
    """
    scope = QueueScope(
        tenant_id=None if caller is None else caller.tenant_id,
        profile_ids=await resolve_profile_ids(services.database, caller, query.profile),
    )
    async with services.database.reading() as connection:
        return await read_depth(connection, scope, now=services.now())


def _parse_place(paging: Paging) -> QueuePlace | None:
    if paging.cursor is None:
        return None
    place = decode_cursor(paging.cursor)
    if place[:1] in {"0", "1"} and is_id(place[1:], "prf"):
        return QueuePlace(has_fault=place[0] == "1", id=place[1:])
    msg = "not a cursor of this list; write the next_cursor of a previous page, or leave it out"
    raise InvalidRequest.in_query("cursor", msg)
