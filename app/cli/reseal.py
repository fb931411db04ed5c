"""Define `heloise reseal`."""

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.database import transact
from app.cli.environment import load_settings
from app.store import key_rotation as resealing
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
        return {
            "profiles": await resealing.reseal_profiles(connection, vault),
            "webhooks": await resealing.reseal_webhooks(connection, vault),
            "DKIM keys": await resealing.reseal_dkim_keys(connection, vault),
            "mailboxes": await resealing.reseal_mailboxes(connection, vault),
            "provider webhooks": await resealing.reseal_provider_webhooks(connection, vault),
            "sensitive messages": await resealing.reseal_contents(connection, vault),
        }

    *before, last = (f"{count} {what}" for what, count in transact(settings, work).items())
    typer.echo(f"Encrypted {', '.join(before)} and {last} with the newest key.")
