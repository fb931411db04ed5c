"""Tokens that replicas share: one asks, the others use what there is (both databases)."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import select

from app.domain.networks import AddressGuard
from app.domain.outcome.outcome import Failure, Fault
from app.domain.types import AuthMechanism, OAuth, OAuthGrant, Profile
from app.oauth.token_cache import AccessTokens
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from app.store.db.database import Database
from app.store.profiles import queries as profiles
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import Vault
from app.store.tables import core as tables
from tests.support.hand_clock import HandClock
from tests.support.rows import a_profile, made_tenant
from tests.support.servers.token_server import (
    CLIENT,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    SCOPE,
    TokenServer,
)

VAULT: Final = Vault([b"k" * 32])
ANYWHERE: Final = Network(
    AddressGuard(allow_private=True, is_port_allowed=lambda _: False), Resolver()
)


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """A token server whose tokens are good for an hour."""
    with TokenServer() as server:
        yield server


@pytest.fixture
async def profile(database: Database, server: TokenServer) -> Profile:
    """A profile that has a refresh token."""
    row = a_profile(
        await made_tenant(database),
        auth_mechanism=AuthMechanism.OAUTH2,
        username="billing@example.com",
        oauth=OAuth(
            grant=OAuthGrant.REFRESH_TOKEN, token_url=server.url, client_id=CLIENT, scope=SCOPE
        ),
    )
    sealed = {
        f"sealed_{field}": VAULT.seal(text, profile_secret(row, field))
        for field, text in {
            "oauth_client_secret": CLIENT_SECRET,
            "oauth_refresh_token": REFRESH_TOKEN,
        }.items()
    }
    async with database.transaction() as connection:
        await profiles.insert(connection, profile=row, sealed=sealed)
        return await profiles.get(connection, tenant_id=row.tenant_id, profile=row.id)


def replica(database: Database, clock: HandClock, vault: Vault = VAULT) -> AccessTokens:
    """What one worker has."""
    return AccessTokens(database, vault, ANYWHERE, now=clock.now)


async def test_those_who_ask_at_one_moment_share_one_answer(
    database: Database, profile: Profile, server: TokenServer
) -> None:
    """Within a replica and between two: the token server is asked once."""
    clock = HandClock()
    one, two = replica(database, clock), replica(database, clock)
    answers = await asyncio.gather(*(tokens.get(profile) for tokens in (one, one, two, two, one)))
    assert set(answers) == {server.valid["billing@example.com"]}
    assert len(server.requests) == 1


async def test_who_begins_once_another_has_ended_uses_its_token(
    database: Database, profile: Profile, server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though there was none when it looked: the token server is asked once."""
    clock = HandClock()
    one, two = replica(database, clock), replica(database, clock)
    look = two._read_shared_token  # noqa: SLF001 - the moment after it is what the test is about

    async def look_and_be_overtaken(profile: Profile) -> object:
        stored = await look(profile)
        await one.get(profile)
        return stored

    monkeypatch.setattr(two, "_read_shared_token", look_and_be_overtaken)
    assert await two.get(profile) == server.valid["billing@example.com"]
    assert len(server.requests) == 1
    await clock.advance(minutes=56)
    assert await one.get(profile) == server.valid["billing@example.com"]
    assert len(server.requests) == 2


async def test_one_replica_renews_while_the_other_uses_what_is_still_good(
    database: Database, profile: Profile, server: TokenServer
) -> None:
    """Five minutes before its end a token is renewed, and nobody waits for that but one."""
    clock = HandClock()
    one, two = replica(database, clock), replica(database, clock)
    old = await one.get(profile)
    await clock.advance(minutes=54)
    assert await one.get(profile) == old
    await clock.advance(minutes=2)
    server.gate.clear()
    renewing = asyncio.create_task(one.get(profile))
    await asyncio.to_thread(server.wait_for_requests, 2)
    assert await two.get(profile) == old
    server.gate.set()
    new = await renewing
    assert new != old
    assert await two.get(profile) == new
    assert len(server.requests) == 2


