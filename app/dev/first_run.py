"""Create the keys, tenant and profiles of `heloise dev` at its first start."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.api_keys import service as key_actions
from app.api.api_keys.schemas import KeyCreate
from app.api.profiles.builder import build_new_profile
from app.api.profiles.schemas import ProfileCreate
from app.api.profiles.secrets import seal_secrets
from app.api.tenants import service as tenant_actions
from app.api.tenants.schemas import TenantCreate
from app.auth.audit import AuditContext
from app.domain.api_keys import generate_secret, hash_secret
from app.domain.audit import Actor, ActorKind
from app.domain.clock import SystemClock
from app.domain.errors import SettingsError
from app.domain.secret_keys import generate_key
from app.domain.types import Scope
from app.settings import Settings, Source, list_settings, read_settings, variable_name
from app.store import api_keys
from app.store.profiles import queries as profiles
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import Vault

LOOPBACK: Final = "127.0.0.1"
TENANT: Final = "dev"
KEYS_FILE: Final = "keys.json"
DATABASE_FILE: Final = "heloise.db"


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


PROFILES: Final[Sequence[DevProfile]] = (
    DevProfile("transactional", "mail.dev.example", "Billing <billing@mail.dev.example>"),
    DevProfile("marketing", "news.dev.example", "News <news@news.dev.example>"),
)


@dataclass(frozen=True)
class Keys:
    """The keys of a data folder."""

    secret_key: str
    admin_key: str
    api_key: str


def load_or_create_keys(folder: Path) -> Keys:
    """Load the keys of the folder, or create them, readable only by this user.

    Raises SettingsError if they cannot be read.
    """
    path = folder / KEYS_FILE
    remedy = f"delete {folder} to start over, or set --data to another folder"
    try:
        return Keys(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if (folder / DATABASE_FILE).exists():
            raise SettingsError(
                f"{path} with the keys of the database is missing; {remedy}"
            ) from None
    except (OSError, ValueError, TypeError):
        raise SettingsError(f"cannot read {path}; {remedy}") from None
    keys = Keys(secret_key=generate_key(), admin_key=generate_key(), api_key=generate_secret())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(keys), file, indent=2)
    return keys


def make_settings(folder: Path, keys: Keys, *, host: str, port: int) -> Settings:
    """Build the settings of `heloise dev`.

    Database and keys are always those of the folder, never those of HELOISE_DATABASE_URL. SMTP
    submission has no TLS, so that the printed settings work with any client. Other settings can
    come from the environment.
    """
    defaults: dict[str, Any] = {
        "allowed_ports": "1-65535",
        "log_level": "warning",
        "log_format": "console",
        "shutdown_grace_seconds": 5,
    }
    set_variables = {
        setting.name
        for setting in list_settings(read_settings())
        if setting.source is not Source.DEFAULT
    }
    fixed: dict[str, Any] = {
        "database_url": f"sqlite:///{folder.absolute() / DATABASE_FILE}",
        "secret_keys": keys.secret_key,
        "admin_key": keys.admin_key,
        "allow_private_hosts": True,
        "delivery": True,
        "host": host,
        "port": port,
        "submission_allow_plaintext_auth": True,
        "submission_tls_certificate": None,
        "submission_tls_key": None,
    }
    return Settings(
        **{
            field: value
            for field, value in defaults.items()
            if variable_name(field) not in set_variables
        },
        **fixed,
    )


async def prepare(connection: AsyncConnection, vault: Vault, keys: Keys, *, smtp_port: int) -> None:
    """Create tenant, key and profiles at the first start; later, update the inbox's port."""
    now = SystemClock().now()
    key = await api_keys.find_by_hash(connection, hash=hash_secret(keys.api_key))
    if key is not None:
        await _update_port(connection, vault, key.tenant_id, smtp_port, now)
        return
    audit_context = AuditContext(actor=Actor(ActorKind.COMMAND_LINE, name="heloise dev"), now=now)
    tenant = await tenant_actions.create(
        connection, audit_context, TenantCreate(slug=TENANT, name="Trying Heloise out")
    )
    body = KeyCreate(name="heloise dev", scopes=list(Scope))
    await key_actions.create(connection, audit_context, body, tenant=tenant.id, secret=keys.api_key)
    for profile in PROFILES:
        await _make_profile(connection, vault, tenant.id, profile, smtp_port, now)


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
