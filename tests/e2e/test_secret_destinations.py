"""A secret is sent where it was given for, whoever changed the row of its owner."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Table, update

from app.inbound.poller import POLL_INTERVAL
from app.store.db.database import Database
from app.store.tables.core import profiles
from app.store.tables.events import webhooks
from app.store.tables.inbound import mailboxes
from tests.e2e.conftest import Start
from tests.e2e.test_oauth import MAILBOX
from tests.e2e.test_oauth import auth as oauth
from tests.support.hand_clock import HandClock
from tests.support.harness import CANARY, Heloise, until
from tests.support.servers.receiver import Receiver
from tests.support.servers.smtp_server import SmtpServer
from tests.support.servers.token_server import TokenServer

PASSWORD = {"username": "ann", "password": CANARY, "allow_plaintext_auth": True}


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """What somebody reaches who has no key."""
    new_database = Database(migrated_url)
    yield new_database
    await new_database.close()


async def point(database: Database, table: Table, **values: Any) -> None:
    """Change every row of a table, past all that checks it."""
    async with database.transaction() as connection:
        await connection.execute(update(table).values(values))


@pytest.mark.one_database
async def test_a_password_is_sent_to_no_other_server(heloise: Heloise, database: Database) -> None:
    """Neither by verify nor by delivery; pointed back, it is sent as before."""
    async with SmtpServer(users={"ann": CANARY}) as mine, SmtpServer(users={}) as evil:
        acme = await heloise.tenant()
        await acme.profile("main", mine.port, auth=PASSWORD)
        await point(database, profiles, port=evil.port, revision=2)
        report = (await acme("POST", "/profiles/main/verify")).json()
        assert (report["ok"], report["code"]) == (False, "credentials_unreadable")
        message = await acme.send()
        failing = await acme.state("main", "failing")
        assert failing["failing_code"] == "credentials_unreadable"
        assert "encrypted for another destination" in failing["reason"]
        commands = [command for session in evil.sessions for command in session.commands]
        assert not [command for command in commands if command.startswith("AUTH")]
        await acme("PATCH", "/profiles/main", {"port": mine.port, "auth": PASSWORD})
        await acme.message(message, status="sent")


@pytest.mark.one_database
@pytest.mark.parametrize("moved", ["token server", "mail server"])
async def test_what_tokens_are_asked_for_with_is_sent_to_no_other_token_server(
    heloise: Heloise, database: Database, moved: str
) -> None:
    """Nor is a token, which was had for one mail server, sent to another."""
    with TokenServer() as mine, TokenServer() as evil:
        async with (
            SmtpServer(tokens=mine.valid, mechanisms=["XOAUTH2"]) as server,
            SmtpServer(tokens=mine.valid, mechanisms=["XOAUTH2"]) as other,
        ):
            acme = await heloise.tenant()
            await acme.profile("main", server.port, auth=oauth(mine, "refresh_token"))
            await acme.message(await acme.send(), status="sent")
            # At the same revision: the token that is stored would be used.
            stored = {
                "grant": "refresh_token",
                "token_url": evil.url if moved == "token server" else mine.url,
                "client_id": "client-1",
                "scope": None,
                "subject": None,
            }
            port = other.port if moved == "mail server" else server.port
            await point(database, profiles, oauth=stored, port=port)
            report = (await acme("POST", "/profiles/main/verify")).json()
            assert (report["ok"], report["code"]) == (False, "credentials_unreadable"), report
            assert (len(mine.requests), len(evil.requests)) == (1, 0)
            assert MAILBOX not in [session.user for session in other.sessions]


@pytest.mark.one_database
async def test_a_webhook_signs_nothing_for_another_url(
    heloise: Heloise, database: Database
) -> None:
    """Nothing is posted there; the log says why."""
    async with Receiver() as receiver:
        acme = await heloise.tenant()
        await acme.profile("main", 25)
        webhook = await acme.made("/webhooks", {"name": "log", "url": receiver.url})
        await point(database, webhooks, url=f"{receiver.url}/another")
        await acme("POST", "/profiles/main/pause")

        async def last_error() -> str | None:
            deliveries = (await acme.read(f"/webhooks/{webhook['id']}/deliveries"))["items"]
            return deliveries[0]["log"][0]["error"] if deliveries and deliveries[0]["log"] else None

        assert "encrypted for another destination" in await until(last_error)
        assert receiver.posts == []


async def test_a_mailbox_is_read_at_no_other_server(start: Start, database: Database) -> None:
    """It is not even connected to."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    body = {
        "name": "bounces",
        "host": "imap.example.com",
        "username": "ann",
        "password": CANARY,
        "enabled": False,
    }
    mailbox = await acme.made("/mailboxes", body)
    await point(database, mailboxes, host="127.0.0.1", disabled_at=None)

    async def reason() -> str | None:
        await clock.advance(seconds=POLL_INTERVAL.total_seconds())
        reason_text: str | None = (await acme.read(f"/mailboxes/{mailbox['id']}"))["reason"]
        return reason_text

    assert "encrypted for another destination" in await until(reason)
