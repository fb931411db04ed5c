"""`heloise key`: made here, they open the API; revoked here, they open it no more."""

import asyncio

import pytest

from app.domain.keys import hash_of
from app.domain.types import ApiKey, Scope
from app.store import api_keys
from app.store.database import Database
from tests.cli.terminal import Terminal


def stored(operator: Terminal, secret: str) -> ApiKey | None:
    """The key as a serving process looks it up."""

    async def find() -> ApiKey | None:
        database = Database(operator.environment["HELOISE_DATABASE_URL"])
        try:
            async with database.reading() as connection:
                return await api_keys.find_by_hash(connection, hash=hash_of(secret))
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
    made = operator.done("key", "create", "-t", acme, "--name", "billing", "--json").json
    secret = made["key"]
    assert secret.startswith("hel_")
    found = stored(operator, secret)
    assert found is not None
    assert (found.id, found.name) == (made["id"], "billing")
    assert found.scopes == frozenset(Scope)
    assert secret not in operator.done("key", "list", "-t", acme).out
    assert secret not in operator.done("key", "list", "-t", acme, "--json").out


def test_a_key_for_people_comes_with_a_warning(operator: Terminal, acme: str) -> None:
    """On stderr, so that what is piped is the key alone."""
    made = operator.done("key", "create", "-t", acme)
    assert "not shown again" in made.err
    assert "hel_" in made.out


def test_scopes_and_expiry_are_kept(operator: Terminal, acme: str) -> None:
    """An option may be repeated."""
    words = ("--scope", "messages:send", "--scope", "messages:read", "--expires-in-days", "30")
    made = operator.done("key", "create", "-t", acme, *words, "--json").json
    assert made["scopes"] == ["messages:read", "messages:send"]
    found = stored(operator, made["key"])
    assert found is not None
    assert found.expires_at is not None
    assert (found.expires_at - found.created_at).days == 30


def test_a_scope_that_is_none_is_told(operator: Terminal, acme: str) -> None:
    """With those that there are."""
    ended = operator.run("key", "create", "-t", acme, "--scope", "everything")
    assert ended.code == 2
    assert "messages:send" in ended.err


def test_a_revoked_key_stays_listed(operator: Terminal, acme: str) -> None:
    """With the moment of its end."""
    made = operator.done("key", "create", "-t", acme, "--json").json
    operator.done("key", "revoke", made["id"], "-t", acme)
    (row,) = operator.done("key", "list", "-t", acme, "--json").json
    assert row["revoked_at"] is not None
    found = stored(operator, made["key"])
    assert found is not None
    assert not found.is_valid(found.created_at)


def test_a_key_belongs_to_its_tenant(operator: Terminal, acme: str) -> None:
    """Another tenant neither sees nor ends it (invariant 10)."""
    operator.done("tenant", "create", "other")
    made = operator.done("key", "create", "-t", acme, "--json").json
    assert operator.done("key", "list", "-t", "other", "--json").json == []
    assert operator.run("key", "revoke", made["id"], "-t", "other").code == 1
    assert operator.run("key", "create", "-t", "nobody").code == 1
