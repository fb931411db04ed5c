"""Mails of a mailbox that cannot be read: each is given up in the end, and holds up no other."""

from typing import Any

import pytest

from app.inbound.imap_account import MAX_MAIL_BYTES
from app.inbound.poller import MAX_TRIES, POLL_INTERVAL
from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant, until
from tests.support.servers.scripted_imap import ScriptedImap, scripted_imap

LEAVING = b"From: %s@example.org\r\nSubject: unsubscribe\r\n\r\n"
NO_REPORT = b"From: ann@example.org\r\nSubject: Thanks\r\n\r\nIt came.\r\n"
UNTOLD = (
    b"Content-Type: multipart/report; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n--b--\r\n"
)


@pytest.fixture
def clock() -> HandClock:
    """The service's."""
    return HandClock()


@pytest.fixture
async def heloise(start: Start, clock: HandClock) -> Heloise:
    """The service, which looks at its mailboxes when the clock is moved on."""
    return await start(clock=clock)


async def watch(acme: Tenant, imap: ScriptedImap, clock: HandClock, **fields: Any) -> str:
    """Have the mailbox read; answers its id."""
    body = {"name": "bounces", "host": "127.0.0.1", "port": imap.port, "tls": "none"}
    body |= {"username": "u", "password": "p"}
    mailbox = str((await acme.made("/mailboxes", body | fields))["id"])
    await clock.advance(seconds=POLL_INTERVAL.total_seconds())
    return mailbox


async def wait_mailbox(acme: Tenant, mailbox: str, **expected: Any) -> Any:
    """The mailbox, once it says all of this."""

    async def fact() -> Any:
        body = await acme.read(f"/mailboxes/{mailbox}")
        return body if all(body[name] == value for name, value in expected.items()) else None

    return await until(fact)


async def list_given_up(acme: Tenant) -> list[dict[str, Any]]:
    """What was told of mails that were given up."""
    events = (await acme.read("/events?type=mailbox.*"))["items"]
    assert {event["type"] for event in events} <= {"mailbox.mail_skipped"}
    return [event["data"] for event in events]


async def test_a_mail_that_breaks_its_reading_is_given_up(
    heloise: Heloise, clock: HandClock
) -> None:
    """After three tries, with an event; mails that came later are read before it."""
    acme = await heloise.tenant()
    mails = {7: NO_REPORT, 8: LEAVING % b"ann", 9: LEAVING % b"bob"}
    async with scripted_imap(mails, 7) as imap:
        mailbox = await watch(acme, imap, clock)
        for number in range(MAX_TRIES):
            await until_fetched(imap, 7, number + 1)
            assert await list_given_up(acme) == []
            await look_again(acme, mailbox, clock)
        await wait_mailbox(acme, mailbox, reports=2, others=1)
        assert imap.fetched == [7, 8, 9, 7, 7]
    [event] = await list_given_up(acme)
    assert event["mailbox"] == mailbox
    assert event["reason"] == "UID 7: could not be read in 3 attempts"


async def until_fetched(imap: ScriptedImap, uid: int, times: int) -> None:
    """Wait until the server was asked for a mail so often."""

    async def fact() -> bool | None:
        return imap.fetched.count(uid) == times or None

    await until(fact)


async def look_again(acme: Tenant, mailbox: str, clock: HandClock) -> None:
    """Have the mailbox read at once, as a change of it does."""
    answer = await acme("PATCH", f"/mailboxes/{mailbox}", {"enabled": True})
    assert answer.status_code == 200
    await clock.advance(seconds=POLL_INTERVAL.total_seconds())


async def test_a_mail_that_is_too_complex_or_says_nothing_is_given_up_at_once(
    heloise: Heloise, clock: HandClock
) -> None:
    """It stays in the mailbox, and is not read again; the next one is."""
    acme = await heloise.tenant()
    mails = {
        1: b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        2: b"a" * (MAX_MAIL_BYTES + 1),
        3: UNTOLD,
        4: NO_REPORT,
        5: LEAVING % b"ann",
    }
    async with scripted_imap(mails) as imap:
        mailbox = await watch(acme, imap, clock, delete_reports=True)
        await wait_mailbox(acme, mailbox, reports=1, others=4, failing_since=None)
        assert imap.fetched == [1, 3, 4, 5]
    reasons = [mail["reason"] for mail in await list_given_up(acme)]
    assert reasons[0] == "UID 1: its header has 70,005 bytes; at most 65,536 are allowed"
    assert reasons[1] == "UID 2: it has 5,000,001 bytes; at most 5,000,000 are allowed"
    assert reasons[2].startswith("UID 3: a delivery status notification without")
    assert len(reasons) == 3


async def test_another_folder_is_read_from_its_first_mail(
    heloise: Heloise, clock: HandClock
) -> None:
    """What was begun in the other one is forgotten; and where the server numbers anew."""
    acme = await heloise.tenant()
    async with scripted_imap({7: NO_REPORT}, 7) as imap:
        mailbox = await watch(acme, imap, clock)
        await wait_mailbox(acme, mailbox, reason="could not read a mail, or the connection broke")
        imap.breaks_at.clear()
        assert (await acme("PATCH", f"/mailboxes/{mailbox}", {"folder": "b"})).status_code == 200
        await clock.advance(seconds=POLL_INTERVAL.total_seconds())
        await wait_mailbox(acme, mailbox, others=1, failing_since=None)
        assert imap.fetched == [7, 7]
        imap.uid_validity = 2
        await clock.advance(seconds=60)
        await wait_mailbox(acme, mailbox, others=2)
    assert imap.fetched == [7, 7, 7]


@pytest.mark.one_database
async def test_a_server_that_breaks_the_protocol_is_told_as_such(
    heloise: Heloise, clock: HandClock
) -> None:
    """It is no fault of ours, and seen at the mailbox."""
    acme = await heloise.tenant()
    async with scripted_imap({7: NO_REPORT}) as imap:
        imap.uid_validity = None
        mailbox = await watch(acme, imap, clock)
        await wait_mailbox(acme, mailbox, reason="the server sent no UIDVALIDITY")
