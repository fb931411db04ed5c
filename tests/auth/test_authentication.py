"""Authentication without HTTP, as a server of another protocol calls it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from app.auth.authentication import Authenticator, Visitor
from app.auth.profiles import find_sending_profile
from app.auth.throttle import AuthThrottle
from app.domain.api_keys import generate_secret, hash_secret
from app.domain.audit import Actor, ActorKind
from app.domain.console_sessions import ConsoleSession
from app.domain.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    TooManyRequests,
    Unauthenticated,
)
from app.domain.ids import new_id
from app.domain.types import MessageSource, Origin, Scope, Tenant
from app.store import api_keys, audit
from app.store.db.database import Database
from tests.support.rows import NOW, a_key, made_profile, made_tenant

pytestmark = pytest.mark.one_database

SOURCE: Final = "192.0.2.1"
ADMIN_KEY: Final = "an-admin-key-of-more-than-32-characters"


@pytest.fixture
def auth(database: Database) -> Authenticator:
    """What a server without HTTP makes."""
    return Authenticator(
        database=database,
        now=lambda: NOW,
        admin_keys={"ann": ADMIN_KEY},
        auth_throttle=AuthThrottle(2),
    )


@pytest.fixture
async def tenant(database: Database) -> Tenant:
    """The tenant of the keys."""
    return await made_tenant(database)


async def store_key(database: Database, tenant: Tenant, **fields: Any) -> str:
    """The secret of a new key."""
    key, secret = a_key(tenant, **fields), generate_secret()
    async with database.transaction() as connection:
        await api_keys.insert(connection, key=key, hash=hash_secret(secret))
    return secret


async def test_a_key_that_may_send_is_the_tenants_caller(
    auth: Authenticator, tenant: Tenant
) -> None:
    """Its use is remembered for `last_used_at`."""
    secret = await store_key(auth.database, tenant)
    caller = await Visitor(auth, secret, SOURCE).authorize(Scope.MESSAGES_SEND)
    assert caller.tenant_id == tenant.id
    assert (caller.actor.kind, caller.actor.source) == (ActorKind.KEY, SOURCE)
    assert caller.key is not None
    assert auth.key_uses == {caller.key.id: NOW}


async def test_a_person_of_single_sign_on_is_known_by_the_session(
    auth: Authenticator, tenant: Tenant
) -> None:
    """With its scopes in its tenant, or as an admin."""
    session = ConsoleSession(
        id=new_id("ses"),
        tenant_id=tenant.id,
        name="ann@example.com",
        key_hash=None,
        issuer="https://sso.example.com",
        subject="ann",
        scopes=frozenset({Scope.MESSAGES_SEND}),
        source=SOURCE,
        created_at=NOW,
        last_used_at=NOW,
        expires_at=NOW + timedelta(hours=1),
    )
    visitor = Visitor(auth, None, SOURCE, session=session)
    caller = await visitor.authorize(Scope.MESSAGES_SEND)
    assert caller.origin == Origin(MessageSource.API, session.id, client_address=SOURCE)
    assert caller.actor == Actor(ActorKind.PERSON, session.id, "ann@example.com", SOURCE)
    assert visitor.key_id == session.id
    with pytest.raises(Forbidden, match="lacks the scope messages:read"):
        await visitor.authorize(Scope.MESSAGES_READ)
    session = replace(session, tenant_id=None, scopes=None)
    admin = await Visitor(auth, None, SOURCE, session=session).identify()
    assert admin == Actor(ActorKind.PERSON, session.id, "ann@example.com", SOURCE)
    session = replace(session, tenant_id=new_id("ten"))
    with pytest.raises(Unauthenticated, match="tenant of this session is deleted"):
        await Visitor(auth, None, SOURCE, session=session).identify()


@pytest.mark.parametrize("source", MessageSource)
async def test_a_callers_messages_come_from_its_key_and_way_in(
    auth: Authenticator, tenant: Tenant, source: MessageSource
) -> None:
    """Each protocol says which way in it is."""
    secret = await store_key(auth.database, tenant)
    visitor = Visitor(auth, secret, SOURCE, message_source=source)
    caller = await visitor.authorize(Scope.MESSAGES_SEND)
    assert caller.key is not None
    assert caller.origin == Origin(source, caller.key.id, client_address=SOURCE)


@pytest.mark.parametrize(
    ("fields", "slug"),
    [
        ({"expires_at": NOW}, "unauthenticated"),
        ({"revoked_at": NOW - timedelta(seconds=1)}, "unauthenticated"),
        ({"networks": ("198.51.100.0/24",)}, "network-not-allowed"),
        ({"scopes": frozenset({Scope.MESSAGES_READ})}, "scope-missing"),
    ],
)
async def test_a_refusal_is_written_to_the_audit_log(
    auth: Authenticator, tenant: Tenant, fields: dict[str, Any], slug: str
) -> None:
    """With the key's tenant if the key is valid, and without a use of the key otherwise."""
    visitor = Visitor(auth, await store_key(auth.database, tenant, **fields), SOURCE)
    with pytest.raises((Unauthenticated, Forbidden)) as excinfo:
        await visitor.authorize(Scope.MESSAGES_SEND)
    assert await refusals(auth, visitor, excinfo.value) == [("smtp.auth", slug, SOURCE)]


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (
            SOURCE,
            (
                "the request came from 192.0.2.1. Behind a proxy, add the proxy to"
                " HELOISE_TRUSTED_PROXIES."
            ),
        ),
        (None, "the client's address is unknown. Behind a proxy, let the proxy pass it on."),
    ],
)
async def test_a_refused_network_is_named(
    auth: Authenticator, tenant: Tenant, source: str | None, detail: str
) -> None:
    """If the proxy is the reason, the error says what to change."""
    secret = await store_key(auth.database, tenant, networks=("198.51.100.0/24",))
    with pytest.raises(Forbidden) as excinfo:
        await Visitor(auth, secret, source).identify()
    assert excinfo.value.detail == f"This key works only from 198.51.100.0/24, and {detail}"


