"""Track mailbox mails in progress, and skip those that crash the reader.

A mail is recorded before it is read. If the process dies, the record counts as a failed try; after
a few tries the mail is skipped.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy import insert as insert_into
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import EventType, NewEvent
from app.domain.inbound.mailbox import Mailbox
from app.store import events
from app.store.inbound.mailboxes import is_unchanged
from app.store.tables.inbound import mailbox_mails, mailboxes


async def list_unfinished(connection: AsyncConnection, *, mailbox: Mailbox) -> list[int]:
    """Return the UIDs of unfinished mails; delete those of another UIDVALIDITY."""
    of_mailbox = mailbox_mails.c.mailbox_id == mailbox.id
    await connection.execute(
        delete(mailbox_mails).where(
            of_mailbox, mailbox_mails.c.uid_validity != mailbox.uid_validity
        )
    )
    query = select(mailbox_mails.c.uid).where(of_mailbox).order_by(mailbox_mails.c.uid)
    return list((await connection.execute(query)).scalars())


async def begin(connection: AsyncConnection, *, mailbox: Mailbox, uid: int) -> int:
    """Record that a mail is about to be read; return the number of this try.

    Also stores `last_uid`. Returns 0 and writes nothing if the mailbox has changed.
    """
    result = await connection.execute(
        update(mailboxes)
        .where(*is_unchanged(mailbox))
        .values(uid_validity=mailbox.uid_validity, last_uid=mailbox.last_uid)
    )
    if not result.rowcount:
        return 0
    key = {"mailbox_id": mailbox.id, "uid": uid}
    statement = (
        update(mailbox_mails)
        .filter_by(**key)
        .values(tries=mailbox_mails.c.tries + 1)
        .returning(mailbox_mails.c.tries)
    )
    tries: int | None = (await connection.execute(statement)).scalar_one_or_none()
    if tries is None:
        values = key | {"uid_validity": mailbox.uid_validity, "tries": 1}
        await connection.execute(insert_into(mailbox_mails).values(values))
    return tries or 1


async def finish(
    connection: AsyncConnection,
    *,
    mailbox: Mailbox,
    uid: int,
    counts: Mapping[str, int],
    now: datetime,
    skip_reason: str | None = None,
) -> None:
    """Record that a mail is done or skipped, and add to the mailbox's counts.

    Does nothing if another process has done so.
    """
    of_mailbox = (mailboxes.c.tenant_id == mailbox.tenant_id, mailboxes.c.id == mailbox.id)
    # Locks first the mailbox, then the mail, as `begin` does: otherwise both could deadlock.
    await connection.execute(select(mailboxes.c.id).where(*of_mailbox).with_for_update())
    result = await connection.execute(
        delete(mailbox_mails).filter_by(mailbox_id=mailbox.id, uid=uid)
    )
    if not result.rowcount:
        return
    if counts:
        values = {name: mailboxes.c[name] + number for name, number in counts.items()}
        await connection.execute(update(mailboxes).where(*of_mailbox).values(values))
    if skip_reason is not None:
        data = {"mailbox": mailbox.id, "reason": f"UID {uid}: {skip_reason}"}
        event = NewEvent(
            EventType.MAILBOX_MAIL_SKIPPED, now, mailbox.tenant_id, profile_id=None, data=data
        )
        await events.append(connection, [event])
