"""Create the tenant, the key and the profiles of `heloise dev`, and read what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.api_keys import service as key_actions
from app.api.api_keys.schemas import KeyCreate
from app.api.profiles.builder import build_new_profile
from app.api.profiles.responses import ProfileRead
from app.api.profiles.schemas import ProfileCreate
from app.api.profiles.secrets import seal_secrets
from app.api.profiles.service import read_all
from app.api.tenants import service as tenant_actions
from app.api.tenants.schemas import TenantCreate
from app.auth.audit_context import AuditContext
from app.dev.data_folder import Keys
from app.domain.api_keys import generate_secret, hash_secret
from app.domain.audit import Actor, ActorKind
from app.domain.clock import SystemClock
from app.domain.ehlo import EhloNames
from app.domain.types import Scope, Tenant
from app.smtp.local_address import local_address
from app.store import api_keys
from app.store.profiles import queries as profiles
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import Vault
from app.store.tenants import queries as tenants

LOOPBACK: Final = "127.0.0.1"
TENANT: Final = "dev"
MAX_SHOWN_PROFILES: Final = 10


@dataclass(frozen=True, slots=True)
class DevProfile:
    """A profile that sends to the inbox. Its login is its name."""

    name: str
    ehlo_name: str
    default_from: str

    @property
    def password(self) -> str:
        """Return the password, which protects nothing: the inbox listens on loopback only."""
        return f"{self.name}-password"


PRACTICE_PROFILE: Final = "practice"
PROFILES: Final[Sequence[DevProfile]] = (
    DevProfile("transactional", "mail.dev.example", "Billing <billing@mail.dev.example>"),
    DevProfile("marketing", "news.dev.example", "News <news@news.dev.example>"),
    # The console's inbox page gives it a name that the inbox refuses, if somebody asks for it.
    DevProfile(
        PRACTICE_PROFILE, "practice.dev.example", "Practice <practice@practice.dev.example>"
    ),
)


@dataclass(frozen=True, slots=True)
class Start:
    """What the database holds when the server starts."""

    keys: Keys
    tenant: Tenant
    profiles: Sequence[ProfileRead]  # the oldest


async def prepare(
    connection: AsyncConnection, vault: Vault, keys: Keys, names: EhloNames, *, smtp_port: int
) -> Start:
    """Create tenant, key and profiles at the first start; later, update the inbox's port.

    If the key is revoked or expired, a new one replaces it.
    """
    now = SystemClock().now()
    audit_context = AuditContext(actor=Actor(ActorKind.COMMAND_LINE, name="heloise dev"), now=now)
    key = await api_keys.find_by_hash(connection, hash=hash_secret(keys.api_key))
    if key is None:
        tenant = await tenant_actions.create(
            connection, audit_context, TenantCreate(slug=TENANT, name="Trying Heloise out")
        )
        for profile in PROFILES:
            await _make_profile(connection, vault, tenant.id, profile, smtp_port, now)
    else:
        tenant = await tenants.get(connection, tenant=key.tenant_id)
        await _update_port(connection, vault, tenant.id, smtp_port, now)
        if not key.is_valid(now):
            key, keys = None, replace(keys, api_key=generate_secret())
    if key is None:
        body = KeyCreate(name="heloise dev", scopes=list(Scope))
        owner = key_actions.KeyOwner(tenant.id, audit_context)
        await key_actions.create(connection, owner, body, secret=keys.api_key)
    return Start(keys, tenant, await _read_profiles(connection, tenant, names, now))


async def _read_profiles(
    connection: AsyncConnection, tenant: Tenant, names: EhloNames, now: datetime
) -> list[ProfileRead]:
    rows = await profiles.page(
        connection, tenant_id=tenant.id, limit=MAX_SHOWN_PROFILES, after=None
    )
    return await read_all(
        connection, tenant, rows, now=now, names=names, local_address=local_address
    )


async def _make_profile(
    connection: AsyncConnection,
    vault: Vault,
    tenant_id: str,
    profile: DevProfile,
    smtp_port: int,
    now: datetime,
) -> None:
    body = ProfileCreate.model_validate(
        {
            "name": profile.name,
            "host": LOOPBACK,
            "port": smtp_port,
            "tls": "none",
            "ehlo_name": profile.ehlo_name,
            "auth": {
                "username": profile.name,
                "password": profile.password,
                "allow_plaintext_auth": True,
            },
            "default_from": profile.default_from,
        }
    )
    new_profile = build_new_profile(body, tenant_id=tenant_id, now=now)
    sealed = seal_secrets(body, vault, profile=new_profile)
    await profiles.insert(connection, profile=new_profile, sealed=sealed)


async def _update_port(
    connection: AsyncConnection, vault: Vault, tenant_id: str, smtp_port: int, now: datetime
) -> None:
    """Set the current SMTP port in the profiles that send to the inbox."""
    for profile in PROFILES:
        stored_profile = await profiles.find(connection, tenant_id=tenant_id, profile=profile.name)
        if stored_profile is None or (stored_profile.host, stored_profile.username) != (
            LOOPBACK,
            profile.name,
        ):
            continue
        if stored_profile.port != smtp_port:
            new_context = profile_secret(replace(stored_profile, port=smtp_port), "password")
            await profiles.update(
                connection,
                tenant_id=tenant_id,
                profile_id=stored_profile.id,
                changes={
                    "port": smtp_port,
                    "sealed_password": vault.seal(profile.password, new_context),
                },
                now=now,
            )
