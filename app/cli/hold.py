"""Define `heloise hold`."""

import asyncio
from datetime import timedelta
from typing import Final

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.database import make_audit_context, open_database, require_schema
from app.cli.environment import load_settings
from app.cli.printing import AsJson, print_json
from app.cli.progress import ShowProgress, progress_bar
from app.domain.errors import SettingsError
from app.settings import Settings
from app.store.db import backup
from app.store.delivery import profile_notices, workers
from app.store.messages import status_changes

app = typer.Typer(add_completion=False)

BATCH_MESSAGES: Final = 500


@app.command()
def hold(*, as_json: AsJson = False) -> None:
    """Hold all unfinished messages after you restored a backup.

    The backup does not know what Heloise sent after it was made, and would send it again. This
    command makes all recipients that wait `uncertain`, and their messages `held`, for all tenants.
    It withdraws notices that are due. Then decide with `heloise message resolve` or
    `POST /messages/actions`.
    """
    settings = load_settings()
    with progress_bar("Holding") as show:
        count = asyncio.run(_hold(settings, show))
    if as_json:
        print_json({"messages": count})
    else:
        typer.echo(f"Held {count} messages. Nothing sends them until you resolve them.")


async def _hold(settings: Settings, show: ShowProgress) -> int:
    await require_schema(settings)
    audit_context = make_audit_context()
    now, count = audit_context.now, 0
    async with open_database(settings) as database:
        async with database.transaction() as connection:
            alive_since = now - timedelta(seconds=settings.lease_seconds)
            if hostnames := await workers.list_hostnames(connection, since=alive_since):
                raise SettingsError(
                    f"processes deliver ({', '.join(sorted(set(hostnames)))}) and could send what"
                    f" this command holds: stop them, or wait {settings.lease_seconds:g} seconds if"
                    " they are those of the backup, and run the command again"
                )
            audit_entry = await audit_context.begin(
                connection, "messages.hold", object_id="messages", parameters={}
            )

        async def hold_batch(connection: AsyncConnection) -> int:
            # Until none is left, whenever they were accepted: another machine's clock said when.
            held = await status_changes.hold(connection, now=now, limit=BATCH_MESSAGES)
            if held == 0:
                await profile_notices.withdraw_due(connection)
                await backup.remove_mark(connection)
            await audit_entry.update(connection, messages=count + held, finished=held == 0)
            return held

        while held := await database.retry_transaction(hold_batch):
            count += held
            show(count, None)
    return count
