"""Print profiles, without secrets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.profiles.responses import ProfileRead
from app.api.profiles.service import read_all
from app.auth.profiles import require_profile
from app.cli.terminal import print_fields, print_json
from app.domain.clock import SystemClock
from app.domain.ehlo import EhloNames
from app.domain.types import Profile, Tenant
from app.process import find_hostname
from app.settings.model import Settings
from app.smtp.local_address import local_address

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


async def read_profile(
    connection: AsyncConnection, settings: Settings, owner: Tenant, profile: str
) -> ProfileRead:
    """Read a profile by name or id, without secrets. Raises NotFound."""
    stored_profile = await require_profile(connection, owner.id, profile, caller_key=None)
    return (await build_profile_reads(connection, settings, owner, [stored_profile]))[0]


async def build_profile_reads(
    connection: AsyncConnection,
    settings: Settings,
    owner: Tenant,
    stored_profiles: Sequence[Profile],
) -> list[ProfileRead]:
    """Build the responses of these profiles, in their order."""
    has_names = (
        settings.ehlo_name
        or owner.ehlo_name
        or all(profile.ehlo_name for profile in stored_profiles)
    )
    names = EhloNames(
        service=settings.ehlo_name,
        hostname=None if has_names else find_hostname(),  # which may take seconds
    )
    return await read_all(
        connection,
        owner,
        stored_profiles,
        now=SystemClock().now(),
        names=names,
        local_address=local_address,
    )


def print_profile(read: ProfileRead, *, as_json: bool) -> None:
    """Print a profile, as JSON or one field per line."""
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


def build_row(read: ProfileRead) -> list[object]:
    """Build a row under `COLUMNS`."""
    connection = [read.id, read.name, read.host, read.port, read.tls]
    return [*connection, read.effective_ehlo.name, read.auth.username, read.state, read.reason]
