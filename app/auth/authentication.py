"""Authenticate and authorize callers of every protocol."""

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Final, NamedTuple

from app.auth.caches import HashCache, TenantCache
from app.auth.caller import Caller
from app.auth.quotas import check_rate
from app.auth.rate_limiter import RateLimiter
from app.auth.throttle import AuthThrottle
from app.domain.api_keys import build_hint, hash_secret, looks_like_key
from app.domain.audit import Actor, ActorKind, AuditEntry, request_id
from app.domain.console_sessions import ConsoleSession
from app.domain.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    Unauthenticated,
    Unavailable,
)
from app.domain.ids import new_id
from app.domain.networks import IPNetwork, contains, normalize_address
from app.domain.types import ApiKey, MessageSource, Profile, Scope, Tenant
from app.store import api_keys, audit
from app.store.db.database import Database
from app.store.tenants import queries as tenants

log = logging.getLogger(__name__)

PROFILE_SECONDS: Final = 1.0
MAX_TOKEN_READS: Final = 4


class CachedKey(NamedTuple):
    """A key and its tenant."""

    key: ApiKey
    tenant: Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """Hold what the authentications of a process share: database, caches and throttles."""

    database: Database
    now: Callable[[], datetime]
    admin_keys: Mapping[str, str] = field(repr=False)  # by name
    auth_throttle: AuthThrottle
    key_cache: HashCache[CachedKey] = field(default_factory=HashCache)
    # When each key was last used, until a batched write of `last_used_at`.
    key_uses: dict[str, datetime] = field(default_factory=dict)
    session_cache: HashCache[ConsoleSession] = field(default_factory=HashCache)
    request_limiter: RateLimiter = field(default_factory=RateLimiter)
    # Limits the database connections that guesses of tokens can use.
    token_slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MAX_TOKEN_READS)
    )
    profile_cache: TenantCache[Profile] = field(
        default_factory=partial(TenantCache, PROFILE_SECONDS)
    )
    # Apart, because callers choose its names: many senders would drop every tenant's profiles.
    sender_profile_cache: TenantCache[Profile] = field(
        default_factory=partial(TenantCache, PROFILE_SECONDS)
    )
    # The tenants of people's sessions.
    tenant_cache: TenantCache[Tenant] = field(default_factory=TenantCache)
    # Whether messages keep the address of the client that sent them.
    stores_client_addresses: bool = True
    # The reason why the schema is unusable, or None. Runs at every request, so it must not query.
    schema_fault: Callable[[], str | None] = lambda: None

    def forget_profiles(self, tenant_id: str) -> None:
        """Drop the cached profiles of a tenant that this process has changed."""
        self.profile_cache.invalidate(tenant_id)
        self.sender_profile_cache.invalidate(tenant_id)

    def forget_key(self, key_id: str) -> None:
        """Drop a cached key that this process has revoked."""
        self.key_cache.drop(lambda _, cached: cached.key.id == key_id)

    def forget_tenant(self, tenant_id: str) -> None:
        """Drop all that is cached of a tenant that this process has changed or deleted."""
        self.key_cache.drop(lambda _, cached: cached.tenant.id == tenant_id)
        self.tenant_cache.invalidate(tenant_id)
        self.forget_profiles(tenant_id)

    def forget_session(self, session_id: str) -> None:
        """Drop a cached session that this process has ended."""
        self.session_cache.drop(lambda _, session: session.id == session_id)

    def require_schema(self) -> None:
        """Raise Unavailable while the schema is unusable."""
        if reason := self.schema_fault():
            raise Unavailable("not-ready", reason)

    async def audit_refusal(
        self, problem: Problem, *, actor: Actor, tenant_id: str | None, action: str, object_id: str
    ) -> None:
        """Write a refused request to the audit log, if the database works."""
        entry = AuditEntry(
            id=new_id("aud"),
            at=self.now(),
            actor=actor,
            action=action,
            tenant_id=tenant_id,
            object_id=object_id,
            refused_as=problem.slug,
            request_id=request_id.get(),
        )
        try:
            async with self.database.transaction() as connection:
                await audit.record(connection, entry)
        except Unavailable:
            log.warning(
                "could not write a refused request to the audit log", extra={"slug": problem.slug}
            )


