"""Define `heloise message`."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.messages import message_actions
from app.api.messages.responses import AttemptRead, MessageRead
from app.api.messages.schemas import MessageFilters, MessageResolve, MessageRetry, Resolution
from app.api.messages.waiting_reasons import read_message, read_messages
from app.auth.audit_context import AuditContext
from app.auth.caller import Caller
from app.cli.database import load_caller, read_all, transact
from app.cli.input import TenantOption, load_settings, validate_options
from app.cli.message_views import print_attempts, print_message, print_messages
from app.cli.terminal import AsJson, Yes, confirm
from app.domain.clock import SystemClock
from app.domain.types import MessageStatus
from app.settings.model import Settings
from app.store.messages import queries as messages
from app.store.messages.views import AttemptView, MessageView

app = typer.Typer()

MessageArgument = Annotated[str, typer.Argument(metavar="MESSAGE", help="The message's id, msg_….")]
Recipients = Annotated[
    list[str] | None,
    typer.Option("--recipient", help="Only this recipient; repeatable. Default: all."),
]
Change = Callable[[AsyncConnection, Caller, AuditContext], Awaitable[MessageView]]


@app.command("list")
def list_page(
    tenant: TenantOption,
    status: Annotated[
        list[MessageStatus] | None, typer.Option(help="A status; repeatable. Default: any.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="A profile's name or id.")] = None,
    tag: Annotated[str | None, typer.Option(help="A tag.")] = None,
    recipient: Annotated[str | None, typer.Option(help="A recipient's address.")] = None,
    request_id: Annotated[
        str | None, typer.Option(help="The id of the request that sent it (X-Request-ID).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many messages.")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """List the newest messages of a tenant, and why they wait."""
    settings, now = load_settings(), SystemClock().now()
    fields = {
        "status": status,
        "profile": profile,
        "tag": tag,
        "recipient": recipient,
        "request_id": request_id,
    }
    filters = validate_options(MessageFilters, fields)

    async def read(connection: AsyncConnection) -> list[MessageRead]:
        caller = await load_caller(connection, tenant)
        views = await messages.page(
            connection,
            tenant_id=caller.tenant_id,
            limit=limit,
            now=now,
            message_filter=await message_actions.build_filter(connection, caller, filters),
        )
        return await read_messages(
            connection,
            caller.tenant_id,
            views,
            now=now,
            alive_since=now - timedelta(seconds=settings.lease_seconds),
        )

    print_messages(transact(settings, read), now, as_json=as_json)


@app.command()
def show(message: MessageArgument, tenant: TenantOption, *, as_json: AsJson = False) -> None:
    """Show a message with its recipients, and why it waits."""
    settings = load_settings()

    async def read(connection: AsyncConnection) -> MessageRead:
        caller = await load_caller(connection, tenant)
        view = await message_actions.require_message(connection, caller, message)
        return await _read(connection, settings, view, caller)

    print_message(transact(settings, read), SystemClock().now(), as_json=as_json)


@app.command()
def attempts(
    message: MessageArgument,
    tenant: TenantOption,
    *,
    transcript: Annotated[
        bool, typer.Option("--transcript", help="Also print the SMTP dialogues, without secrets.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the attempts to send a message, oldest first."""

    async def read(connection: AsyncConnection) -> list[AttemptView]:
        caller = await load_caller(connection, tenant)

        async def load(*, limit: int, after: str | None) -> list[AttemptView]:
            return await messages.list_attempts(
                connection,
                tenant_id=caller.tenant_id,
                message_id=message,
                limit=limit,
                after=after,
                with_transcripts=transcript,
            )

        return await read_all(load)

    reads = [AttemptRead.of(view) for view in transact(load_settings(), read)]
    print_attempts(reads, SystemClock().now(), as_json=as_json)


@app.command()
def cancel(
    message: MessageArgument, tenant: TenantOption, *, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Cancel a message for all recipients that did not get it yet."""
    confirm(f"Cancel {message}?", is_confirmed=yes)
    _change(
        tenant,
        lambda connection, caller, audit_context: message_actions.cancel(
            connection, caller, audit_context, message
        ),
        as_json=as_json,
    )


@app.command()
def resolve(
    message: MessageArgument,
    tenant: TenantOption,
    resolution: Annotated[
        Resolution, typer.Option("--as", help="The outcome; `retry` sends the message once more.")
    ],
    recipients: Recipients = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Set the outcome of uncertain recipients."""
    body = validate_options(MessageResolve, {"as": resolution, "recipients": recipients})
    confirm(f"Resolve {message} as {resolution}?", is_confirmed=yes)
    _change(
        tenant,
        lambda connection, caller, audit_context: message_actions.resolve(
            connection, caller, audit_context, message, body
        ),
        as_json=as_json,
    )


@app.command()
def retry(
    message: MessageArgument,
    tenant: TenantOption,
    recipients: Recipients = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Send a message again to bounced, expired or cancelled recipients, as a new message."""
    from app.cli.send import store_message

    settings = load_settings()
    body = validate_options(MessageRetry, {"recipients": recipients})

    async def send(connection: AsyncConnection) -> MessageRead:
        caller = await load_caller(connection, tenant)
        new_message, _ = await message_actions.prepare_resend(
            connection,
            caller,
            message,
            body,
            routing=settings.build_routing(),
            now=SystemClock().now(),
        )
        view = await store_message(connection, caller, new_message)
        return await _read(connection, settings, view, caller)

    read = transact(settings, send, announce=True)
    print_message(read, SystemClock().now(), as_json=as_json)


def _change(tenant: str, change: Change, *, as_json: bool) -> None:
    settings, now = load_settings(), SystemClock().now()

    async def work(connection: AsyncConnection) -> MessageRead:
        caller = await load_caller(connection, tenant)
        view = await change(connection, caller, caller.audit_context(now))
        return await _read(connection, settings, view, caller)

    print_message(transact(settings, work, announce=True), now, as_json=as_json)


async def _read(
    connection: AsyncConnection, settings: Settings, view: MessageView, caller: Caller
) -> MessageRead:
    now = SystemClock().now()
    alive_since = now - timedelta(seconds=settings.lease_seconds)
    return await read_message(connection, caller.tenant_id, view, now=now, alive_since=alive_since)
