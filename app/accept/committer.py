"""Group commit: all messages that wait are written in one transaction, then their callers wake."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import QuotaError, Unavailable
from app.domain.facts import Facts
from app.domain.quotas import NO_QUOTA, Quota
from app.domain.types import NewMessage
from app.domain.value import value
from app.store import admission, idempotency, outbox, outcomes, suppressions, usage
from app.store.database import Database
from app.store.database_faults import CommitUnknown, not_written
from app.store.idempotency import KeyedRequest
from app.store.outbox import NO_LEASE, Lease

log = logging.getLogger(__name__)

MAX_GROUP: Final = 200
MAX_GROUP_BYTES: Final = 16 * 1024 * 1024
MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
# A restart of the database takes less; longer than this no caller waits for its answer.
MAX_DOUBT_SECONDS: Final = 10.0
LOOK_AGAIN_SECONDS: Final = 0.1


@value
class Offer:
    """A message to accept within its tenant's quota; `request` is the one that has a key."""

    message: NewMessage
    quota: Quota = NO_QUOTA
    request: KeyedRequest | None = None


@value
class _Waiting:
    offer: Offer
    written: asyncio.Future[KeyedRequest | None]

    @property
    def message(self) -> NewMessage:
        return self.offer.message

    @property
    def size_bytes(self) -> int:
        return len(self.offer.message.mime)


