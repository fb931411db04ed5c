"""Define `heloise purge`."""

import asyncio
from collections import Counter
from typing import Annotated, Final

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.database import make_audit_context, open_database, require_schema
from app.cli.environment import load_settings
from app.cli.printing import AsJson, print_json
from app.cli.progress import ShowProgress, progress_bar
from app.domain.clock import SystemClock
from app.settings import Settings
from app.store import retention as purging
from app.store.tenants import queries as tenants

app = typer.Typer(add_completion=False)

BATCH_ROWS: Final = 500
COUNTERS: Final = ("messages", "contents", "recipients", "attempts", "events", "submissions")


@app.command()
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
    await require_schema(settings)
    counts = Counter(dict.fromkeys(COUNTERS, 0))
    async with open_database(settings) as database:
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
