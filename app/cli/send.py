"""Define `heloise send`."""

import asyncio
from datetime import timedelta
from typing import Annotated, Final

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accept.build import prepare_message
from app.accept.dkim_keys import read_signing
from app.accept.group import Acceptance, Group
from app.accept.policy import AcceptPolicy
from app.api.messages.responses import AttemptRead, MessageRead
from app.api.messages.schemas import MessageCreate
from app.api.messages.waiting_reasons import read_message
from app.auth.caller import Caller
from app.auth.profiles import require_profile
from app.auth.quotas import build_quota_problem, check_recipients
from app.cli.database import load_caller, open_current_database
from app.cli.input import TenantOption, load_settings, validate_options, validation_errors
from app.cli.message_views import print_message
from app.cli.terminal import AsJson, print_json, print_transcript
from app.domain.clock import SystemClock
from app.domain.errors import InvalidRequest
from app.domain.types import MessageStatus, NewMessage, Profile
from app.settings.model import Settings
from app.store.db.database import Database
from app.store.messages import queries as messages
from app.store.messages.views import MessageView
from app.store.profiles import queries as profiles
from app.store.secrets.encryption import Vault

POLL_SECONDS: Final = 0.2
NOT_SENT: Final = 1
MAX_ATTEMPTS: Final = 20
FINAL: Final = frozenset(
    {
        MessageStatus.SENT,
        MessageStatus.PARTIALLY_SENT,
        MessageStatus.FAILED,
        MessageStatus.CANCELLED,
        MessageStatus.HELD,
    }
)


def send(
    to: Annotated[list[str], typer.Argument(help="The recipients.")],
    tenant: TenantOption,
    profile: Annotated[
        str | None, typer.Option(help="The profile's name or id. Default: the default profile.")
    ] = None,
    sender: Annotated[
        str | None, typer.Option("--from", help="The sender. Default: the profile's default_from.")
    ] = None,
    subject: Annotated[str, typer.Option(help="The subject.")] = "Test mail from Heloise",
    text: Annotated[str, typer.Option(help="The text.")] = "This mail tests a profile of Heloise.",
    wait: Annotated[
        float, typer.Option(min=0, help="How many seconds to wait for the outcome.")
    ] = 60.0,
    *,
    as_json: AsJson = False,
) -> None:
    """Send a test mail through a profile, and print its SMTP dialogue.

    The command stores the message like the API, and a running `heloise serve` or `heloise worker`
    delivers it. Exits with 1 if the message is not sent when the wait ends.
    """
    settings = load_settings()
    fields = {"to": to, "from": sender, "subject": subject, "text": text}
    body = validate_options(MessageCreate, fields)
    read, attempts = asyncio.run(_send(settings, tenant, profile, body, wait))
    if as_json:
        print_json({"message": read.model_dump(mode="json", by_alias=True), "attempts": attempts})
    else:
        for attempt in attempts:
            print_transcript(attempt.transcript or ())
        print_message(read, SystemClock().now(), as_json=False)
    if read.status is not MessageStatus.SENT:
        raise typer.Exit(NOT_SENT)


async def _send(
    settings: Settings, tenant: str, profile: str | None, body: MessageCreate, wait: float
) -> tuple[MessageRead, list[AttemptRead]]:
    vault = Vault(settings.load_encryption_keys())
    async with open_current_database(settings) as database:
        async with database.reading() as connection:
            caller = await load_caller(connection, tenant)
            sending_profile = await _find_profile(connection, caller, profile)
        message = await _prepare(settings, database, vault, caller, sending_profile, body)
        async with database.transaction(announce=True) as connection:
            await store_message(connection, caller, message)
        return await _await_outcome(settings, database, caller, message.id, wait)


async def _find_profile(connection: AsyncConnection, caller: Caller, name: str | None) -> Profile:
    if name is not None:
        return await require_profile(connection, caller.tenant_id, name, caller_key=None)
    profile = await profiles.get_default(connection, tenant_id=caller.tenant_id)
    if profile is None:
        raise InvalidRequest("This tenant has no default profile; add --profile.")
    return profile


async def _prepare(
    settings: Settings,
    database: Database,
    vault: Vault,
    caller: Caller,
    profile: Profile,
    body: MessageCreate,
) -> NewMessage:
    """Render the message by the rules of the tenant and the service."""
    check_recipients(caller.tenant, len(body.to))
    policy = AcceptPolicy(
        origin=caller.origin,
        allowed_from=caller.allowed_from,
        routing=settings.build_routing().with_rule(caller.tenant.recipient_rule),
        now=SystemClock().now(),
        max_message_bytes=settings.max_message_bytes,
        max_age_seconds=settings.message_max_age_seconds,
        seal_content=vault.seal_content,
        signing=await read_signing(database, vault, caller.tenant_id),
    )
    with validation_errors():
        return prepare_message(body.to_draft(), profile=profile, policy=policy)


async def store_message(
    connection: AsyncConnection, caller: Caller, message: NewMessage
) -> MessageView:
    """Store a message within the tenant's quota, and read it; raises QuotaExceeded."""
    now = SystemClock().now()
    group = Group([Acceptance(message, caller.tenant.quota)])
    await group.write(connection, now)
    for refusal in group.refused.values():
        raise build_quota_problem(refusal.exceeded, now)
    return await messages.get(connection, tenant_id=caller.tenant_id, message_id=message.id)


async def _await_outcome(
    settings: Settings, database: Database, caller: Caller, message_id: str, wait: float
) -> tuple[MessageRead, list[AttemptRead]]:
    """Read the message and its attempts once it is final, or after `wait` seconds."""
    clock = SystemClock()
    ends_at = clock.now() + timedelta(seconds=wait)
    while True:
        now = clock.now()
        async with database.reading() as connection:
            view = await messages.get(connection, tenant_id=caller.tenant_id, message_id=message_id)
            if view.status in FINAL or now >= ends_at:
                read = await read_message(
                    connection,
                    caller.tenant_id,
                    view,
                    now=now,
                    alive_since=now - timedelta(seconds=settings.lease_seconds),
                )
                attempts = await messages.list_attempts(
                    connection,
                    tenant_id=caller.tenant_id,
                    message_id=message_id,
                    limit=MAX_ATTEMPTS,
                    after=None,
                    with_transcripts=True,
                )
                return read, [AttemptRead.of(attempt) for attempt in attempts]
        await asyncio.sleep(POLL_SECONDS)