class Handover(Protocol):
    """Who may take messages over as they are written, so that nobody has to read them first."""

    def reserve(self, messages: Sequence[NewMessage]) -> Lease:
        """The lease to write them with; it may hold some of them, or none."""
        ...

    def hand_over(self, messages: Sequence[NewMessage], lease: Lease) -> None:
        """They were written."""
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
        with self._waiting([offer]) as [waiting]:
            return await waiting.written

    async def accept_all(self, offers: Sequence[Offer]) -> list[KeyedRequest | Exception | None]:
        """Return once the messages are durable, which are written in one transaction.

        Answers for each what `accept` answers or raises. Raises Unavailable where none is taken.
        """
        with self._waiting(offers) as waiting:
            return [await _outcome(each.written) for each in waiting]

    @contextmanager
    def _waiting(self, offers: Sequence[Offer]) -> Iterator[list[_Waiting]]:
        """Offers that are to be written in one transaction, and whose callers wait in the block."""
        if not self._is_running or self._waiting_bytes > MAX_WAITING_BYTES:
            raise Unavailable(
                "overloaded",
                "More messages wait to be stored than fit into memory, or the service is stopping."
                " Nothing was written; send the request again.",
            )
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(each, loop.create_future()) for each in offers]
        size_bytes = sum(each.size_bytes for each in waiting)
        self._waiting_bytes += size_bytes
        self._queue.put_nowait(waiting)
        try:
            yield waiting
        finally:
            self._waiting_bytes -= size_bytes
            for each in waiting:  # where its caller went away nobody asks what became of it
                each.written.cancel()

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
        group, size_bytes, count = list(first), sum(each.size_bytes for each in first), 1
        while len(group) < MAX_GROUP and size_bytes < MAX_GROUP_BYTES:
            try:
                more = self._queue.get_nowait()
            except asyncio.QueueEmpty:
                break
            group += more
            size_bytes += sum(each.size_bytes for each in more)
            count += 1
        await self._commit(group)
        for _ in range(count):
            self._queue.task_done()

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        """Write a group; where it fails for a reason of one, each is written by itself."""
        messages = [each.message for each in group]
        reserved = self._reserve(messages)
        written, refused, admitted = NO_LEASE, dict[str, QuotaError](), list[NewMessage]()
        earlier = dict[str, KeyedRequest]()

        async def write(connection: AsyncConnection) -> None:
            nonlocal written, refused, earlier
            requests = [each.offer.request for each in group if each.offer.request is not None]
            earlier = await idempotency.claim(connection, requests)
            new = [each for each in group if each.message.id not in earlier]
            refused = await _beyond_quota(connection, new, self._now())
            await idempotency.give_back(
                connection, [each for each in requests if each.message_id in refused]
            )
            admitted[:] = [each.message for each in new if each.message.id not in refused]
            if admitted:
                written = await _write(connection, admitted, reserved, self._now())
            else:
                written = NO_LEASE

        error = await self._error_of(write, admitted, is_all_reserved=len(reserved) == len(group))
        self._hand_over(messages, written if error is None else NO_LEASE, reserved)
        if error is None or isinstance(error, Unavailable):
            for each in group:
                name = each.message.id
                _answer([each], error or refused.get(name), earlier.get(name))
        elif len(group) == 1:
            log.error("a message could not be written", exc_info=error)
            _answer(group, error)
        else:
            for each in group:
                await self._commit([each])

    async def _error_of(
        self,
        write: Callable[[AsyncConnection], Awaitable[None]],
        admitted: Sequence[NewMessage],
        *,
        is_all_reserved: bool,
    ) -> Exception | None:
        """Write, and answer why it could not be done, or None; `admitted` is what was written."""
        try:
            await self._database.repeated(write, announce=not is_all_reserved)
            self._facts.group("accept", len(admitted))
        except CommitUnknown as unknown:
            return await self._find_out(admitted[0], unknown) if admitted else None
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            return error
        return None

    def _reserve(self, messages: Sequence[NewMessage]) -> Lease:
        if self._handover is None:
            return NO_LEASE
        try:
            return self._handover.reserve(messages)
        except Exception:  # it is faster, and no more than that
            log.exception("messages go by the queue")
            return NO_LEASE

    def _hand_over(self, messages: Sequence[NewMessage], written: Lease, reserved: Lease) -> None:
        if self._handover is None:
            return
        try:
            self._handover.hand_over(messages, written)
            self._handover.withdraw(reserved)
        except Exception:  # they are stored: their leases run out by themselves
            log.exception("messages that were accepted could not be handed over")
        if len(written) < len(reserved):
            self._database.wake()

    async def _find_out(self, message: NewMessage, doubt: CommitUnknown) -> Unavailable | None:
        """What to answer after a commit without an answer: one of its messages stands for all."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DOUBT_SECONDS):
                while True:
                    try:
                        async with self._database.reading() as connection:
                            stands = await outbox.exists(connection, message_id=message.id)
                    except Unavailable:
                        await asyncio.sleep(LOOK_AGAIN_SECONDS)
                    else:
                        return None if stands else not_written()
        return doubt


async def _write(
    connection: AsyncConnection, messages: Sequence[NewMessage], reserved: Lease, now: datetime
) -> Lease:
    """Write messages down; answers the lease of those of which nothing was found in the way.

    That is a profile that was changed, paused or found failing meanwhile, or a suppression.
    """
    leased = [each for each in messages if each.id in reserved.message_ids]
    profile_ids = list({each.profile_id for each in leased})
    found = await admission.look(connection, messages, profile_ids=profile_ids)
    ready = (e.id for e in leased if (e.profile_id, e.profile_revision) in found.ready)
    lease = replace(reserved, message_ids=frozenset(ready))
    await outbox.accept(connection, messages, lease)
    if found.may_suppress:
        lease = await _without_suppressed(connection, messages, lease, now)
    return lease


async def _without_suppressed(
    connection: AsyncConnection, accepted: Sequence[NewMessage], lease: Lease, now: datetime
) -> Lease:
    """The lease without messages that somebody is not to get: they are read as they are now."""
    ids = [each.id for each in accepted]
    changed = await suppressions.apply(connection, message_ids=ids, now=now)
    if not changed:
        return lease
    leased = [each for each in changed if each in lease.message_ids]
    await outbox.release(connection, owner=lease.owner, held=leased, now=now)
    await outcomes.close(connection, message_ids=changed, now=now)
    return replace(lease, message_ids=lease.message_ids - set(leased))


async def _beyond_quota(
    connection: AsyncConnection, group: Sequence[_Waiting], now: datetime
) -> dict[str, QuotaError]:
    """The messages that their tenants' quotas have no room for, by id; all others are counted.

    Tenants in the order of their ids, so that two processes do not lock each other out.
    """
    counted = [each for each in group if each.offer.quota.is_counted]
    by_tenant = dict[str, list[_Waiting]]()
    for each in counted:
        by_tenant.setdefault(each.message.tenant_id, []).append(each)
    refused = dict[str, QuotaError]()
    for tenant_id in sorted(by_tenant):
        waiting = by_tenant[tenant_id]
        verdicts = await usage.charge(
            connection,
            tenant_id=tenant_id,
            quota=waiting[-1].offer.quota,
            sizes=[each.size_bytes for each in waiting],
            now=now,
        )
        for each, exceeded in zip(waiting, verdicts, strict=True):
            if exceeded is not None:
                refused[each.message.id] = QuotaError(exceeded)
    return refused


async def _outcome(written: asyncio.Future[KeyedRequest | None]) -> KeyedRequest | Exception | None:
    try:
        return await written
    except Exception as error:  # noqa: BLE001 - whoever asked is told which it was
        return error


def _answer(
    group: Sequence[_Waiting], error: Exception | None, earlier: KeyedRequest | None = None
) -> None:
    for each in group:
        if each.written.done():  # its caller went away; the message is written all the same
            continue
        if error is None:
            each.written.set_result(earlier)
        else:
            each.written.set_exception(error)
