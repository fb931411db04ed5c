"""`heloise purge`."""

import asyncio
from collections import Counter
from typing import Annotated, Final

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.database import opened, require_schema
from app.cli.environment import checked_settings
from app.cli.printing import AsJson, print_json
from app.domain.clock import SystemClock
from app.settings import Settings
from app.store import purging, tenants
from app.store.purging import Purged

app = typer.Typer()

AT_ONCE: Final = 500


@app.command()
def purge(
    tenant: Annotated[
        str | None, typer.Option("--tenant", "-t", help="One tenant's alone, by slug or id.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Take away what was kept long enough.

    How long that is each tenant says, or the service (HELOISE_CONTENT_RETENTION_DAYS and others).
    Whoever delivers does it by itself, each hour; this does all of it at once, in small
    transactions, and may be stopped and run again.
    """
    counts = asyncio.run(_purge(checked_settings(), tenant))
    if as_json:
        print_json(dict(counts))
    else:
        typer.echo(
            f"Purged {counts['messages']} messages; of others {counts['contents']} contents,"
            f" the recipients of {counts['recipients']} and the attempts of {counts['attempts']};"
            f" and {counts['events']} events."
        )


async def _purge(settings: Settings, tenant: str | None) -> Counter[str]:
    await require_schema(settings)
    counts = Counter(messages=0, contents=0, recipients=0, attempts=0, events=0)
    async with opened(settings) as database:
        tenant_id = None
        if tenant is not None:
            async with database.reading() as connection:
                tenant_id = (await tenants.get(connection, tenant=tenant)).id
        began = SystemClock().now()

        async def once(connection: AsyncConnection) -> Purged | None:
            return await purging.purge(
                connection,
                default=settings.retention(),
                before=began,
                now=SystemClock().now(),
                limit=AT_ONCE,
                tenant_id=tenant_id,
            )

        while (purged := await database.repeated(once)) is not None:
            counts.update(
                messages=purged.messages,
                contents=purged.contents,
                recipients=purged.recipients,
                attempts=purged.attempts,
                events=purged.events,
            )
    return counts
