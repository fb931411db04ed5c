"""Dispatch events to webhooks, with retries."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Final

from app.domain.clock import Clock, monotonic_seconds
from app.domain.errors import NotFound, SealError, Unavailable
from app.domain.resend_events import RESEND_TYPES
from app.domain.webhooks import (
    RESPONSE_TIMEOUT_SECONDS,
    WebhookFormat,
    WebhookResponse,
    compute_retry_wait,
)
from app.smtp.resolve import Network
from app.store import events
from app.store.db.database import Database
from app.store.db.retry_loop import run_until_stopped
from app.store.messages import queries as messages
from app.store.secrets.contexts import webhook_secret
from app.store.secrets.encryption import OpenSealed
from app.store.webhooks import deliveries as webhook_deliveries
from app.store.webhooks import enqueueing
from app.store.webhooks.deliveries import ClaimedDelivery, DeliveryResult, DueWebhook
from app.webhooks.slots import Slot, allocate

if TYPE_CHECKING:
    from app.webhooks.signed_post import Poster

log = logging.getLogger(__name__)

# The longest delay before an event is noticed.
POLL_INTERVAL: Final = timedelta(seconds=1)
# Enough for the response and for storing it.
LEASE: Final = timedelta(seconds=3 * RESPONSE_TIMEOUT_SECONDS)


# The result of a post, and its duration.
RecordDelivery = Callable[[str, float], None]


def _name_result(response: WebhookResponse) -> str:
    return "accepted" if response.is_accepted else "gone" if response.is_gone else "failed"


@dataclass(eq=False, repr=False)
class Dispatcher:
    """Posts events to webhooks, as one of any number of workers.

    `open_sealed` decrypts the webhooks' secrets; `record` counts posts. Without
    webhooks, the dispatcher looks for one every `poll_interval`.
    """

    database: Database
    network: Network
    _: KW_ONLY
    owner: str
    clock: Clock
    random: Callable[[], float]
    open_sealed: OpenSealed
    poll_interval: timedelta
    record: RecordDelivery
    _posts: dict[asyncio.Task[None], Slot] = field(default_factory=dict)
    # The turn in which each webhook with more events was last served.
    _turns: dict[str, int] = field(default_factory=dict)
    _next_turn: Iterator[int] = field(default_factory=count)
    _wakeup: asyncio.Event = field(default_factory=asyncio.Event)
    _poster: "Poster | None" = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Dispatch while the block runs; then cancel and release posts in progress.

        A receiver may have got such an event, and gets it again: at least once.
        """
        dispatch_task = asyncio.create_task(
            run_until_stopped(self._dispatch, "webhooks"), name="webhooks"
        )
        try:
            yield
        finally:
            tasks = (dispatch_task, *self._posts)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._poster is not None:
                await self._poster.close()
                self._poster = None

    async def _dispatch(self) -> None:
        """Enqueue new events, start due posts, and wait if there is no more work."""
        self._wakeup.clear()
        async with self.database.reading() as connection:
            is_used = await enqueueing.has_webhooks(connection)
        if not is_used:
            await self.clock.wait(self._wakeup, self.clock.now() + self.poll_interval)
            return
        has_more = await self._spread()
        has_begun = await self._begin_posts(await self._make_poster())
        if not (has_more or has_begun):
            await self.clock.wait(self._wakeup, self.clock.now() + POLL_INTERVAL)

    async def _make_poster(self) -> "Poster":
        """Create the poster at the first use, to save memory without webhooks."""
        if self._poster is None:
            from app.webhooks.signed_post import Poster

            self._poster = await Poster.create(self.network)
        return self._poster

    async def _spread(self) -> bool:
        """Enqueue the next events of one webhook per tenant, in turn."""
        async with self.database.reading() as connection:
            rows = await enqueueing.find_backlogs(connection, now=self.clock.now())
        self._turns = {row.webhook_id: self._turns.get(row.webhook_id, -1) for row in rows}
        webhook_ids = dict[str, str]()
        for row in sorted(rows, key=lambda row: self._turns[row.webhook_id]):
            webhook_ids.setdefault(row.tenant_id, row.webhook_id)
        has_more = len(webhook_ids) < len(rows)
        for webhook_id in webhook_ids.values():
            self._turns[webhook_id] = next(self._next_turn)
            async with self.database.transaction() as connection:
                now = self.clock.now()
                has_more |= await enqueueing.enqueue_deliveries(
                    connection, webhook_id=webhook_id, now=now
                )
        return has_more

    async def _begin_posts(self, poster: "Poster") -> bool:
        """Start due posts while there are free slots; returns whether any started."""
        async with self.database.reading() as connection:
            due_webhooks = await webhook_deliveries.load_due(connection, now=self.clock.now())
        has_begun = False
        for due, limit in allocate(due_webhooks, self._posts.values()):
            now = self.clock.now()
            async with self.database.transaction() as connection:
                deliveries = await webhook_deliveries.claim(
                    connection,
                    webhook=due.webhook,
                    owner=self.owner,
                    limit=limit,
                    now=now,
                    lease_until=now + LEASE,
                )
            for delivery in deliveries:
                has_begun = True
                task = asyncio.create_task(self._deliver(poster, due, delivery))
                self._posts[task] = Slot(delivery.tenant_id, due.webhook.id, delivery.is_probe)
                task.add_done_callback(self._finish_post)
        return has_begun

    def _finish_post(self, task: asyncio.Task[None]) -> None:
        del self._posts[task]
        self._wakeup.set()

    async def _deliver(self, poster: "Poster", due: DueWebhook, delivery: ClaimedDelivery) -> None:
        """Post one event and store the result; if cancelled, release it."""
        try:
            await self._deliver_and_settle(poster, due, delivery)
        except asyncio.CancelledError:
            with suppress(Unavailable):
                await self._give_back(delivery)
            raise
        except Unavailable:
            log.warning("the outcome of the event %s waits for its lease", delivery.event_id)
        except Exception:
            log.exception("could not post an event")

    async def _deliver_and_settle(
        self, poster: "Poster", due: DueWebhook, delivery: ClaimedDelivery
    ) -> None:
        started_at, started_seconds = self.clock.now(), monotonic_seconds()
        answer = await self._post(poster, due, delivery)
        now = self.clock.now()
        wait = None
        if not answer.is_accepted and not answer.is_gone:
            wait = compute_retry_wait(delivery.attempts + 1, answer, self.random)
        if not answer.is_accepted:
            extra = {"webhook_id": due.webhook.id, "event_id": delivery.event_id}
            log.warning("webhook delivery failed: %s", answer.reason, extra=extra)
        seconds = monotonic_seconds() - started_seconds
        self.record(_name_result(answer), seconds)
        outcome = DeliveryResult(
            delivery=delivery,
            response=answer,
            started_at=started_at,
            duration_ms=round(seconds * 1000, 3),
            retry_at=None if wait is None else now + wait,
        )
        async with self.database.transaction() as connection:
            await webhook_deliveries.settle(
                connection, webhook=due.webhook, owner=self.owner, result=outcome, now=now
            )

    async def _post(
        self, poster: "Poster", due: DueWebhook, delivery: ClaimedDelivery
    ) -> WebhookResponse:
        try:
            async with self.database.reading() as connection:
                event = await events.find(
                    connection, tenant_id=delivery.tenant_id, event_id=delivery.event_id
                )
                message = None
                # After a change of format, events may wait that have no name at Resend.
                is_resend = due.webhook.format is WebhookFormat.RESEND
                if event is not None and is_resend and event.type in RESEND_TYPES:
                    message = await messages.get(
                        connection, tenant_id=delivery.tenant_id, message_id=event.message_id or ""
                    )
        except NotFound:
            return WebhookResponse(error="the event's message no longer exists")
        if event is None:
            return WebhookResponse(error="the event no longer exists")
        try:
            secrets = [
                self.open_sealed(secret, webhook_secret(due.webhook))
                for secret in due.sealed_secrets
            ]
        except SealError as error:
            return WebhookResponse(error=str(error))
        return await poster.post(due.webhook, event, message, secrets=secrets, now=self.clock.now())

    async def _give_back(self, delivery: ClaimedDelivery) -> None:
        async with self.database.transaction() as connection:
            await webhook_deliveries.release(
                connection, owner=self.owner, ids=[delivery.id], now=self.clock.now()
            )
