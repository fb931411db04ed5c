"""Print profiles, without secrets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.profiles.responses import ProfileRead
from app.auth.profiles import require_profile
from app.cli.printing import print_fields, print_json
from app.domain.ehlo import EffectiveEhlo, effective_ehlo
from app.domain.types import LaneHealth, Profile, Tenant
from app.settings import Settings
from app.smtp.outgoing import outgoing_address
from app.store.profiles import queries as profiles
from app.worker import find_hostname

COLUMNS: Final = (
    "id",
    "name",
    "host",
    "port",
    "tls",
    "greets as",
    "logs in as",
    "state",
    "reason",
)


async def read_of(
    connection: AsyncConnection, settings: Settings, owner: Tenant, profile: str
) -> ProfileRead:
    """What may be shown of the profile with this name or id; raises NotFound."""
    stored_profile = await require_profile(connection, owner.id, profile, by=None)
    return (await reads(connection, settings, owner, [stored_profile]))[0]


async def reads(
    connection: AsyncConnection, settings: Settings, owner: Tenant, found: Sequence[Profile]
) -> list[ProfileRead]:
    """What may be shown of these profiles, in their order."""
    health = await profiles.health(
        connection, tenant_id=owner.id, profile_ids=[profile.id for profile in found]
    )
    return [
        ProfileRead.of(
            profile, health.get(profile.id, LaneHealth()), _ehlo(profile, owner, settings)
        )
        for profile in found
    ]


def _ehlo(profile: Profile, owner: Tenant, settings: Settings) -> EffectiveEhlo:
    """The name as a process on this machine would choose it."""
    chosen = profile.ehlo_name or owner.ehlo_name or settings.ehlo_name
    return effective_ehlo(
        profile=profile.ehlo_name,
        tenant=owner.ehlo_name,
        service=settings.ehlo_name,
        hostname=None if chosen else find_hostname(),
        local_address=profile.source_address or outgoing_address(profile.host),
    )


def print_profile(read: ProfileRead, *, as_json: bool) -> None:
    """Print all that may be shown of a profile: as JSON, or a line for each field."""
    if as_json:
        print_json(read)
    else:
        print_fields(_flatten(read.model_dump(mode="json")))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def row_of(read: ProfileRead) -> list[object]:
    """A profile as a row under `COLUMNS`."""
    connection = [read.id, read.name, read.host, read.port, read.tls]
    return [*connection, read.effective_ehlo.name, read.auth.username, read.state, read.reason]
