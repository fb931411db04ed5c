"""A message whose outcome is uncertain, as a worker leaves one that loses the last reply."""

from datetime import timedelta

from app.domain.delivery.status import RecipientEvent, next_status
from app.domain.types import MessageStatus, RecipientStatus
from app.store.outbox import claims as outbox
from app.store.outbox import results as outcomes
from tests.support.api_client import MESSAGE, Api, Caller

WORKER = "wrk_test"


async def held_message(api: Api, caller: Caller, *to: str) -> str:
    """The id of a message that was sent to these, and may have arrived at each."""
    body = MESSAGE | {"to": list(to or MESSAGE["to"]), "guarantee": "at_most_once"}
    created_message = await caller.made("/messages", body)
    now = api.services.now()
    marked = next_status(RecipientStatus.QUEUED, RecipientEvent.MARK)
    async with api.services.database.transaction() as connection:
        claimed = await outbox.claim(
            connection,
            [outbox.ClaimRequest(created_message["profile_id"], 100, 1_000_000)],
            owner=WORKER,
            now=now,
            lease_until=now + timedelta(minutes=1),
        )
        [message] = [candidate for candidate in claimed if candidate.id == created_message["id"]]
        updates = tuple(
            outcomes.RecipientUpdate(
                position=recipient.position,
                status=marked,
                attempts=1,
                next_attempt_at=None,
                reply=None,
                classification="outcome_unknown",
            )
            for recipient in message.recipients
        )
        ended = outcomes.Settlement(
            message_id=message.id,
            recipients=updates,
            status=MessageStatus.HELD,
            due_at=None,
            attempts=(),
        )
        await outcomes.settle(connection, owner=WORKER, settlements=[ended], now=now)
    return message.id