@dataclass(slots=True, eq=False, repr=False)
class Visitor:
    """The sender of a request, with or without a key; authenticated at most once.

    Make one per HTTP request and one per SMTP transaction, so that a key that is revoked within a
    session stops working. `actor` is the name for the audit log if the request is refused; None
    without a key. `remedy` tells the sender how to present a key, and `proxies_setting` is the
    setting with the proxies that pass on its address. `message_source` is the protocol of its
    messages. A `session` of the console, which must be valid, replaces the secret: it can do what
    its key can do now, or what single sign-on gave to its person. `is_counted` is whether the
    request still counts against the tenant's requests per second.
    """

    auth: Authenticator
    secret: str | None
    source: str | None
    _: KW_ONLY
    remedy: str = "present one"
    proxies_setting: str = "HELOISE_TRUSTED_PROXIES"
    message_source: MessageSource = MessageSource.API
    session: ConsoleSession | None = None
    is_counted: bool = True
    actor: Actor | None = None
    tenant_id: str | None = None
    _identity: Actor | Caller | None = None
    _problem: Problem | None = None

    @property
    def key_id(self) -> str | None:
        """Return the id of a tenant's key or of a person's session, once known.

        Of an admin key, return `admin:` and its name.
        """
        if self.actor is None or self.actor.kind is ActorKind.UNKNOWN:
            return None
        return self.actor.id or f"admin:{self.actor.name}"

    async def identify(self) -> Actor | Caller:
        """Return the admin, or the tenant's caller.

        Raises Unauthenticated, TooManyRequests after too many invalid keys, Forbidden for a key
        that does not work from this network, or Unavailable.
        """
        if self._problem is not None:
            raise self._problem
        if self._identity is None:
            try:
                self._identity = await self._look_up()
            except Problem as problem:
                self._problem = problem
                raise
        return self._identity

    async def authorize(self, scope: Scope) -> Caller:
        """Return the tenant's caller if its key has the scope.

        Raises like `identify`; Forbidden without the scope; InvalidRequest for an admin key, which
        belongs to no tenant; TooManyRequests above the tenant's requests per second.
        """
        caller = self._identity or await self.identify()
        if isinstance(caller, Actor):
            raise InvalidRequest(
                "An admin key belongs to no tenant; use a tenant's key.", slug="tenant-required"
            )
        caller.require_scope(scope)
        if self.is_counted:
            check_rate(caller.tenant, self.auth.request_limiter)
            self.is_counted = False
        return caller

    def require_secret(self, name: str, secret: str) -> None:
        """Raise Unauthenticated or TooManyRequests unless the visitor presents this secret."""
        if self.secret is None:
            raise Unauthenticated(f"This needs {name}: {self.remedy}.")
        if find_secret_name(hash_secret(self.secret), {name: secret}) is None:
            self.auth.auth_throttle.record_failure(self.source)
            raise Unauthenticated(f"The token does not match {name}.")

    async def audit_refusal(self, problem: Problem, *, action: str, object_id: str) -> None:
        """Write to the audit log that a key was refused.

        Writes nothing without a key, or after too many invalid keys.
        """
        if isinstance(problem, Unauthenticated | Forbidden) and self.actor is not None:
            await self.auth.audit_refusal(
                problem,
                actor=self.actor,
                tenant_id=self.tenant_id,
                action=action,
                object_id=object_id,
            )

    @property
    def client_address(self) -> str | None:
        """Return the address to store with the sender's messages; None if it is not valid.

        A trusted proxy may hand on what its client wrote into `X-Forwarded-For`.
        """
        if self.source is None or not self.auth.stores_client_addresses:
            return None
        return _normalize_address(self.source)

    async def _look_up(self) -> Actor | Caller:
        auth, secret, source = self.auth, self.secret, self.source
        auth.require_schema()
        if self.session is not None:
            if self.session.key_hash is None:
                return await self._admit_person(self.session)
            key_hash = self.session.key_hash
        elif secret is not None:
            key_hash = hash_secret(secret)
        else:
            raise Unauthenticated(f"This request needs a key: {self.remedy}.")
        cached_key = auth.key_cache.get(key_hash)
        if cached_key is None and (name := find_secret_name(key_hash, auth.admin_keys)) is not None:
            self.actor = Actor(ActorKind.ADMIN, name=name, source=source)
            return self.actor
        cached_key = cached_key or await auth.key_cache.read(
            key_hash, partial(_read_key, auth, key_hash)
        )
        now = auth.now()
        if cached_key is None or not cached_key.key.is_valid(now):
            if secret is not None:
                auth.auth_throttle.record_failure(source)
            hint = build_hint(secret) if secret and looks_like_key(secret) else None
            self.actor = Actor(ActorKind.UNKNOWN, name=hint, source=source)
            raise Unauthenticated(
                "This key is unknown, revoked or expired. Check that you copied it completely, or"
                " create a new one."
            )
        key, tenant = cached_key
        self.actor = Actor(ActorKind.KEY, key.id, key.name, source)
        self.tenant_id = tenant.id
        if key.networks and not contains(parse_networks(key.networks), source or ""):
            raise Forbidden(
                "network-not-allowed",
                f"This key works only from {', '.join(key.networks)}, and"
                f" {self._describe_source()}.",
            )
        auth.key_uses[key.id] = now
        return Caller(tenant, self.actor, key, self.message_source, self.client_address)

    async def _admit_person(self, session: ConsoleSession) -> Actor | Caller:
        """Return the admin or caller of a session that single sign-on began."""
        self.actor = Actor(ActorKind.PERSON, session.id, session.name, self.source)
        if session.tenant_id is None:
            return self.actor
        try:
            tenant = await _find_tenant(self.auth, session.tenant_id)
        except NotFound:
            raise Unauthenticated("The tenant of this session is deleted.") from None
        self.tenant_id = tenant.id
        key = _make_session_key(session)
        return Caller(tenant, self.actor, key, self.message_source, self.client_address)

    def _describe_source(self) -> str:
        if self.source is None:
            return "the client's address is unknown. Behind a proxy, let the proxy pass it on"
        return (
            f"the request came from {self.source}. Behind a proxy, add the proxy to"
            f" {self.proxies_setting}"
        )


