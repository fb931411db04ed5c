"""Mails that are being read are noted: in which try, and until they are done."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.events import FIRST_POSITION
from app.domain.inbound.mailbox import Mailbox
from app.store import events
from app.store.db.database import Database
from app.store.inbound import mailboxes
from app.store.inbound import mails as mailbox_mails
from tests.support.rows import MINUTE, NOW, a_mailbox, made_tenant


@pytest.fixture
async def mailbox(database: Database) -> Mailbox:
    """One that was read up to UID 7."""
    tenant = await made_tenant(database)
    row = a_mailbox(tenant.id, uid_validity=1, last_uid=7)
    async with database.transaction() as connection:
        await mailboxes.insert(connection, mailbox=row, sealed_password=b"sealed")
    return row


async def begin(database: Database, mailbox: Mailbox, uid: int) -> int:
    async with database.transaction() as connection:
        return await mailbox_mails.begin(connection, mailbox=mailbox, uid=uid)


async def resume(database: Database, mailbox: Mailbox) -> list[int]:
    async with database.transaction() as connection:
        return await mailbox_mails.list_unfinished(connection, mailbox=mailbox)


async def finish(database: Database, mailbox: Mailbox, uid: int, **more: Any) -> None:
    async with database.transaction() as connection:
        await mailbox_mails.finish(connection, mailbox=mailbox, uid=uid, now=NOW, **more)


async def read(database: Database, mailbox: Mailbox) -> Mailbox:
    async with database.reading() as connection:
        return await mailboxes.get(connection, tenant_id=mailbox.tenant_id, mailbox_id=mailbox.id)


async def test_each_try_is_counted_until_the_mail_is_done(
    database: Database, mailbox: Mailbox
) -> None:
    """So a process that dies of a mail leaves a note of it, and of how far it came."""
    mailbox = replace(mailbox, last_uid=8)
    assert [await begin(database, mailbox, 8) for _ in range(3)] == [1, 2, 3]
    assert await begin(database, replace(mailbox, last_uid=9), 9) == 1
    assert await resume(database, mailbox) == [8, 9]
    assert (await read(database, mailbox)).last_uid == 9
    for _ in range(2):  # the second time by a reader that was taken for dead
        await finish(database, mailbox, 8, counts={"others": 1}, skip_reason="too complex")
        await finish(database, mailbox, 9, counts={})
    assert await resume(database, mailbox) == []
    after = await read(database, mailbox)
    assert (after.reports, after.others) == (0, 1)
    async with database.reading() as connection:
        page = await events.page(
            connection,
            tenant_id=mailbox.tenant_id,
            start=FIRST_POSITION,
            limit=10,
        )
    assert [item.data for item in page.items] == [
        {"mailbox": mailbox.id, "reason": "UID 8: too complex"}
    ]


async def test_what_was_begun_is_of_no_other_folder(database: Database, mailbox: Mailbox) -> None:
    """Nor of the same one, once the server numbers its mails anew."""
    await begin(database, mailbox, 7)
    assert await resume(database, replace(mailbox, uid_validity=2)) == []
    await begin(database, mailbox, 7)
    changes = {"folder": "b", "uid_validity": None, "last_uid": 0}
    async with database.transaction() as connection:
        await mailboxes.update(
            connection,
            tenant_id=mailbox.tenant_id,
            mailbox_id=mailbox.id,
            changes=changes,
            now=NOW + MINUTE,
        )
    assert await resume(database, mailbox) == []
    assert await begin(database, mailbox, 8) == 0
    assert (await read(database, mailbox)).last_uid == 0
