"""`heloise key`: made here, they open the API; revoked here, they open it no more."""

import asyncio
import getpass
import socket

import pytest

from app.domain.api_keys import hash_secret
from app.domain.audit import ActorKind, AuditEntry
from app.domain.types import ApiKey, Scope
from app.store import api_keys, audit
from app.store.db.database import Database
from tests.support.terminal import Terminal


def load_key(operator: Terminal, secret: str) -> ApiKey | None:
    """The key as a serving process looks it up."""

    async def find() -> ApiKey | None:
        database = Database(operator.environment["HELOISE_DATABASE_URL"])
        try:
            async with database.reading() as connection:
                return await api_keys.find_by_hash(connection, hash=hash_secret(secret))
        finally:
            await database.close()

    return asyncio.run(find())


@pytest.fixture
def acme(operator: Terminal) -> str:
    """A tenant."""
    operator.done("tenant", "create", "acme")
    return "acme"


def test_a_key_is_shown_once(operator: Terminal, acme: str) -> None:
    """It is the one that opens; no list holds it."""
    key = operator.done("key", "create", "-t", acme, "--name", "billing", "--json").json
    secret = key["key"]
    assert secret.startswith("hel_")
    stored_key = load_key(operator, secret)
    assert stored_key is not None
    assert (stored_key.id, stored_key.name) == (key["id"], "billing")
    assert stored_key.scopes == frozenset(Scope)
    assert secret not in operator.done("key", "list", "-t", acme).out
    assert secret not in operator.done("key", "list", "-t", acme, "--json").out


@pytest.mark.one_database
def test_a_key_for_people_comes_with_a_warning(operator: Terminal, acme: str) -> None:
    """On stderr, so that what is piped is the key alone."""
    key = operator.done("key", "create", "-t", acme)
    assert "does not show it again" in key.err
    assert "hel_" in key.out


@pytest.mark.one_database
def test_scopes_and_expiry_are_kept(operator: Terminal, acme: str) -> None:
    """An option may be repeated."""
    words = ("--scope", "messages:send", "--scope", "messages:read", "--expires-in-days", "30")
    key = operator.done("key", "create", "-t", acme, *words, "--json").json
    assert key["scopes"] == ["messages:read", "messages:send"]
    stored_key = load_key(operator, key["key"])
    assert stored_key is not None
    assert stored_key.expires_at is not None
    assert (stored_key.expires_at - stored_key.created_at).days == 30


@pytest.mark.one_database
def test_a_scope_that_is_none_is_told(operator: Terminal, acme: str) -> None:
    """With those that there are."""
    result = operator.run("key", "create", "-t", acme, "--scope", "everything")
    assert result.code == 2
    assert "messages:send" in result.err


@pytest.mark.one_database
def test_a_revoked_key_stays_listed(operator: Terminal, acme: str) -> None:
    """With the moment of its end."""
    key = operator.done("key", "create", "-t", acme, "--json").json
    operator.done("key", "revoke", key["id"], "--yes", "-t", acme)
    (row,) = operator.done("key", "list", "-t", acme, "--json").json
    assert row["revoked_at"] is not None
    stored_key = load_key(operator, key["key"])
    assert stored_key is not None
    assert not stored_key.is_valid(stored_key.created_at)


def test_a_key_belongs_to_its_tenant(operator: Terminal, acme: str) -> None:
    """Another tenant neither sees nor ends it (invariant 10)."""
    operator.done("tenant", "create", "other")
    key = operator.done("key", "create", "-t", acme, "--json").json
    assert operator.done("key", "list", "-t", "other", "--json").json == []
    assert operator.run("key", "revoke", key["id"], "--yes", "-t", "other").code == 1
    assert operator.run("key", "create", "-t", "nobody").code == 1


@pytest.mark.one_database
def test_a_key_is_bound_by_options(operator: Terminal, acme: str) -> None:
    """Each may be repeated; a wrong one is told by its name."""
    words = ("--allowed-from", "*@example.com", "--network", "192.0.2.1", "--network", "10.0.0.0/8")
    key = operator.done("key", "create", "-t", acme, *words, "--json").json
    stored_key = load_key(operator, key["key"])
    assert stored_key is not None
    assert stored_key.allowed_from == ("*@example.com",)
    assert stored_key.networks == ("192.0.2.1/32", "10.0.0.0/8")
    result = operator.run("key", "create", "-t", acme, "--profile", "nothing")
    assert result.code == 1
    assert "profiles.0: no profile 'nothing' exists" in result.err


def test_a_key_is_rotated(operator: Terminal, acme: str) -> None:
    """The old one works on for as long as is said."""
    old = operator.done("key", "create", "-t", acme, "--scope", "messages:send", "--json").json
    words = ("--overlap-seconds", "3600", "--json")
    new = operator.done("key", "rotate", old["id"], "-t", acme, *words).json
    assert new["scopes"] == ["messages:send"]
    assert load_key(operator, new["key"]) is not None
    stored_key = load_key(operator, old["key"])
    assert stored_key is not None
    assert stored_key.expires_at is not None
    gone = operator.run("key", "rotate", "key_none", "-t", acme)
    assert gone.code == 1
    assert "key_none" in gone.err


@pytest.mark.one_database
def test_what_is_done_at_a_shell_is_in_the_audit_log(operator: Terminal, acme: str) -> None:
    """By whose user, at which machine."""
    key = operator.done("key", "create", "-t", acme, "--json").json
    operator.done("key", "revoke", key["id"], "--yes", "-t", acme)

    async def read() -> list[AuditEntry]:
        database = Database(operator.environment["HELOISE_DATABASE_URL"])
        try:
            async with database.reading() as connection:
                return await audit.page(connection, tenant_id=None, limit=10)
        finally:
            await database.close()

    log = asyncio.run(read())[::-1]
    assert [entry.action for entry in log] == ["tenant.create", "key.create", "key.revoke"]
    for entry in log:
        assert entry.actor.kind is ActorKind.COMMAND_LINE
        assert entry.actor.name == getpass.getuser()
        assert entry.actor.source == socket.gethostname()
    assert key["key"] not in str(log)
