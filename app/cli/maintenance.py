"""Define `heloise migrate`, `heloise reseal` and `heloise purge`, which change stored data."""

import asyncio
from collections import Counter
from typing import Annotated, Final

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.database import make_audit_context, open_current_database, open_database, transact
from app.cli.input import load_settings
from app.cli.terminal import AsJson, ShowProgress, print_json, progress_bar
from app.domain.clock import SystemClock
from app.settings.model import Settings
from app.store import retention as purging
from app.store.key_rotation import RESEAL
from app.store.migrations import migrate as migrating
from app.store.secrets.encryption import Vault
from app.store.tenants import queries as tenants

BATCH_ROWS: Final = 500
COUNTERS: Final = ("messages", "contents", "recipients", "attempts", "events", "submissions")


def migrate() -> None:
    """Create or upgrade the database schema.

    Several processes may run this at once. It does nothing if the schema is current.
    """
    settings = load_settings()
    with progress_bar("Migrating") as show:
        head = asyncio.run(_migrate(settings, show))
    typer.echo(f"The schema is at {head}.")


async def _migrate(settings: Settings, show: ShowProgress) -> str:
    async with open_database(settings) as database:
        return await migrating.migrate(database, show)


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


def purge(
    tenant: Annotated[
        str | None, typer.Option("--tenant", "-t", help="Only this tenant, by slug or id.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Delete data past its retention period.

    Each tenant or the service (HELOISE_CONTENT_RETENTION_DAYS and others) sets the periods.
    Delivering processes do this every hour; this command does all of it at once, in small
    transactions. You can stop it and run it again.
    """
    settings = load_settings()
    with progress_bar("Purging") as show:
        counts = asyncio.run(_purge(settings, tenant, show))
    if as_json:
        print_json(dict(counts))
    else:
        typer.echo(
            f"Purged {counts['messages']} messages; of others {counts['contents']} contents,"
            f" the recipients of {counts['recipients']} and the attempts of {counts['attempts']};"
            f" and {counts['events']} events and {counts['submissions']} SMTP sessions."
        )


async def _purge(settings: Settings, tenant: str | None, show: ShowProgress) -> Counter[str]:
    counts = Counter(dict.fromkeys(COUNTERS, 0))
    async with open_current_database(settings) as database:
        tenant_id = None
        if tenant is not None:
            async with database.reading() as connection:
                tenant_id = (await tenants.get(connection, tenant=tenant)).id
        audit_context = make_audit_context()
        async with database.transaction() as connection:
            audit_entry = await audit_context.begin(
                connection, "purge", tenant_id=tenant_id, object_id="messages", parameters={}
            )

        async def once(connection: AsyncConnection) -> Counter[str] | None:
            purged = await purging.purge(
                connection,
                default=settings.build_retention(),
                before=audit_context.now,
                now=SystemClock().now(),
                limit=BATCH_ROWS,
                tenant_id=tenant_id,
            )
            if purged is None:
                await audit_entry.update(connection, **counts, finished=True)
                return None
            total = {name: counts[name] + getattr(purged, name) for name in COUNTERS}
            await audit_entry.update(connection, **total)
            return Counter(total)

        while (total := await database.retry_transaction(once)) is not None:
            counts = total
            show(sum(counts.values()), None)
    return counts
