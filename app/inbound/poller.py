"""Poll mailboxes, shared among any number of workers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.clock import Clock
from app.domain.errors import SealError, Unavailable
from app.domain.inbound.bounce_parser import Report, UnparsableReportError, parse_report
from app.domain.inbound.mailbox import Mailbox
from app.domain.mime.header_reader import TooComplexError, check_bound
from app.inbound.imap_account import MAX_MAIL_BYTES, ImapAccount, ImapError
from app.smtp.faults import StageFailedError
from app.smtp.resolve import Network
from app.store.db.database import Database
from app.store.db.retry_loop import run_until_stopped
from app.store.inbound import mailboxes, reports
from app.store.inbound import mails as mailbox_mails
from app.store.inbound.mailboxes import ClaimedMailbox
from app.store.secrets.contexts import mailbox_password
from app.store.secrets.encryption import OpenSealed

if TYPE_CHECKING:
    from app.inbound.imap import ImapFolder

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_INTERVAL: Final = timedelta(seconds=5)
LOOKUP_SECONDS: Final = 10.0
MAX_READS: Final = 16
MAX_MAILS_PER_READ: Final = 25
# The time limit of one reading.
READING_SECONDS: Final = 60.0
LEASE: Final = timedelta(seconds=2 * READING_SECONDS)
# The minimum wait after a failure.
RETRY_INTERVAL: Final = timedelta(minutes=5)
# Skip a mail after this many failed attempts.
MAX_TRIES: Final = 3
# The counter that a mail adds to.
REPORT: Final = {"reports": 1}
OTHER: Final = {"others": 1}
NOTHING: Final[Mapping[str, int]] = {}


@dataclass(eq=False, repr=False)
class Poller:
    """Reads new mail in mailboxes; `open_sealed` decrypts their passwords, `record` counts."""

    database: Database
    network: Network
    _: KW_ONLY
    clock: Clock
    open_sealed: OpenSealed
    record: Callable[[str], None]
    # A pool of its own: a slow server must not delay other work.
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MAX_READS, thread_name_prefix="imap")
    )
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _wakeup: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll while the block runs. Unfinished mail is read again later."""
        poll_task = asyncio.create_task(
            run_until_stopped(self._poll, "mailboxes"), name="mailboxes"
        )
        try:
            yield
        finally:
            for task in (poll_task, *self._tasks):
                task.cancel()
            await asyncio.gather(poll_task, *self._tasks, return_exceptions=True)
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _poll(self) -> None:
        """Start reading due mailboxes while there is room, or wait."""
        self._wakeup.clear()
        now = self.clock.now()
        async with self.database.reading() as connection:
            next_at = await mailboxes.load_next_poll_at(connection)
        free_slots = MAX_READS - len(self._tasks)
        if free_slots <= 0 or next_at is None or next_at > now:
            await self.clock.wait(self._wakeup, now + POLL_INTERVAL)
            return
        async with self.database.transaction() as connection:
            claimed_mailboxes = await mailboxes.claim(
                connection, now=now, limit=free_slots, lease_until=now + LEASE
            )
        for mailbox in claimed_mailboxes:
            task = asyncio.create_task(self._read_and_note(mailbox))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read_and_note(self, claimed: ClaimedMailbox) -> None:
        try:
            await self._read(claimed)
        except Unavailable:
            log.warning("the position in a mailbox waits for its lease")
        except Exception:
            log.exception("could not store a mailbox's state")
        finally:
            self._wakeup.set()

    async def _read(self, claimed: ClaimedMailbox) -> None:
        """Read one mailbox and store the new position, or the failure."""
        mailbox = claimed.mailbox
        try:
            account = await self._locate_server(claimed)
            async with asyncio.timeout(READING_SECONDS):
                updated_mailbox, has_more = await self._read_new(mailbox, account)
        except _ChangedError:
            return
        except (ImapError, StageFailedError, SealError, TimeoutError) as error:
            await self._note_failure(mailbox, str(error) or "reading took too long")
            return
        except Unavailable:
            raise
        except Exception:
            log.exception("could not read a mailbox", extra={"mailbox_id": mailbox.id})
            await self._note_failure(mailbox, "reading failed unexpectedly; see the log")
            return
        self.record("read")
        now = self.clock.now()
        wait = timedelta(0) if has_more else timedelta(seconds=mailbox.poll_seconds)
        async with self.database.transaction() as connection:
            await mailboxes.record_poll(
                connection, mailbox=updated_mailbox, now=now, next_poll_at=now + wait
            )

    async def _note_failure(self, mailbox: Mailbox, reason: str) -> None:
        self.record("failed")
        log.warning("could not read mailbox: %s", reason, extra={"mailbox_id": mailbox.id})
        now = self.clock.now()
        wait = max(timedelta(seconds=mailbox.poll_seconds), RETRY_INTERVAL)
        async with self.database.transaction() as connection:
            await mailboxes.record_failure(
                connection, mailbox=mailbox, reason=reason, now=now, next_poll_at=now + wait
            )

    async def _locate_server(self, claimed: ClaimedMailbox) -> ImapAccount:
        """Resolve the server to addresses that the guard allows.

        Raises StageFailedError or SealError.
        """
        mailbox = claimed.mailbox
        addresses = await self.network.allowed_addresses(mailbox.host, LOOKUP_SECONDS)
        return ImapAccount(
            host=mailbox.host,
            addresses=[str(address) for address in addresses],
            port=mailbox.port,
            tls=mailbox.tls,
            tls_ca=mailbox.tls_ca,
            username=mailbox.username,
            password=self.open_sealed(claimed.sealed_password, mailbox_password(mailbox)),
            folder=mailbox.folder,
        )

    async def _read_new(self, mailbox: Mailbox, account: ImapAccount) -> tuple[Mailbox, bool]:
        """Read new mail; returns the updated mailbox and whether more is left.

        New mail comes before mail that failed earlier, so that a bad mail blocks no other.
        """
        from app.inbound.imap import ImapFolder  # few services read mailboxes

        imap = ImapFolder(account)
        try:
            await self._in_thread(imap.open)
            validity = await self._in_thread(lambda: imap.uid_validity)
            if validity != mailbox.uid_validity:
                mailbox = replace(mailbox, uid_validity=validity, last_uid=0)
            unfinished_uids = await self.database.retry_transaction(
                partial(mailbox_mails.list_unfinished, mailbox=mailbox)
            )
            new_uids = await self._in_thread(
                partial(imap.list_uids, mailbox.last_uid, MAX_MAILS_PER_READ)
            )
            for uid in (*new_uids, *unfinished_uids):
                mailbox = replace(mailbox, last_uid=max(mailbox.last_uid, uid))
                await self._read_mail(imap, mailbox, uid)
            await self._in_thread(imap.close)
        finally:
            imap.abort()
        return mailbox, len(new_uids) == MAX_MAILS_PER_READ

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _read_mail(self, imap: "ImapFolder", mailbox: Mailbox, uid: int) -> None:
        """Record the start, read a mail, and record the result.

        A mail is retried after an unexpected error or a crash.
        """
        begin = partial(mailbox_mails.begin, mailbox=mailbox, uid=uid)
        tries = await self.database.retry_transaction(begin)
        if not tries:
            raise _ChangedError
        finish = partial(self._finish, mailbox, uid)
        if tries > MAX_TRIES:
            await finish(OTHER, given_up=f"could not be read in {MAX_TRIES} attempts")
            return
        try:
            report = await self._receive(imap, mailbox, uid)
        except (ImapError, Unavailable):
            raise
        except (TooComplexError, UnparsableReportError) as error:
            await finish(OTHER, given_up=str(error))
        except ValueError:
            await finish(OTHER)
        except Exception:
            log.exception("could not read a mail", extra={"mailbox_id": mailbox.id, "uid": uid})
            if tries == MAX_TRIES:
                await finish(OTHER, given_up=f"could not be read in {MAX_TRIES} attempts")
        else:
            await finish(REPORT if report else NOTHING)

    async def _receive(self, imap: "ImapFolder", mailbox: Mailbox, uid: int) -> bool:
        """Store the report in a mail; returns False if the mail is gone.

        Raises ValueError if the mail is not a readable report.
        """
        size = await self._in_thread(partial(imap.get_size, uid))
        check_bound("it has", size or 0, "bytes", MAX_MAIL_BYTES)
        content = await self._in_thread(partial(imap.fetch_mail, uid))
        if content is None:
            return False
        report = await self._in_thread(partial(parse_report, content))
        await self.database.retry_transaction(
            partial(self._write, mailbox.tenant_id, content, report)
        )
        if mailbox.deletes_reports:
            await self._in_thread(partial(imap.delete_mails, [uid]))
        return True

    async def _write(
        self, tenant_id: str, content: bytes, report: Report, connection: AsyncConnection
    ) -> None:
        now, digest = self.clock.now(), sha256(content).digest()
        if await reports.record_digest(connection, tenant_id=tenant_id, digest=digest, now=now):
            await reports.receive(connection, tenant_id=tenant_id, report=report, now=now)

    async def _finish(
        self, mailbox: Mailbox, uid: int, counts: Mapping[str, int], given_up: str | None = None
    ) -> None:
        if given_up is not None:
            extra = {"mailbox_id": mailbox.id, "uid": uid}
            log.warning("skipped a mail: %s", given_up, extra=extra)
        await self.database.retry_transaction(
            partial(
                mailbox_mails.finish,
                mailbox=mailbox,
                uid=uid,
                counts=counts,
                now=self.clock.now(),
                skip_reason=given_up,
            )
        )


class _ChangedError(Exception):
    """The mailbox was changed meanwhile; it is read again."""
