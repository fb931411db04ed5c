"""Define `heloise event`."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Final

import typer

from app.api.events.responses import EventRead
from app.cli.database import open_current_database
from app.cli.input import TenantOption, load_settings
from app.cli.terminal import AsJson
from app.domain.errors import InvalidRequest
from app.domain.events import FIRST_POSITION, find_matching_types
from app.settings.model import Settings
from app.store import events
from app.store.tenants import queries as tenants

app = typer.Typer()

PAGE_EVENTS: Final = 200
POLL_SECONDS: Final = 1.0


@app.command()
def tail(
    tenant: TenantOption,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--type", help="A type, such as recipient.bounced or profile.*; repeatable."),
    ] = None,
    *,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest event that is kept.")
    ] = False,
    count: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many events. Default: never.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the events of a tenant as they happen, until you press Ctrl-C.

    --json prints one event per line.
    """
    try:
        types = find_matching_types(kinds or [])
    except ValueError as error:
        raise InvalidRequest(f"--type: {error}") from None
    follow = _follow(load_settings(), tenant, types, from_start=from_start)

    async def print_events() -> None:
        printed = 0
        async with aclosing(follow):
            async for event in follow:
                typer.echo(event.model_dump_json() if as_json else _format_event(event))
                printed += 1
                if printed == count:
                    return

    try:
        asyncio.run(print_events())
    except KeyboardInterrupt:
        return


async def _follow(
    settings: Settings, tenant: str, types: Sequence[str], *, from_start: bool
) -> AsyncGenerator[EventRead]:
    async with open_current_database(settings) as database:
        async with database.reading() as connection:
            owner = await tenants.get(connection, tenant=tenant)
            position = FIRST_POSITION if from_start else await events.horizon(connection)
        while True:
            async with database.reading() as connection:
                page = await events.page(
                    connection, tenant_id=owner.id, limit=PAGE_EVENTS, start=position, types=types
                )
            for event in page.items:
                yield EventRead.of(event)
            position = page.end
            if len(page.items) < PAGE_EVENTS:
                await asyncio.sleep(POLL_SECONDS)


def _format_event(event: EventRead) -> str:
    """Format an event as a line: time, type, and what it is about."""
    data = event.data
    message, recipient = data.message, data.recipient
    reply = recipient.last_reply if recipient is not None else None
    parts = (
        f"{event.timestamp:%H:%M:%S}",
        event.type,
        data.profile and data.profile.name,
        message and message.id,
        recipient and recipient.address,
        reply and reply.code,
        reply and reply.text,
        data.code,
        data.reason,
    )
    return "  ".join(str(part) for part in parts if part)