def find_secret_name(secret_hash: bytes, secrets_by_name: Mapping[str, str]) -> str | None:
    """Find the name of the secret with this hash, in constant time, or return None."""
    matched_name = None
    for name, secret in secrets_by_name.items():
        if hmac.compare_digest(secret_hash, hash_secret(secret)):
            matched_name = name
    return matched_name


async def _read_key(auth: Authenticator, key_hash: bytes) -> CachedKey | None:
    async with auth.database.reading() as connection:
        key = await api_keys.find_by_hash(connection, hash=key_hash)
        if key is None:
            return None
        return CachedKey(key, await tenants.get(connection, tenant=key.tenant_id))


async def _find_tenant(auth: Authenticator, tenant_id: str) -> Tenant:
    key, cache = (tenant_id, None), auth.tenant_cache
    return cache.get(key) or await cache.read(key, partial(_read_tenant, auth, tenant_id))


async def _read_tenant(auth: Authenticator, tenant_id: str) -> Tenant:
    async with auth.database.reading() as connection:
        return await tenants.get(connection, tenant=tenant_id)


def _make_session_key(session: ConsoleSession) -> ApiKey:
    """Make the key that a person's session is worth. It ends with the session."""
    return ApiKey(
        id=session.id,
        tenant_id=session.tenant_id or "",
        name=session.name,
        hint="",
        scopes=session.scopes or frozenset(),
        created_at=session.created_at,
        expires_at=None,  # keys that the person creates may last longer
        revoked_at=None,
        last_used_at=None,
    )


@lru_cache(maxsize=1024)
def _normalize_address(source: str) -> str | None:
    """Return an IP address without its zone, IPv4 as such; None for any other text."""
    try:
        return normalize_address(source.partition("%")[0])
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def parse_networks(networks: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    """Parse networks that were checked when they were stored."""
    return tuple(map(ipaddress.ip_network, networks))
