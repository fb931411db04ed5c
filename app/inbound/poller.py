"""Mailboxes are read in turn, as one of any number of workers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.clock import Clock
from app.domain.errors import SealError, Unavailable
from app.domain.mailboxes import Mailbox
from app.domain.reports import Report, parse
from app.inbound.imap import Imap, ImapError, Mail, Where
from app.smtp.faults import StageFailedError
from app.smtp.resolve import Network
from app.store import mailboxes, reports
from app.store.database import Database
from app.store.duties import repeat
from app.store.mailboxes import ClaimedMailbox
from app.store.seal_contexts import mailbox_password
from app.store.vault import OpenSealed

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_EVERY: Final = timedelta(seconds=5)
LOOKUP_SECONDS: Final = 10.0
AT_ONCE: Final = 16
MAILS_AT_ONCE: Final = 25
# So long one reading may take, whatever the server does.
READING_SECONDS: Final = 60.0
LEASE: Final = timedelta(seconds=2 * READING_SECONDS)
# One that fails is tried no more often than this.
FAILED_AGAIN: Final = timedelta(minutes=5)


class Poller:
    """Reads what is new in mailboxes; `open_sealed` opens their passwords."""

    def __init__(
        self,
        database: Database,
        network: Network,
        *,
        clock: Clock,
        open_sealed: OpenSealed,
    ) -> None:
        self._database = database
        self._network = network
        self._clock = clock
        self._open_sealed = open_sealed
        # Not the process's own threads: a server that is slow keeps nobody else waiting.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="imap")
        self._tasks = set[asyncio.Task[None]]()
        self._room = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read while the block runs; what is not noted down when it ends is read once more."""
        looking = asyncio.create_task(repeat(self._look, "mailboxes"), name="mailboxes")
        try:
            yield
        finally:
            for task in (looking, *self._tasks):
                task.cancel()
            await asyncio.gather(looking, *self._tasks, return_exceptions=True)
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        """Begin on those whose turn it is, as far as there is room; where there are none, wait."""
        self._room.clear()
        now = self._clock.now()
        async with self._database.reading() as connection:
            next_at = await mailboxes.earliest(connection)
        room = AT_ONCE - len(self._tasks)
        if room <= 0 or next_at is None or next_at > now:
            await self._clock.wait(self._room, now + LOOK_EVERY)
            return
        async with self._database.transaction() as connection:
            claimed = await mailboxes.claim(
                connection, now=now, limit=room, lease_until=now + LEASE
            )
        for each in claimed:
            task = asyncio.create_task(self._read_and_note(each))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read_and_note(self, claimed: ClaimedMailbox) -> None:
        try:
            await self._read(claimed)
        except Unavailable:
            log.warning("how far a mailbox was read waits for its lease")
        except Exception:
            log.exception("a mailbox could not be read")
        finally:
            self._room.set()

    async def _read(self, claimed: ClaimedMailbox) -> None:
        """Read one mailbox, and note down how far that came, or why it did not."""
        mailbox = claimed.mailbox
        try:
            where = await self._where(claimed)
            async with asyncio.timeout(READING_SECONDS):
                after, has_more = await self._read_new(mailbox, where)
        except (ImapError, StageFailedError, SealError, TimeoutError) as error:
            await self._failed(mailbox, str(error) or "it took too long to read")
            return
        now = self._clock.now()
        wait = timedelta(0) if has_more else timedelta(seconds=mailbox.poll_seconds)
        async with self._database.transaction() as connection:
            await mailboxes.note_read(connection, mailbox=after, now=now, next_poll_at=now + wait)

    async def _failed(self, mailbox: Mailbox, reason: str) -> None:
        log.warning("mailbox is not read: %s", reason, extra={"mailbox_id": mailbox.id})
        now = self._clock.now()
        wait = max(timedelta(seconds=mailbox.poll_seconds), FAILED_AGAIN)
        async with self._database.transaction() as connection:
            await mailboxes.note_failure(
                connection, mailbox=mailbox, reason=reason, now=now, next_poll_at=now + wait
            )

    async def _where(self, claimed: ClaimedMailbox) -> Where:
        """Where to connect, at addresses that the guard has seen.

        Raises StageFailedError or SealError.
        """
        mailbox = claimed.mailbox
        addresses = await self._network.allowed_addresses(mailbox.host, LOOKUP_SECONDS)
        return Where(
            host=mailbox.host,
            addresses=[str(each) for each in addresses],
            port=mailbox.port,
            tls=mailbox.tls,
            tls_ca=mailbox.tls_ca,
            username=mailbox.username,
            password=self._open_sealed(claimed.sealed_password, mailbox_password(mailbox)),
            folder=mailbox.folder,
        )

    async def _read_new(self, mailbox: Mailbox, where: Where) -> tuple[Mailbox, bool]:
        """The mailbox as it stands once what is new was read, and whether there is more."""
        imap = Imap(where)
        try:
            await self._in_thread(imap.open)
            validity = await self._in_thread(lambda: imap.uid_validity)
            last_uid = mailbox.last_uid if validity == mailbox.uid_validity else 0
            uids = await self._in_thread(lambda: imap.uids_after(last_uid, MAILS_AT_ONCE))
            taken = list[int]()
            for uid in uids:
                mail = await self._in_thread(partial(imap.read, uid))
                if mail is not None and await self._receive(mailbox.tenant_id, mail):
                    taken.append(uid)
            if taken and mailbox.deletes_reports:
                await self._in_thread(lambda: imap.remove(taken))
            await self._in_thread(imap.close)
        finally:
            imap.abort()
        after = replace(
            mailbox,
            uid_validity=validity,
            last_uid=max(uids, default=last_uid),
            reports=mailbox.reports + len(taken),
            others=mailbox.others + len(uids) - len(taken),
        )
        return after, len(uids) == MAILS_AT_ONCE

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _receive(self, tenant_id: str, mail: Mail) -> bool:
        """Whether a mail is a report, of which what it says is written down then."""
        try:
            report = await self._in_thread(partial(parse, mail.content))
        except ValueError:
            return False
        await self._database.repeated(partial(self._write, tenant_id, mail, report))
        return True

    async def _write(
        self, tenant_id: str, mail: Mail, report: Report, connection: AsyncConnection
    ) -> None:
        now, digest = self._clock.now(), sha256(mail.content).digest()
        if await reports.is_new(connection, tenant_id=tenant_id, digest=digest, now=now):
            await reports.receive(connection, tenant_id=tenant_id, report=report, now=now)
