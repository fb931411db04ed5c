"""Define `heloise reseal`."""

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.database import transact
from app.cli.environment import load_settings
from app.cli.progress import progress_bar
from app.store.key_rotation import RESEAL
from app.store.secrets.encryption import Vault

app = typer.Typer(add_completion=False)


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
        for done, (noun, reseal_rows) in enumerate(RESEAL.items()):
            show(done, len(RESEAL))
            counts[noun] = await reseal_rows(connection, vault)
        return counts

    with progress_bar("Encrypting") as show:
        counts = transact(settings, work)
    *before, last = (f"{count} {noun}" for noun, count in counts.items())
    typer.echo(f"Encrypted {', '.join(before)} and {last} with the newest key.")
