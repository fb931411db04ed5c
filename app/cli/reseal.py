"""`heloise reseal`."""

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.environment import PAGE_ROWS, checked_settings, transact
from app.domain.errors import SealError
from app.store import profiles
from app.store.profile_rows import field_of
from app.store.vault import Vault

app = typer.Typer()


@app.command()
def reseal() -> None:
    """Seal all stored credentials under the newest secret key.

    When it has run, the older keys may be taken out of HELOISE_SECRET_KEYS. It is all or nothing:
    where a credential opens under no key, it says whose, and changes nothing.
    """
    settings = checked_settings()
    vault = Vault(settings.encryption_keys())
    count = transact(settings, lambda connection: _reseal_all(connection, vault))
    typer.echo(f"Sealed {count} profiles anew; all credentials are under the newest key.")


async def _reseal_all(connection: AsyncConnection, vault: Vault) -> int:
    count, after = 0, None
    while rows := await profiles.sealed(connection, limit=PAGE_ROWS, after=after):
        for profile_id, tenant_id, sealed in rows:
            after = profile_id
            fresh = {
                name: _resealed(vault, old, profile_id, field_of(name))
                for name, old in sealed.items()
            }
            if fresh == sealed:
                continue
            await profiles.replace_sealed(
                connection, tenant_id=tenant_id, profile_id=profile_id, sealed=fresh
            )
            count += 1
    return count


def _resealed(vault: Vault, sealed: bytes | None, profile_id: str, field: str) -> bytes | None:
    if sealed is None or vault.is_current(sealed):
        return sealed
    try:
        plain = vault.open(sealed, row=profile_id, field=field)
    except SealError:
        raise SealError(
            f"The {field} of the profile {profile_id} opens under none of the keys in"
            " HELOISE_SECRET_KEYS. Add the key that sealed it, or set the credential again."
        ) from None
    return vault.seal(plain, row=profile_id, field=field)