async def test_a_failed_renewal_leaves_what_is_still_good(
    database: Database, profile: Profile, server: TokenServer
) -> None:
    """A token server that is down for minutes stops nobody."""
    clock = HandClock()
    one = replica(database, clock)
    old = await one.get(profile)
    await clock.advance(minutes=56)
    server.answers = [(503, "Busy")] * 2
    assert await one.get(profile) == old
    await clock.advance(minutes=4)
    outcome = await one.get(profile)
    assert isinstance(outcome, Failure)
    assert outcome.fault is Fault.TOKEN_UNAVAILABLE


async def test_who_dies_while_asking_is_not_waited_for_for_long(
    database: Database, profile: Profile, server: TokenServer
) -> None:
    """After a minute another replica takes it on."""
    clock = HandClock()
    one, two = replica(database, clock), replica(database, clock)
    await one._begin(profile)  # noqa: SLF001 - and is never heard of again
    waiting = asyncio.create_task(two.get(profile))
    await clock.advance(seconds=61)
    assert await waiting == server.valid["billing@example.com"]


async def test_a_failure_is_shared_by_those_who_waited_for_it(
    database: Database, profile: Profile, server: TokenServer
) -> None:
    """Ten connections that want a token are one question; the next to come asks anew."""
    one = replica(database, HandClock())
    server.answers = [(400, {"error": "invalid_grant"})]
    outcomes = await asyncio.gather(*(one.get(profile) for _ in range(10)))
    assert {outcome.fault for outcome in outcomes if isinstance(outcome, Failure)} == {
        Fault.TOKEN_REFUSED
    }
    assert len(server.requests) == 1
    assert isinstance(await one.get(profile), str)


async def test_a_token_is_sealed_and_bound_to_its_row(
    database: Database, profile: Profile, server: TokenServer
) -> None:
    """In the database there is nothing to read; a replica without the key asks for its own."""
    clock = HandClock()
    token = await replica(database, clock).get(profile)
    async with database.reading() as connection:
        [row] = (await connection.execute(select(tables.oauth_tokens))).mappings()
    assert str(token).encode() not in row["sealed_access_token"]
    assert str(token) in VAULT.open(
        row["sealed_access_token"], profile_secret(profile, "access_token")
    )
    assert abs(row["expires_at"] - clock.now() - timedelta(hours=1)) < timedelta(seconds=1)
    rotated = Vault([b"n" * 32, b"k" * 32])
    assert await replica(database, clock, rotated).get(profile) == token
    assert len(server.requests) == 1


async def test_a_token_of_another_revision_is_not_used(
    database: Database, profile: Profile, server: TokenServer
) -> None:
    """Nor does who still works by the old one get any more."""
    clock = HandClock()
    one = replica(database, clock)
    old = await one.get(profile)
    which = {"tenant_id": profile.tenant_id, "profile_id": profile.id}
    async with database.transaction() as connection:
        await profiles.update(connection, **which, changes={"ehlo_name": "x"}, now=clock.now())
        changed = await profiles.get(connection, tenant_id=profile.tenant_id, profile=profile.id)
    new = await replica(database, clock).get(changed)
    assert new != old
    late = await replica(database, clock).get(profile)
    assert isinstance(late, Failure)
    assert "changed" in late.detail
    assert len(server.requests) == 2


async def test_a_refused_token_is_forgotten_by_all_and_another_is_kept(
    database: Database, profile: Profile, server: TokenServer
) -> None:
    """Whoever hears of it late drops no newer one."""
    clock = HandClock()
    one, two = replica(database, clock), replica(database, clock)
    old = await one.get(profile)
    assert await two.get(profile) == old
    await one.invalidate(profile, str(old))
    new = await one.get(profile)
    assert new != old
    await two.invalidate(profile, str(old))
    assert await two.get(profile) == new
    assert len(server.requests) == 2


async def test_a_secret_that_does_not_open_is_told(database: Database, profile: Profile) -> None:
    """As with any other credential."""
    failure = await replica(database, HandClock(), Vault([b"x" * 32])).get(profile)
    assert isinstance(failure, Failure)
    assert failure.fault is Fault.UNREADABLE
