"""Read messages with the reasons why they wait: one more statement for a page."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.messages.responses import MessageRead
from app.store.delivery.waiting import load_lane_facts
from app.store.messages.views import MessageView


async def read_message(
    connection: AsyncConnection,
    tenant_id: str,
    view: MessageView,
    *,
    now: datetime,
    alive_since: datetime,
) -> MessageRead:
    """Build the response of one message."""
    [read] = await read_messages(connection, tenant_id, [view], now=now, alive_since=alive_since)
    return read


async def read_messages(
    connection: AsyncConnection,
    tenant_id: str,
    views: Sequence[MessageView],
    *,
    now: datetime,
    alive_since: datetime,
) -> list[MessageRead]:
    """Build the responses of a tenant's messages, in their order."""
    facts = await load_lane_facts(
        connection,
        tenant_id=tenant_id,
        profile_ids={view.profile_id for view in views if view.is_unfinished},
        now=now,
        alive_since=alive_since,
    )
    return [MessageRead.of(view, now, facts.get(view.profile_id)) for view in views]
