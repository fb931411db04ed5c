"""Makes rows in the state that a test begins with."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain.events import EventFilter
from app.domain.ids import new_id
from app.domain.inbound import mailbox as mailboxes
from app.domain.inbound.provider import Provider, ProviderWebhook
from app.domain.types import (
    ApiKey,
    LaneHealth,
    MessageSource,
    NamedAddress,
    NewMessage,
    Origin,
    Profile,
    RecipientAddress,
    RecipientKind,
    Scope,
    Tenant,
)
from app.domain.webhooks import Webhook
from app.store.db.database import Database
from app.store.delivery import lane_health
from app.store.outbox import acceptance, claims
from app.store.profiles import queries as profiles
from app.store.tenants import queries as tenants

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
PLENTY = 1_000_000


def a_tenant(slug: str = "acme", **fields: Any) -> Tenant:
    """A tenant, not yet written."""
    defaults = {"name": slug.title(), "ehlo_name": None, "created_at": NOW, "updated_at": NOW}
    return Tenant(id=new_id("ten"), slug=slug, **(defaults | fields))


async def made_tenant(database: Database, slug: str = "acme", **fields: Any) -> Tenant:
    """A tenant, written."""
    tenant = a_tenant(slug, **fields)
    async with database.transaction() as connection:
        await tenants.insert(connection, tenant=tenant)
    return tenant


def a_profile(tenant: Tenant, name: str = "main", **fields: Any) -> Profile:
    """A profile, not yet written."""
    defaults = {"host": "smtp.example.com", "created_at": NOW, "updated_at": NOW}
    return Profile(id=new_id("prf"), tenant_id=tenant.id, name=name, **(defaults | fields))


def a_mailbox(tenant_id: str, **fields: Any) -> mailboxes.Mailbox:
    """A mailbox that was never read, not yet written."""
    defaults = {
        "id": new_id("mbx"),
        "name": "bounces",
        "host": "imap.example.com",
        "port": 993,
        "tls": mailboxes.MailboxTls.IMPLICIT,
        "tls_ca": None,
        "username": "bounces",
        "folder": "INBOX",
        "poll_seconds": 60,
        "deletes_reports": False,
        "disabled_at": None,
        "next_poll_at": NOW,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return mailboxes.Mailbox(tenant_id=tenant_id, **(defaults | fields))


def a_provider_webhook(tenant_id: str, **fields: Any) -> ProviderWebhook:
    """A webhook of Postmark, not yet written."""
    defaults = {
        "id": new_id("pwh"),
        "name": "relay",
        "provider": Provider.POSTMARK,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return ProviderWebhook(tenant_id=tenant_id, **(defaults | fields))


def a_webhook(tenant_id: str, **fields: Any) -> Webhook:
    """A webhook for every event, not yet written."""
    defaults = {
        "id": new_id("whk"),
        "name": "log",
        "url": "https://log.example.com/events",
        "event_filter": EventFilter(),
        "is_ordered": False,
        "former_secret_until": None,
        "disabled_at": None,
        "disabled_reason": None,
        "failing_since": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Webhook(tenant_id=tenant_id, **(defaults | fields))


async def made_profile(
    database: Database,
    tenant: Tenant,
    name: str = "main",
    *,
    sealed: Mapping[str, bytes] | None = None,
    **fields: Any,
) -> Profile:
    """A profile, written, as it reads back."""
    profile = a_profile(tenant, name, **fields)
    async with database.transaction() as connection:
        await profiles.insert(connection, profile=profile, sealed=sealed or {})
        return await profiles.get(connection, tenant_id=tenant.id, profile=profile.id)


def a_key(tenant: Tenant, **fields: Any) -> ApiKey:
    """A key, not yet written."""
    defaults = {
        "name": "test",
        "hint": "hel_0000…",
        "scopes": frozenset(Scope),
        "created_at": NOW,
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
    }
    return ApiKey(id=new_id("key"), tenant_id=tenant.id, **(defaults | fields))


def a_message(profile: Profile, *to: str, **fields: Any) -> NewMessage:
    """A message through this profile, not yet written."""
    addressed = tuple(
        RecipientAddress(NamedAddress(address), RecipientKind.TO)
        for address in to or ("ann@example.org",)
    )
    defaults = {
        "id": new_id("msg"),
        "origin": Origin(MessageSource.API, "key_0198c5a2d3f07b6e8a4c1d2e3f405162"),
        "envelope_from": "billing@example.com",
        "sender": NamedAddress("billing@example.com", "Billing"),
        "recipients": addressed,
        "subject": "Your receipt",
        "message_id_header": "<1@example.com>",
        "tags": (),
        "metadata": {},
        "mime": b"Subject: Your receipt\r\n\r\nThanks.\r\n",
        "created_at": NOW,
        "expires_at": NOW + HOUR,
    }
    return NewMessage(
        tenant_id=profile.tenant_id,
        profile_id=profile.id,
        profile_revision=profile.revision,
        profile_name=profile.name,
        **(defaults | fields),
    )


async def queued_message(
    database: Database, profile: Profile, *to: str, **fields: Any
) -> NewMessage:
    """A message, accepted and due."""
    message = a_message(profile, *to, **fields)
    async with database.transaction() as connection:
        await acceptance.accept(connection, [message])
    return message


async def leased_messages(
    database: Database,
    profile: Profile,
    *,
    owner: str,
    now: datetime = NOW,
    limit: int = 10,
    is_checked: bool = False,
) -> Sequence[claims.ClaimedMessage]:
    """What is due, claimed by this owner for a minute."""
    async with database.transaction() as connection:
        return await claims.claim(
            connection,
            [claims.ClaimRequest(profile.id, limit, PLENTY)],
            owner=owner,
            now=now,
            lease_until=now + MINUTE,
            is_clock_checked=is_checked,
        )


async def failing_profile(database: Database, tenant: Tenant, name: str = "main") -> Profile:
    """A profile whose server refused it, to be probed in an hour."""
    profile = await made_profile(database, tenant, name)
    async with database.transaction() as connection:
        await lane_health.record_fault(
            connection,
            profile_id=profile.id,
            revision=profile.revision,
            code="ehlo_refused",
            reason="504 5.5.2 need fully-qualified hostname",
            now=NOW,
            wait=lambda _: HOUR,
            is_probe=False,
        )
    return profile


async def health_of(database: Database, profile: Profile) -> LaneHealth:
    """What is known of a profile's server."""
    async with database.reading() as connection:
        health_by_profile = await profiles.load_health(
            connection, tenant_id=profile.tenant_id, profile_ids=[profile.id]
        )
    return health_by_profile[profile.id]


def an_attempt(message: NewMessage, number: int) -> dict[str, Any]:
    """A row of `attempts`."""
    return {
        "id": new_id("att"),
        "tenant_id": message.tenant_id,
        "message_id": message.id,
        "profile_id": message.profile_id,
        "worker": "wrk_1",
        "started_at": NOW + MINUTE * number,
        "duration_ms": 12.5,
        "stage": "rcpt",
        "verdict": "defer",
        "classification": "greylisted",
        "reply_code": 450,
        "outcome_unknown": False,
        "recipients": [{"address": "ann@example.org", "reply_code": 450}],
    }
