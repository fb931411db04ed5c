"""`heloise queue`, `message`, `event` and `send`: what people need at a terminal."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.cli.terminal import format_age
from app.store.db.database import Database
from app.store.delivery import lane_health
from app.store.tables.core import audit_log
from tests.cli.test_profile_commands import ProfileFile, with_database
from tests.support.terminal import Terminal

ANN = "ann@example.org"
NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)


@pytest.fixture
def acme(operator: Terminal, profile_file: ProfileFile) -> Terminal:
    """An operator's terminal, with a tenant and its profile."""
    operator.done("tenant", "create", "acme")
    path = profile_file(default_from="billing@example.com")
    operator.done("profile", "create", path, "-t", "acme")
    return operator


def send(acme: Terminal) -> Any:
    """A message that nobody delivers, sent from the command line."""
    result = acme.run("send", ANN, "-t", "acme", "--wait", "0", "--json")
    assert result.code == 1, result
    return result.json["message"]


def fail_profile(acme: Terminal) -> None:
    """Let the server refuse the profile's EHLO name."""
    profile = acme.done("profile", "show", "transactional", "-t", "acme", "--json").json

    async def record(database: Database) -> None:
        async with database.transaction() as connection:
            await lane_health.record_fault(
                connection,
                profile_id=profile["id"],
                revision=1,
                code="ehlo_rejected",
                reason="504 5.5.2 need fully-qualified hostname",
                now=datetime.now(UTC),
                wait=lambda _: timedelta(minutes=1),
                is_probe=False,
            )

    with_database(acme, record)


def list_actions(acme: Terminal) -> list[tuple[str, str]]:
    """The audit log: actions and who did them."""

    async def read(database: Database) -> list[tuple[str, str]]:
        query = select(audit_log.c.action, audit_log.c.actor_kind).order_by(audit_log.c.id)
        async with database.reading() as connection:
            return [(row.action, row.actor_kind) for row in await connection.execute(query)]

    actions: list[tuple[str, str]] = with_database(acme, read)
    return actions


def test_a_message_lives_at_the_terminal(acme: Terminal) -> None:
    """Sent, listed, shown, cancelled with an audit entry, and sent again as a new one."""
    sent = send(acme)
    assert (sent["source"], sent["waiting"]["reason"]) == ("cli", "no_worker")
    [listed] = acme.done("message", "list", "-t", "acme", "--status", "queued", "--json").json
    assert listed == sent
    assert ANN in acme.done("message", "list", "-t", "acme").out
    output = acme.done("message", "show", sent["id"], "-t", "acme").out
    assert "No process delivers" in output
    assert acme.done("message", "attempts", sent["id"], "-t", "acme", "--json").json == []
    words = (sent["id"], "-t", "acme", "--json")
    cancelled = acme.done("message", "cancel", "--yes", *words).json
    assert (cancelled["status"], cancelled["waiting"]) == ("cancelled", None)
    second = acme.done("message", "retry", *words).json
    assert (second["status"], second["retry_of"]) == ("queued", sent["id"])
    assert ("message.cancel", "command_line") in list_actions(acme)


@pytest.mark.one_database
def test_what_cannot_be_undone_is_confirmed(acme: Terminal) -> None:
    """Without a terminal to ask at, --yes is required; nothing has changed then."""
    sent = send(acme)
    for words in (
        ("message", "cancel", sent["id"], "-t", "acme"),
        ("message", "resolve", sent["id"], "-t", "acme", "--as", "sent"),
        ("profile", "delete", "transactional", "-t", "acme", "--cancel-pending"),
        ("key", "revoke", "key_0", "-t", "acme"),
        ("tenant", "delete", "acme"),
    ):
        result = acme.run(*words)
        assert result.code == 2
        assert "add --yes" in result.err
    assert (
        acme.done("message", "show", sent["id"], "-t", "acme", "--json").json["status"] == "queued"
    )
    refused_result = acme.run(
        "message", "resolve", sent["id"], "-t", "acme", "--as", "sent", "--yes", "--recipient", ANN
    )
    assert refused_result.code == 1
    assert "uncertain" in refused_result.err


def test_a_message_belongs_to_its_tenant(acme: Terminal) -> None:
    """Another tenant neither sees nor changes it (invariant 10)."""
    acme.done("tenant", "create", "other")
    sent = send(acme)
    assert acme.done("message", "list", "-t", "other", "--json").json == []
    for command in ("show", "attempts", "retry", "cancel --yes"):
        result = acme.run("message", *command.split(), sent["id"], "-t", "other")
        assert result.code == 1
        assert sent["id"] in result.err


def test_the_queue_names_what_fails(acme: Terminal) -> None:
    """Over all tenants, with the server's words; so does the list of failing profiles."""
    acme.done("tenant", "create", "idle")
    assert acme.done("profile", "list", "--failing", "--json").json == []
    send(acme)
    fail_profile(acme)
    state = acme.done("queue", "--json").json
    assert (state["messages"]["queued"], state["due"], state["workers"]) == (1, 1, 0)
    [row] = state["items"]
    assert (row["tenant"], row["profile"], row["code"]) == (
        "acme",
        "transactional",
        "ehlo_rejected",
    )
    assert acme.done("queue", "-t", "idle", "--json").json["items"] == []
    printed = acme.done("queue").out
    assert "need fully-qualified hostname" in printed
    assert "mail waits until a process delivers" in printed
    [failing] = acme.done("profile", "list", "--failing", "--json").json
    assert (failing["tenant"], failing["name"]) == ("acme", "transactional")
    assert acme.done("profile", "list", "--failing", "-t", "idle", "--json").json == []


def test_events_are_followed(acme: Terminal) -> None:
    """From the first on, by type, one per line."""
    sent = send(acme)
    words = ("event", "tail", "-t", "acme", "--from-start", "--count", "1")
    event = json.loads(acme.done(*words, "--type", "message.*", "--json").out)
    assert event["data"]["message"]["id"] == sent["id"]
    assert sent["id"] in acme.done(*words, "--type", "message.queued").out
    unknown = acme.run(*words, "--type", "nothing.*")
    assert unknown.code == 1
    assert "--type" in unknown.err


@pytest.mark.one_database
def test_a_test_mail_obeys_the_rules(acme: Terminal) -> None:
    """Of the profile, as any message does."""
    result = acme.run("send", ANN, "-t", "acme", "--profile", "nothing", "--wait", "0")
    assert (result.code, "nothing" in result.err) == (1, True)
    invalid = acme.run("send", "nobody", "-t", "acme", "--wait", "0")
    assert (invalid.code, "to.0" in invalid.err) == (1, True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (59, "59s ago"), (60, "1m ago"), (-7200, "in 2h"), (200_000, "2d ago")],
)
def test_ages_are_short(seconds: int, text: str) -> None:
    """In the largest unit."""
    assert format_age(NOW - timedelta(seconds=seconds), NOW) == text


def test_nothing_has_no_age() -> None:
    """A table shows a dash."""
    assert format_age(None, NOW) is None
