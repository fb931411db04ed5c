"""Define `heloise reseal`."""

from typing import Final

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.database import transact
from app.cli.environment import load_settings
from app.cli.progress import progress_bar
from app.store import key_rotation as resealing
from app.store.secrets.encryption import Vault

app = typer.Typer(add_completion=False)

KINDS: Final = {
    "profiles": resealing.reseal_profiles,
    "webhooks": resealing.reseal_webhooks,
    "DKIM keys": resealing.reseal_dkim_keys,
    "mailboxes": resealing.reseal_mailboxes,
    "provider webhooks": resealing.reseal_provider_webhooks,
    "sensitive messages": resealing.reseal_contents,
}


@app.command()
def reseal() -> None:
    """Encrypt all stored credentials with the newest secret key.

    Afterwards you can remove the older keys from HELOISE_SECRET_KEYS. If a credential cannot be
    decrypted, the command names it and changes nothing.
    """
    settings = load_settings()
    vault = Vault(settings.load_encryption_keys())

    async def work(connection: AsyncConnection) -> dict[str, int]:
        counts = dict[str, int]()
        for done, (noun, reseal_rows) in enumerate(KINDS.items()):
            show(done, len(KINDS))
            counts[noun] = await reseal_rows(connection, vault)
        return counts

    with progress_bar("Encrypting") as show:
        counts = transact(settings, work)
    *before, last = (f"{count} {noun}" for noun, count in counts.items())
    typer.echo(f"Encrypted {', '.join(before)} and {last} with the newest key.")
