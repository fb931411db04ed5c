"""Define `heloise queue`."""

from datetime import datetime, timedelta
from typing import Annotated, Final

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.queue.schemas import QueueRead
from app.api.queue.service import read_queue
from app.cli.database import transact
from app.cli.input import AnyTenantOption, load_settings
from app.cli.terminal import AsJson, format_age, print_fields, print_json, print_table
from app.domain.clock import SystemClock
from app.store.delivery.queue import QueueScope
from app.store.tenants import queries as tenants

MAX_PROFILES: Final = 50
COLUMNS: Final = ("tenant", "profile", "state", "since", "waiting", "due", "next try", "reason")


def queue(
    tenant: AnyTenantOption = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="The maximum number of profiles.")
    ] = MAX_PROFILES,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what waits, and which profiles hold it up."""
    settings, now = load_settings(), SystemClock().now()

    async def read(connection: AsyncConnection) -> QueueRead:
        owner = None if tenant is None else await tenants.get(connection, tenant=tenant)
        return await read_queue(
            connection,
            QueueScope(tenant_id=None if owner is None else owner.id),
            now=now,
            alive_since=now - timedelta(seconds=settings.lease_seconds),
            limit=limit,
        )

    state = transact(settings, read)
    if as_json:
        print_json(state)
    else:
        _print_queue(state, now)


def _print_queue(state: QueueRead, now: datetime) -> None:
    minutes = max(1.0, (now - state.throughput.since).total_seconds()) / 60
    attempts = state.throughput.attempts
    print_fields(
        [
            ("messages", ", ".join(f"{count} {name}" for name, count in state.messages.items())),
            ("due", state.due),
            ("oldest", format_age(state.oldest_at, now)),
            ("next attempt", format_age(state.next_attempt_at, now)),
            ("workers", state.workers or "none: mail waits until a process delivers"),
            (
                f"last {minutes:.0f} minutes",
                ", ".join(f"{n} {name}" for name, n in attempts.items()),
            ),
        ]
    )
    if state.items:
        rows = [
            (
                row.tenant,
                row.profile,
                row.state,
                format_age(row.failing_since, now),
                row.messages,
                row.due,
                format_age(row.next_probe_at or row.next_attempt_at, now),
                f"{row.code}: {row.reason}" if row.reason else None,
            )
            for row in state.items
        ]
        print_table(COLUMNS, rows)
    if state.next_cursor is not None:
        typer.echo("There are more profiles: raise --limit.", err=True)
