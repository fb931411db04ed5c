"""`heloise hold`: after a restore, nothing is sent again without a decision."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.domain.notices import Notice
from app.store.db.database import Database
from app.store.delivery import profile_notices, workers
from app.store.messages import erasure
from app.store.messages.erasure import ErasureResult
from app.store.outbox import claims as outbox
from app.store.tables.core import messages
from tests.cli.test_message_commands import ANN, acme, fail_profile, list_actions, send
from tests.cli.test_profile_commands import ProfileFile, with_database
from tests.support.rows import MINUTE, PLENTY
from tests.support.terminal import Terminal

__all__ = ["acme"]


def show(acme: Terminal, message: dict[str, Any]) -> dict[str, Any]:
    """The message as it is now."""
    body: dict[str, Any] = acme.done("message", "show", message["id"], "-t", "acme", "--json").json
    return body


def lease(acme: Terminal, message: dict[str, Any]) -> None:
    """Let a worker take the message, as one that stopped with the lost database."""

    async def claim(database: Database) -> None:
        now = datetime.now(UTC)
        async with database.transaction() as connection:
            await outbox.claim(
                connection,
                [outbox.ClaimRequest(message["profile_id"], 1, PLENTY)],
                owner="wrk_lost",
                now=now,
                lease_until=now + MINUTE,
            )

    with_database(acme, claim)


def schedule(acme: Terminal, message: dict[str, Any], send_at: datetime) -> None:
    """Let the message be one for later."""

    async def write(database: Database) -> None:
        values = {"send_at": send_at, "due_at": send_at, "turn_at": send_at - MINUTE}
        async with database.transaction() as connection:
            await connection.execute(
                update(messages).where(messages.c.id == message["id"]).values(values)
            )

    with_database(acme, write)


def test_all_that_waits_is_held(acme: Terminal) -> None:
    """Queued, in transmission or scheduled; what is finished stays as it is."""
    cancelled = send(acme)
    acme.done("message", "cancel", cancelled["id"], "-t", "acme", "--yes")
    leased = send(acme)
    lease(acme, leased)
    assert show(acme, leased)["status"] == "sending"
    queued, scheduled = send(acme), send(acme)
    schedule(acme, scheduled, datetime.now(UTC) + timedelta(days=1))
    assert acme.done("hold", "--json").json == {"messages": 3}
    for message in (leased, queued, scheduled):
        held = show(acme, message)
        assert (held["status"], held["recipients"][0]["status"]) == ("held", "uncertain")
    assert show(acme, cancelled)["status"] == "cancelled"
    assert acme.done("hold").out.startswith("Held 0 messages.")
    assert list_actions(acme)[-2:] == [("messages.hold", "command_line")] * 2


def test_a_clock_that_was_ahead_frees_no_message(acme: Terminal) -> None:
    """The machine of the backup said when it accepted the message."""
    message = send(acme)

    async def date_ahead(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(
                update(messages).values(created_at=datetime.now(UTC) + timedelta(days=1))
            )

    with_database(acme, date_ahead)
    assert acme.done("hold", "--json").json == {"messages": 1}
    assert show(acme, message)["status"] == "held"


def test_no_notice_is_told_again(acme: Terminal, profile_file: ProfileFile) -> None:
    """The tenant may have heard of the failure after the backup."""
    path = profile_file(name="alerts", default_from="heloise@example.com")
    acme.done("profile", "create", path, "-t", "acme")
    acme.done("tenant", "update", "acme", "--notify-profile", "alerts", "--notify-to", ANN)
    fail_profile(acme)

    async def load_due(database: Database) -> list[Notice]:
        async with database.reading() as connection:
            return await profile_notices.load_due(connection, now=datetime.now(UTC))

    assert len(with_database(acme, load_due)) == 1
    acme.done("hold")
    assert with_database(acme, load_due) == []


def test_an_operator_decides(acme: Terminal) -> None:
    """Resolved as sent, it is sent; as retry, it waits again, until its time if it has one."""
    first, second, later = send(acme), send(acme), send(acme)
    send_at = datetime.now(UTC) + timedelta(days=1)
    schedule(acme, later, send_at)
    acme.done("hold")
    tail = ("event", "tail", "-t", "acme", "--from-start", "--count", "2", "--json")
    events = acme.done(*tail, "--type", "message.held", "--type", "recipient.uncertain").out
    assert events.count("\n") == 2
    words = ("-t", "acme", "--yes", "--json", "--as")
    assert acme.done("message", "resolve", first["id"], *words, "sent").json["status"] == "sent"
    assert acme.done("message", "resolve", second["id"], *words, "retry").json["status"] == "queued"
    resolved = acme.done("message", "resolve", later["id"], *words, "retry").json
    assert resolved["status"] == "scheduled"
    assert datetime.fromisoformat(resolved["waiting"]["until"]) == send_at


def test_a_held_message_is_resolved_before_it_is_erased(acme: Terminal) -> None:
    """Nobody can cancel it, and erasing skips it: it may have been sent."""
    message = send(acme)
    [tenant] = acme.done("tenant", "list", "--json").json
    acme.done("hold")
    result = acme.run("message", "cancel", message["id"], "-t", "acme", "--yes")
    assert (result.code, "No recipient is waiting" in result.err) == (1, True)

    async def erase(database: Database) -> ErasureResult:
        async with database.transaction() as connection:
            return await erasure.erase(
                connection,
                tenant_id=tenant["id"],
                address=ANN,
                after=None,
                now=datetime.now(UTC),
                limit=10,
            )

    assert with_database(acme, erase).uncertain == 1
    words = ("-t", "acme", "--yes", "--json", "--as", "bounced")
    assert acme.done("message", "resolve", message["id"], *words).json["status"] == "failed"
    assert with_database(acme, erase).erased == 1
    assert show(acme, message)["recipients"][0]["address"] != ANN


def test_nothing_is_held_under_a_process_that_delivers(acme: Terminal) -> None:
    """It could send the message meanwhile."""
    message = send(acme)

    async def beat(database: Database) -> None:
        now = datetime.now(UTC)
        async with database.transaction() as connection:
            await workers.record_heartbeat(
                connection, worker_id="wrk_1", hostname="mail-1", pid=1, started_at=now, now=now
            )

    with_database(acme, beat)
    result = acme.run("hold")
    assert (result.code, "processes deliver (mail-1)" in result.err) == (2, True)
    assert show(acme, message)["status"] == "queued"
    assert ("messages.hold", "command_line") not in list_actions(acme)


@pytest.mark.one_database
def test_the_schema_must_be_current(terminal: Terminal) -> None:
    """A backup may be older than the version that restores it."""
    result = terminal.run("hold")
    assert (result.code, "run heloise migrate" in result.err) == (2, True)
