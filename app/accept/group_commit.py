"""Commit all waiting messages in one transaction (group commit), then wake their callers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Final, Protocol

from app.accept.batch import Group, Offer
from app.domain.delivery.metrics import Facts
from app.domain.errors import Unavailable
from app.domain.types import NewMessage
from app.domain.value import value
from app.store.db.engine import Database
from app.store.db.errors import CommitUnknown, not_written
from app.store.idempotency import KeyedRequest
from app.store.outbox import queries as outbox
from app.store.outbox.queries import NO_LEASE, Lease

log = logging.getLogger(__name__)

MAX_GROUP: Final = 200
MAX_GROUP_BYTES: Final = 16 * 1024 * 1024
MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
# A restart of the database takes less; longer than this no caller waits for its answer.
MAX_DOUBT_SECONDS: Final = 10.0
LOOK_AGAIN_SECONDS: Final = 0.1


@value
class _Waiting:
    offer: Offer
    written: asyncio.Future[KeyedRequest | None]


class Handover(Protocol):
    """Takes over messages in memory when they are stored, so that no worker has to read them."""

    def reserve(self, messages: Sequence[NewMessage]) -> Lease:
        """The lease to write the messages with; it may cover some or none of them."""
        ...

    def hand_over(self, messages: Sequence[NewMessage], lease: Lease) -> None:
        """Called after the commit."""
        ...

    def withdraw(self, lease: Lease) -> None:
        """They were not written."""
        ...


class Committer:
    """Writes messages down: at once where it is idle, else together with all that came meanwhile.

    It waits for nothing to fill a group: while one commits, the next one fills by itself.
    """

    def __init__(
        self,
        database: Database,
        facts: Facts,
        handover: Handover | None = None,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._now = now
        self._facts = facts
        self._handover = handover
        self._queue: asyncio.Queue[list[_Waiting]] = asyncio.Queue()
        self._waiting_bytes = 0
        self._is_running = False

    async def accept(self, offer: Offer) -> KeyedRequest | None:
        """Return once the message is durable (invariant 1).

        Answers the request that had used the key of this one before, if any had: then nothing was
        written. Nor where it raises: QuotaError where its tenant's quota has no room for it, and
        Unavailable where the database does not take it now or too much waits already.
        """
        with self._enqueue([offer]) as [entry]:
            return await entry.written

    async def accept_all(self, offers: Sequence[Offer]) -> list[KeyedRequest | Exception | None]:
        """Return once the messages are durable, which are written in one transaction.

        Answers for each what `accept` answers or raises. Raises Unavailable where none is taken.
        """
        with self._enqueue(offers) as entries:
            return [await _await_outcome(entry.written) for entry in entries]

    @contextmanager
    def _enqueue(self, offers: Sequence[Offer]) -> Iterator[list[_Waiting]]:
        """Offers that are to be written in one transaction, and whose callers wait in the block."""
        if not self._is_running or self._waiting_bytes > MAX_WAITING_BYTES:
            raise Unavailable(
                "overloaded",
                "The service has too many messages in memory, or is stopping. Nothing was written;"
                " send the request again.",
            )
        loop = asyncio.get_running_loop()
        entries = [_Waiting(offer, loop.create_future()) for offer in offers]
        size_bytes = sum(entry.offer.size_bytes for entry in entries)
        self._waiting_bytes += size_bytes
        self._queue.put_nowait(entries)
        try:
            yield entries
        finally:
            self._waiting_bytes -= size_bytes
            for entry in entries:  # where its caller went away nobody asks what became of it
                entry.written.cancel()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Accept while the block runs; when it ends, what waits is written first."""
        task = asyncio.create_task(self._run(), name="committer")
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            await self._queue.join()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:  # and hold no message while there is none to write
            await self._commit_with_others(await self._queue.get())

    async def _commit_with_others(self, first: list[_Waiting]) -> None:
        """Write what came first, and all that fits into one group with it."""
        group, size_bytes, count = list(first), sum(entry.offer.size_bytes for entry in first), 1
        while len(group) < MAX_GROUP and size_bytes < MAX_GROUP_BYTES:
            try:
                next_entries = self._queue.get_nowait()
            except asyncio.QueueEmpty:
                break
            group += next_entries
            size_bytes += sum(entry.offer.size_bytes for entry in next_entries)
            count += 1
        await self._commit(group)
        for _ in range(count):
            self._queue.task_done()

    async def _commit(self, entries: Sequence[_Waiting]) -> None:
        """Write a group. If one message makes it fail, write each by itself."""
        messages = [entry.offer.message for entry in entries]
        group = Group([entry.offer for entry in entries], self._reserve(messages))
        error = await self._write(group)
        lease = group.lease if error is None else NO_LEASE
        self._hand_over(messages, lease, group.reserved)
        if error is None or isinstance(error, Unavailable):
            for entry in entries:
                message_id = entry.offer.message.id
                _answer(
                    [entry], error or group.refused.get(message_id), group.earlier.get(message_id)
                )
        elif len(entries) == 1:
            log.error("could not store a message", exc_info=error)
            _answer(entries, error)
        else:
            for entry in entries:
                await self._commit([entry])

    async def _write(self, group: Group) -> Exception | None:
        """Write, and answer why it could not be done, or None."""
        # What is reserved is delivered here: no other process has to be told of it.
        announce = len(group.reserved) < len(group.offers)
        try:
            if not group.is_plain or not await self._database.repeated(
                group.write_plain, announce=announce, autocommit=True
            ):
                await self._database.repeated(
                    lambda connection: group.write(connection, self._now()), announce=announce
                )
            self._facts.group("accept", len(group.admitted))
        except CommitUnknown as unknown:
            if group.admitted:
                return await self._find_out(group.admitted[0], unknown)
            return not_written() if group.is_plain else None
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            return error
        return None

    def _reserve(self, messages: Sequence[NewMessage]) -> Lease:
        if self._handover is None:
            return NO_LEASE
        try:
            return self._handover.reserve(messages)
        except Exception:  # it is faster, and no more than that
            log.exception("handing messages over through the queue")
            return NO_LEASE

    def _hand_over(self, messages: Sequence[NewMessage], lease: Lease, reserved: Lease) -> None:
        if self._handover is None:
            return
        try:
            self._handover.hand_over(messages, lease)
            self._handover.withdraw(reserved)
        except Exception:  # they are stored: their leases run out by themselves
            log.exception("could not hand accepted messages over to delivery")
        if len(lease) < len(reserved):
            self._database.wake()

    async def _find_out(self, message: NewMessage, doubt: CommitUnknown) -> Unavailable | None:
        """What to answer after a commit without an answer: one of its messages stands for all."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DOUBT_SECONDS):
                while True:
                    try:
                        async with self._database.transaction() as connection:
                            is_stored = await outbox.stands(connection, message_id=message.id)
                    except Unavailable:
                        await asyncio.sleep(LOOK_AGAIN_SECONDS)
                    else:
                        return None if is_stored else not_written()
        return doubt


async def _await_outcome(
    future: asyncio.Future[KeyedRequest | None],
) -> KeyedRequest | Exception | None:
    try:
        return await future
    except Exception as error:  # noqa: BLE001 - whoever asked is told which it was
        return error


def _answer(
    entries: Sequence[_Waiting], error: Exception | None, earlier: KeyedRequest | None = None
) -> None:
    for entry in entries:
        if entry.written.done():  # its caller went away; the message is written all the same
            continue
        if error is None:
            entry.written.set_result(earlier)
        else:
            entry.written.set_exception(error)
