"""Define `heloise backup`, and `heloise hold` for a restored backup."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.database import make_audit_context, open_current_database, require_file
from app.cli.input import load_settings
from app.cli.terminal import AsJson, ShowProgress, print_json, progress_bar
from app.domain.clock import SystemClock
from app.domain.errors import SettingsError
from app.settings.model import Settings
from app.store.db.backup import copy_database, remove_mark
from app.store.delivery import profile_notices, workers
from app.store.messages import status_changes

BATCH_MESSAGES: Final = 500


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The file to create.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Copy the SQLite database to a new file, while Heloise runs.

    The copy contains every message that Heloise accepted before the command started. It does not
    contain HELOISE_SECRET_KEYS: keep them elsewhere. For PostgreSQL use pg_dump.
    """
    settings = load_settings()
    source = require_file(settings)
    if source is None:
        raise SettingsError(
            "HELOISE_DATABASE_URL names PostgreSQL, and this command copies SQLite's file: use"
            " pg_dump"
        )
    started_at = SystemClock().now()
    with progress_bar("Copying") as show:
        copy_database(source, target, show)
    size_bytes = target.stat().st_size
    if as_json:
        print_json({"path": target, "size_bytes": size_bytes, "started_at": started_at})
    else:
        typer.echo(
            f"Copied {source} to {target}: {size_bytes} bytes. The copy does not contain"
            " HELOISE_SECRET_KEYS; keep them elsewhere."
        )


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
    audit_context = make_audit_context()
    now, count = audit_context.now, 0
    async with open_current_database(settings) as database:
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
                await remove_mark(connection)
            await audit_entry.update(connection, messages=count + held, finished=held == 0)
            return held

        while held := await database.retry_transaction(hold_batch):
            count += held
            show(count, None)
    return count
