"""Store a message from the command line: any process that delivers sends it."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.accept.group import Acceptance, Group
from app.auth.caller import Caller
from app.auth.quotas import build_quota_problem
from app.domain.clock import SystemClock
from app.domain.types import NewMessage
from app.store.messages import queries as messages
from app.store.messages.views import MessageView


async def store_message(
    connection: AsyncConnection, caller: Caller, message: NewMessage
) -> MessageView:
    """Store a message within the tenant's quota, and read it; raises QuotaExceeded."""
    now = SystemClock().now()
    group = Group([Acceptance(message, caller.tenant.quota)])
    await group.write(connection, now)
    for refusal in group.refused.values():
        raise build_quota_problem(refusal.exceeded, now)
    return await messages.get(connection, tenant_id=caller.tenant_id, message_id=message.id)
