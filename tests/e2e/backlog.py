"""A queue of many messages, written as the API would write them, and what became of it."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select

from app.domain.errors import Unavailable
from app.domain.ids import new_id
from app.domain.types import (
    Guarantee,
    MessageSource,
    NamedAddress,
    NewMessage,
    Origin,
    RecipientAddress,
    RecipientKind,
)
from app.store.db.database import Database
from app.store.outbox import acceptance as outbox
from app.store.tables.core import attempts, messages
from tests.support.servers.counting_server import CountingServer
from tests.support.waiting import until

BATCH: Final = 1000
RECIPIENTS: Final = ("ann@example.org", "bob@example.org")


def a_message(
    profile: dict[str, str], tenant_id: str, recipients: Sequence[str], guarantee: Guarantee
) -> NewMessage:
    """A message to these recipients, due now."""
    message_id, now = new_id("msg"), datetime.now(UTC)
    header = f"<{message_id}@example.com>"
    return NewMessage(
        id=message_id,
        tenant_id=tenant_id,
        profile_id=profile["id"],
        profile_revision=1,
        profile_name="main",
        origin=Origin(MessageSource.API, "admin:admin"),
        envelope_from="billing@example.com",
        sender=NamedAddress("billing@example.com"),
        recipients=tuple(RecipientAddress(NamedAddress(to), RecipientKind.TO) for to in recipients),
        subject="Hello",
        message_id_header=header,
        tags=(),
        metadata={},
        mime=f"Message-ID: {header}\r\nSubject: Hello\r\n\r\nIt works.\r\n".encode(),
        created_at=now,
        expires_at=now + timedelta(hours=1),
        guarantee=guarantee,
    )


class Backlog:
    """The messages: `ids` by their Message-ID; `once` those that may come in once at the most.

    Each is to all of `recipients`.
    """

    def __init__(
        self, database: Database, tenant_id: str, recipients: Sequence[str] = RECIPIENTS
    ) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self._recipients = recipients
        self.ids: dict[str, str] = {}
        self.once: set[str] = set()

    async def add(
        self,
        profile: dict[str, str],
        count: int,
        *,
        guarantee: Guarantee = Guarantee.AT_LEAST_ONCE,
    ) -> None:
        """Queue so many messages more."""
        for start in range(0, count, BATCH):
            messages = [
                a_message(profile, self._tenant_id, self._recipients, guarantee)
                for _ in range(min(BATCH, count - start))
            ]
            async with self._database.transaction(announce=True) as connection:
                await outbox.accept(connection, messages)
            for message in messages:
                self.expect(message.message_id_header, message.id, guarantee)

    def expect(self, header: str, message_id: str, guarantee: Guarantee) -> None:
        """Know of a message that was queued."""
        self.ids[header] = message_id
        if guarantee is Guarantee.AT_MOST_ONCE:
            self.once.add(header)

    async def wait_finished(self, server: CountingServer) -> Counter[str]:
        """Return how many messages have each status, once the queue is empty.

        Waits as long as the server takes messages.
        """

        async def fact() -> Counter[str] | None:
            try:
                return None if await self._is_unfinished() else await self.statuses()
            except Unavailable:  # a test may have cut this connection too
                return None

        try:
            return await until(fact, progress=lambda: server.message_count)
        except TimeoutError:
            raise AssertionError(f"not finished: {await self.statuses()}") from None

    async def _is_unfinished(self) -> bool:
        """Whether something is still to be sent: one look at an index, whatever the queue holds."""
        query = select(messages.c.id).where(messages.c.due_at.is_not(None)).limit(1)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None

    async def statuses(self) -> Counter[str]:
        """How many messages have each status."""
        query = select(messages.c.status, func.count()).group_by(messages.c.status)
        async with self._database.reading() as connection:
            return Counter({row[0]: row[1] for row in await connection.execute(query)})

    async def load_sent_headers(self) -> set[str]:
        """The Message-IDs of those of which an attempt says that its outcome is not known."""
        query = select(attempts.c.message_id).where(attempts.c.outcome_unknown).distinct()
        async with self._database.reading() as connection:
            message_ids = set((await connection.execute(query)).scalars())
        return {header for header, message_id in self.ids.items() if message_id in message_ids}

    async def forget(self) -> None:
        """Remove the messages, so that a long test does not grow."""
        async with self._database.transaction() as connection:
            for table in (attempts, messages):
                await connection.execute(delete(table))
        self.ids.clear()
        self.once.clear()

    async def leases(self) -> int:
        """How many messages somebody has in hand."""
        query = select(func.count()).where(messages.c.lease_owner.is_not(None))
        async with self._database.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    def pairs(self) -> set[tuple[str, str]]:
        """What the server has to see: each Message-ID with each recipient."""
        return {(header, recipient) for header in self.ids for recipient in self._recipients}