async def refusals(
    auth: Authenticator, visitor: Visitor, problem: Problem
) -> list[tuple[str, str | None, str | None]]:
    """What the audit log says after this refusal was noted."""
    await visitor.audit_refusal(problem, action="smtp.auth", object_id="submission")
    async with auth.database.reading() as connection:
        entries = await audit.page(connection, tenant_id=None, limit=9)
    return [(entry.action, entry.refused_as, entry.actor.source) for entry in entries]


async def test_guesses_of_a_source_are_throttled(auth: Authenticator, tenant: Tenant) -> None:
    """A guess that is throttled leaves no entry; a valid key is never throttled."""
    for error in (Unauthenticated, Unauthenticated, TooManyRequests):
        visitor = Visitor(auth, generate_secret(), SOURCE)
        with pytest.raises(error) as excinfo:
            await visitor.authorize(Scope.MESSAGES_SEND)
    assert await refusals(auth, visitor, excinfo.value) == []
    secret = await store_key(auth.database, tenant)
    assert await Visitor(auth, secret, SOURCE).authorize(Scope.MESSAGES_SEND)


@pytest.mark.parametrize(
    ("secret", "error"), [(ADMIN_KEY, InvalidRequest), (None, Unauthenticated)]
)
async def test_neither_an_admin_key_nor_none_is_a_tenants(
    auth: Authenticator, secret: str | None, error: type[Problem]
) -> None:
    """And the error says what to present instead."""
    with pytest.raises(error, match=r"use a tenant's key|present one"):
        await Visitor(auth, secret, SOURCE).authorize(Scope.MESSAGES_SEND)


async def test_a_bound_key_reaches_its_profiles_alone(auth: Authenticator, tenant: Tenant) -> None:
    """By name and by id; another profile is missing, and so is a default that it does not reach."""
    own = await made_profile(auth.database, tenant, "own")
    await made_profile(auth.database, tenant, "other", is_default=True)
    secret = await store_key(auth.database, tenant, profiles=(own.id,))
    caller = await Visitor(auth, secret, SOURCE).authorize(Scope.MESSAGES_SEND)
    for name in (own.name, own.id):
        assert (await find_sending_profile(auth, caller, name)).id == own.id
    for missing_name in ("other", "none", None):
        with pytest.raises(NotFound):
            await find_sending_profile(auth, caller, missing_name)
