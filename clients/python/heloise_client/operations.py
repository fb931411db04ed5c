# Generated from the OpenAPI document by `make client`. Do not edit.
"""Define a method for each operation of the API."""

from typing import Unpack

from heloise_client import types
from heloise_client.calls import Call, make_key, quote_path
from heloise_client.connection import AsyncConnection, Connection
from heloise_client.listings import (
    AsyncEventStream,
    AsyncLines,
    AsyncListing,
    EventStream,
    Lines,
    Listing,
)


class Heloise(Connection):
    """The client of a service."""

    def send_message(
        self, body: types.MessageCreate, *, idempotency_key: str | None = None
    ) -> types.MessageRead:
        """Accept a message for delivery."""
        return self.call(
            Call(
                method="POST",
                path="/messages",
                json=body,
                idempotency_key=make_key(idempotency_key),
            )
        )

    def list_messages(self, **query: Unpack[types.ListMessagesQuery]) -> Listing[types.MessageRead]:
        """List the messages that match all filters, newest first."""
        return Listing(self, Call(method="GET", path="/messages", query=query))

    def send_batch(
        self, body: types.BatchCreate, *, idempotency_key: str | None = None
    ) -> types.BatchRead:
        """Accept up to 1000 messages in one transaction."""
        return self.call(
            Call(
                method="POST",
                path="/messages/batch",
                json=body,
                idempotency_key=make_key(idempotency_key),
            )
        )

    def send_raw_message(
        self,
        body: bytes,
        *,
        idempotency_key: str | None = None,
        **query: Unpack[types.SendRawMessageQuery],
    ) -> types.MessageRead:
        """Send a complete message, byte by byte, to the recipients of the envelope."""
        return self.call(
            Call(
                method="POST",
                path="/messages/raw",
                content=body,
                content_type="message/rfc822",
                idempotency_key=make_key(idempotency_key),
                query=query,
            )
        )

    def upload_messages(self, body: bytes, *, idempotency_key: str | None = None) -> str:
        """Accept any number of messages as JSON Lines."""
        return self.call(
            Call(
                method="POST",
                path="/messages/upload",
                content=body,
                content_type="application/jsonl",
                idempotency_key=make_key(idempotency_key),
                answer="text",
            )
        )

    def act_on_messages(self, body: types.MessageActions) -> types.ActionsRead:
        """Cancel, retry or resolve all messages that match a filter."""
        return self.call(Call(method="POST", path="/messages/actions", json=body))

    def export_messages(self, **query: Unpack[types.ExportMessagesQuery]) -> Lines:
        """Export all messages that match the filters."""
        return Lines(self, Call(method="GET", path="/messages/export", query=query))

    def get_message(self, message: str) -> types.MessageRead:
        """Get a message with the status of each recipient."""
        return self.call(Call(method="GET", path=f"/messages/{quote_path(message)}"))

    def update_message(self, message: str, body: types.MessageUpdate) -> types.MessageRead:
        """Update the time or priority of a message that is still `scheduled`."""
        return self.call(Call(method="PATCH", path=f"/messages/{quote_path(message)}", json=body))

    def list_attempts(
        self, message: str, **query: Unpack[types.ListAttemptsQuery]
    ) -> Listing[types.AttemptRead]:
        """List all attempts to send a message, oldest first: EHLO name, stage and replies."""
        return Listing(
            self, Call(method="GET", path=f"/messages/{quote_path(message)}/attempts", query=query)
        )

    def get_raw_message(self, message: str) -> bytes:
        """Get the bytes that go over the wire, rendered at acceptance."""
        return self.call(
            Call(method="GET", path=f"/messages/{quote_path(message)}/raw", answer="bytes")
        )

    def resolve_message(self, message: str, body: types.MessageResolve) -> types.MessageRead:
        """Set the outcome of recipients with the status `uncertain`."""
        return self.call(
            Call(method="POST", path=f"/messages/{quote_path(message)}/resolve", json=body)
        )

    def cancel_message(self, message: str) -> types.MessageRead:
        """Cancel a message for all recipients that did not get it yet."""
        return self.call(Call(method="POST", path=f"/messages/{quote_path(message)}/cancel"))

    def retry_message(
        self, message: str, body: types.MessageRetry, *, idempotency_key: str | None = None
    ) -> types.MessageRead:
        """Send the same content again to bounced, expired or cancelled recipients."""
        return self.call(
            Call(
                method="POST",
                path=f"/messages/{quote_path(message)}/retry",
                json=body,
                idempotency_key=make_key(idempotency_key),
            )
        )

    def list_message_deliveries(
        self, message: str, **query: Unpack[types.ListMessageDeliveriesQuery]
    ) -> Listing[types.DeliveryRead]:
        """List a message's webhook deliveries."""
        return Listing(
            self,
            Call(
                method="GET",
                path=f"/messages/{quote_path(message)}/webhook-deliveries",
                query=query,
            ),
        )

    def erase_recipient(self, address: str) -> types.ErasureRead:
        """Erase an address from all messages of the tenant, for example under the GDPR."""
        return self.call(Call(method="DELETE", path=f"/recipients/{quote_path(address)}"))

    def get_queue(self, **query: Unpack[types.GetQueueQuery]) -> types.QueueRead:
        """Get the queue."""
        return self.call(Call(method="GET", path="/queue", query=query))

    def get_queue_depth(self, **query: Unpack[types.GetQueueDepthQuery]) -> types.DepthRead:
        """Count unfinished messages by status, among the tenant's 10000 oldest."""
        return self.call(Call(method="GET", path="/queue/depth", query=query))

    def create_template(self, body: types.TemplateCreate) -> types.TemplateRead:
        """Create a template as a draft."""
        return self.call(Call(method="POST", path="/templates", json=body))

    def list_templates(self, **query: Unpack[types.PageQuery]) -> Listing[types.TemplateRead]:
        """List the tenant's templates, newest first."""
        return Listing(self, Call(method="GET", path="/templates", query=query))

    def get_template(self, template: str) -> types.TemplateRead:
        """Get a template's name and published version."""
        return self.call(Call(method="GET", path=f"/templates/{quote_path(template)}"))

    def update_template(
        self, template: str, body: types.TemplateUpdate
    ) -> types.TemplateVersionRead:
        """Update the draft."""
        return self.call(Call(method="PATCH", path=f"/templates/{quote_path(template)}", json=body))

    def delete_template(self, template: str) -> None:
        """Delete a template and all its versions."""
        self.call(
            Call[None](method="DELETE", path=f"/templates/{quote_path(template)}", answer="none")
        )

    def list_template_versions(
        self, template: str, **query: Unpack[types.ListTemplateVersionsQuery]
    ) -> types.TemplateVersions:
        """List a template's last versions, newest first."""
        return self.call(
            Call(method="GET", path=f"/templates/{quote_path(template)}/versions", query=query)
        )

    def publish_template(
        self, template: str, body: types.TemplatePublish | None = None
    ) -> types.TemplateRead:
        """Publish the latest version, or an earlier one again."""
        return self.call(
            Call(method="POST", path=f"/templates/{quote_path(template)}/publish", json=body)
        )

    def preview_template(
        self, template: str, body: types.TemplatePreview
    ) -> types.TemplateRendered:
        """Render a version with your variables."""
        return self.call(
            Call(method="POST", path=f"/templates/{quote_path(template)}/preview", json=body)
        )

    def test_template(self, template: str, body: types.TemplateTest) -> types.MessageRead:
        """Send a version to at most ten recipients."""
        return self.call(
            Call(method="POST", path=f"/templates/{quote_path(template)}/test", json=body)
        )

    def create_suppression(self, body: types.SuppressionCreate) -> types.SuppressionRead:
        """Create a suppression."""
        return self.call(Call(method="POST", path="/suppressions", json=body))

    def list_suppressions(
        self, **query: Unpack[types.ListSuppressionsQuery]
    ) -> Listing[types.SuppressionRead]:
        """List the tenant's suppressions, newest first."""
        return Listing(self, Call(method="GET", path="/suppressions", query=query))

    def export_suppressions(self) -> Lines:
        """Export all suppressions as CSV, in the format of `/suppressions/import`."""
        return Lines(self, Call(method="GET", path="/suppressions/export"))

    def import_suppressions(self, body: bytes) -> types.SuppressionsImported:
        """Suppress every address and pattern in a CSV file."""
        return self.call(
            Call(method="POST", path="/suppressions/import", content=body, content_type="text/csv")
        )

    def delete_suppression(self, suppression: str) -> None:
        """Delete a suppression."""
        self.call(
            Call[None](
                method="DELETE", path=f"/suppressions/{quote_path(suppression)}", answer="none"
            )
        )

    def receive_bounce(
        self, body: bytes, **query: Unpack[types.ReceiveBounceQuery]
    ) -> types.InboundRead:
        """Receive a bounce or complaint."""
        return self.call(
            Call(
                method="POST",
                path="/inbound/bounces",
                content=body,
                content_type="message/rfc822",
                query=query,
            )
        )

    def receive_provider_events(
        self, provider: str, token: str, body: object
    ) -> types.ProviderEventsRead:
        """Process bounces, complaints, delays and deliveries like `POST /inbound/bounces`."""
        return self.call(
            Call(
                method="POST",
                path=f"/inbound/{quote_path(provider)}/{quote_path(token)}",
                json=body,
            )
        )

    def create_mailbox(self, body: types.MailboxCreate) -> types.MailboxRead:
        """Process the mail in an IMAP folder like `POST /inbound/bounces`."""
        return self.call(Call(method="POST", path="/mailboxes", json=body))

    def list_mailboxes(self, **query: Unpack[types.PageQuery]) -> Listing[types.MailboxRead]:
        """List the tenant's mailboxes, newest first."""
        return Listing(self, Call(method="GET", path="/mailboxes", query=query))

    def get_mailbox(self, mailbox: str) -> types.MailboxRead:
        """Get a mailbox with its last poll, its counts and the reason if it fails."""
        return self.call(Call(method="GET", path=f"/mailboxes/{quote_path(mailbox)}"))

    def update_mailbox(self, mailbox: str, body: types.MailboxUpdate) -> types.MailboxRead:
        """Update the given fields and read the mailbox at once."""
        return self.call(Call(method="PATCH", path=f"/mailboxes/{quote_path(mailbox)}", json=body))

    def delete_mailbox(self, mailbox: str) -> None:
        """Delete a mailbox and its password."""
        self.call(
            Call[None](method="DELETE", path=f"/mailboxes/{quote_path(mailbox)}", answer="none")
        )

    def create_provider_webhook(
        self, body: types.ProviderWebhookCreate
    ) -> types.ProviderWebhookCreated:
        """Create a URL to which an email provider posts bounces, complaints and deliveries."""
        return self.call(Call(method="POST", path="/provider-webhooks", json=body))

    def list_provider_webhooks(
        self, **query: Unpack[types.PageQuery]
    ) -> Listing[types.ProviderWebhookRead]:
        """List the tenant's provider webhooks, newest first."""
        return Listing(self, Call(method="GET", path="/provider-webhooks", query=query))

    def get_provider_webhook(self, provider_webhook: str) -> types.ProviderWebhookRead:
        """Get a provider webhook with its last post and its counts."""
        return self.call(
            Call(method="GET", path=f"/provider-webhooks/{quote_path(provider_webhook)}")
        )

    def update_provider_webhook(
        self, provider_webhook: str, body: types.ProviderWebhookUpdate
    ) -> types.ProviderWebhookRead:
        """Update the given fields; the URL stays."""
        return self.call(
            Call(
                method="PATCH", path=f"/provider-webhooks/{quote_path(provider_webhook)}", json=body
            )
        )

    def delete_provider_webhook(self, provider_webhook: str) -> None:
        """Delete a provider webhook and its secret."""
        self.call(
            Call[None](
                method="DELETE",
                path=f"/provider-webhooks/{quote_path(provider_webhook)}",
                answer="none",
            )
        )

    def rotate_provider_webhook(
        self, provider_webhook: str, body: types.ProviderWebhookRotate | None = None
    ) -> types.ProviderWebhookCreated:
        """Create a new URL."""
        return self.call(
            Call(
                method="POST",
                path=f"/provider-webhooks/{quote_path(provider_webhook)}/rotate",
                json=body,
            )
        )

    def list_events(self, **query: Unpack[types.ListEventsQuery]) -> Listing[types.EventRead]:
        """List the events after a cursor, complete and in the order in which they happened."""
        return Listing(self, Call(method="GET", path="/events", query=query))

    def stream_events(self, **query: Unpack[types.StreamEventsQuery]) -> EventStream:
        """Stream events as server-sent events: `event` is the type, `data` the event as JSON."""
        return EventStream(self, Call(method="GET", path="/events/stream", query=query))

    def get_event(self, event: str) -> types.EventRead:
        """Get an event."""
        return self.call(Call(method="GET", path=f"/events/{quote_path(event)}"))

    def list_submissions(
        self, **query: Unpack[types.ListSubmissionsQuery]
    ) -> Listing[types.SubmissionRead]:
        """List the ended sessions of SMTP clients, newest first, including refused ones."""
        return Listing(self, Call(method="GET", path="/submissions", query=query))

    def get_submission(self, submission: str) -> types.SubmissionRead:
        """Get an ended session of an SMTP client."""
        return self.call(Call(method="GET", path=f"/submissions/{quote_path(submission)}"))

    def create_webhook(self, body: types.WebhookCreate) -> types.WebhookCreated:
        """Post events to a URL from now on, signed as in Standard Webhooks."""
        return self.call(Call(method="POST", path="/webhooks", json=body))

    def list_webhooks(self, **query: Unpack[types.PageQuery]) -> Listing[types.WebhookRead]:
        """List the tenant's webhooks, newest first."""
        return Listing(self, Call(method="GET", path="/webhooks", query=query))

    def get_webhook(self, webhook: str) -> types.WebhookRead:
        """Get a webhook."""
        return self.call(Call(method="GET", path=f"/webhooks/{quote_path(webhook)}"))

    def update_webhook(self, webhook: str, body: types.WebhookUpdate) -> types.WebhookRead:
        """Update the given fields."""
        return self.call(Call(method="PATCH", path=f"/webhooks/{quote_path(webhook)}", json=body))

    def delete_webhook(self, webhook: str) -> None:
        """Delete a webhook, its waiting events and its log."""
        self.call(
            Call[None](method="DELETE", path=f"/webhooks/{quote_path(webhook)}", answer="none")
        )

    def rotate_webhook_secret(
        self, webhook: str, body: types.WebhookRotate | None = None
    ) -> types.WebhookCreated:
        """Create a new secret."""
        return self.call(
            Call(method="POST", path=f"/webhooks/{quote_path(webhook)}/rotate", json=body)
        )

    def list_webhook_deliveries(
        self, webhook: str, **query: Unpack[types.ListWebhookDeliveriesQuery]
    ) -> Listing[types.DeliveryRead]:
        """List the events for a webhook, newest first, with the response to each post."""
        return Listing(
            self,
            Call(method="GET", path=f"/webhooks/{quote_path(webhook)}/deliveries", query=query),
        )

    def replay_webhook(self, webhook: str, body: types.WebhookReplay) -> types.WebhookReplayed:
        """Post events again, delivered ones included, with their original ids."""
        return self.call(
            Call(method="POST", path=f"/webhooks/{quote_path(webhook)}/replay", json=body)
        )

    def get_usage(self) -> types.UsageRead:
        """Get the limits of the tenant's quota, and how much of each the tenant uses."""
        return self.call(Call(method="GET", path="/usage"))

    def get_stats(self, **query: Unpack[types.GetStatsQuery]) -> types.StatsRead:
        """Count recipients by current status, grouped by profile, tag, domain, hour or day."""
        return self.call(Call(method="GET", path="/stats", query=query))

    def create_profile(self, body: types.ProfileCreate) -> types.ProfileRead:
        """Create a profile."""
        return self.call(Call(method="POST", path="/profiles", json=body))

    def list_profiles(self, **query: Unpack[types.PageQuery]) -> Listing[types.ProfileRead]:
        """List the tenant's profiles, oldest first."""
        return Listing(self, Call(method="GET", path="/profiles", query=query))

    def verify_unsaved_profile(self, body: types.UnsavedVerify) -> types.VerifyRead:
        """Test a profile's settings on its server without saving them."""
        return self.call(Call(method="POST", path="/profiles/verify", json=body))

    def get_profile(self, profile: str) -> types.ProfileRead:
        """Get a profile with its effective EHLO name and its state."""
        return self.call(Call(method="GET", path=f"/profiles/{quote_path(profile)}"))

    def update_profile(self, profile: str, body: types.ProfileUpdate) -> types.ProfileRead:
        """Update the given fields; null removes a value (RFC 7396)."""
        return self.call(Call(method="PATCH", path=f"/profiles/{quote_path(profile)}", json=body))

    def delete_profile(self, profile: str, **query: Unpack[types.DeleteProfileQuery]) -> None:
        """Delete a profile and its credentials."""
        self.call(
            Call[None](
                method="DELETE", path=f"/profiles/{quote_path(profile)}", query=query, answer="none"
            )
        )

    def verify_profile(
        self, profile: str, body: types.ProfileVerify | None = None
    ) -> types.VerifyRead:
        """Test a profile on its real server, without sending, and say what to change."""
        return self.call(
            Call(method="POST", path=f"/profiles/{quote_path(profile)}/verify", json=body)
        )

    def pause_profile(self, profile: str) -> types.ProfileRead:
        """Stop sending through a profile."""
        return self.call(Call(method="POST", path=f"/profiles/{quote_path(profile)}/pause"))

    def resume_profile(self, profile: str) -> types.ProfileRead:
        """Resume sending."""
        return self.call(Call(method="POST", path=f"/profiles/{quote_path(profile)}/resume"))

    def create_domain(self, body: types.DomainCreate) -> types.DomainRead:
        """Create two DKIM keys for a domain: RSA (2048 bits) and Ed25519."""
        return self.call(Call(method="POST", path="/domains", json=body))

    def list_domains(self, **query: Unpack[types.PageQuery]) -> Listing[types.DomainRead]:
        """List the tenant's signing domains, newest first."""
        return Listing(self, Call(method="GET", path="/domains", query=query))

    def get_domain(self, domain: str) -> types.DomainRead:
        """Get a domain with its keys, their DNS records and the last check."""
        return self.call(Call(method="GET", path=f"/domains/{quote_path(domain)}"))

    def delete_domain(self, domain: str) -> None:
        """Delete a domain and its keys."""
        self.call(Call[None](method="DELETE", path=f"/domains/{quote_path(domain)}", answer="none"))

    def check_domain(self, domain: str) -> types.DomainRead:
        """Look up the DNS records of all keys that are not retired."""
        return self.call(Call(method="POST", path=f"/domains/{quote_path(domain)}/check"))

    def rotate_domain(self, domain: str) -> types.DomainRead:
        """Create two more keys."""
        return self.call(Call(method="POST", path=f"/domains/{quote_path(domain)}/rotate"))

    def create_own_key(self, body: types.KeyCreate) -> types.KeyCreated:
        """Create a key."""
        return self.call(Call(method="POST", path="/keys", json=body))

    def list_own_keys(self, **query: Unpack[types.PageQuery]) -> Listing[types.KeyRead]:
        """List the tenant's keys, oldest first, revoked ones included."""
        return Listing(self, Call(method="GET", path="/keys", query=query))

    def revoke_own_key(self, key: str) -> None:
        """Revoke a key: at once in this process, within five seconds in all others."""
        self.call(Call[None](method="DELETE", path=f"/keys/{quote_path(key)}", answer="none"))

    def rotate_own_key(self, key: str, body: types.KeyRotate | None = None) -> types.KeyCreated:
        """Create a key with the same rights."""
        return self.call(Call(method="POST", path=f"/keys/{quote_path(key)}/rotate", json=body))

    def list_audit_log(self, **query: Unpack[types.ListAuditLogQuery]) -> Listing[types.AuditRead]:
        """List changes of the tenant's keys, profiles and other objects, and refused requests."""
        return Listing(self, Call(method="GET", path="/audit-log", query=query))

    def list_console_sessions(
        self, **query: Unpack[types.PageQuery]
    ) -> Listing[types.ConsoleSessionRead]:
        """List the tenant's sessions, newest first."""
        return Listing(self, Call(method="GET", path="/console-sessions", query=query))

    def end_console_session(self, console_session: str) -> None:
        """End a session of the tenant."""
        self.call(
            Call[None](
                method="DELETE",
                path=f"/console-sessions/{quote_path(console_session)}",
                answer="none",
            )
        )

    def get_health(self) -> types.Alive:
        """Return 200 while the process runs, with any database state."""
        return self.call(Call(method="GET", path="/healthz"))

    def get_readiness(self, **query: Unpack[types.GetReadinessQuery]) -> types.Ready:
        """Return 200 if the service works, otherwise 503 with the reason in `detail`."""
        return self.call(Call(method="GET", path="/readyz", query=query))

    def get_metrics(self) -> str:
        """Get the metrics of this `heloise serve` and of the queue, whatever the database does."""
        return self.call(Call(method="GET", path="/metrics", answer="text"))

    def list_problem_types(self) -> types.ProblemTypes:
        """List every `type` that an error of this API can have."""
        return self.call(Call(method="GET", path="/problems"))

    def get_problem_type(self, slug: str) -> types.ProblemTypeRead:
        """Explain the `type` of an error and what to do about it."""
        return self.call(Call(method="GET", path=f"/problems/{quote_path(slug)}"))

    def create_tenant(self, body: types.TenantCreate) -> types.TenantRead:
        """Create a tenant."""
        return self.call(Call(method="POST", path="/tenants", json=body))

    def list_tenants(self, **query: Unpack[types.PageQuery]) -> Listing[types.TenantRead]:
        """List all tenants, oldest first."""
        return Listing(self, Call(method="GET", path="/tenants", query=query))

    def get_tenant(self, tenant: str) -> types.TenantRead:
        """Get a tenant by id or slug."""
        return self.call(Call(method="GET", path=f"/tenants/{quote_path(tenant)}"))

    def update_tenant(self, tenant: str, body: types.TenantUpdate) -> types.TenantRead:
        """Update the given fields."""
        return self.call(Call(method="PATCH", path=f"/tenants/{quote_path(tenant)}", json=body))

    def delete_tenant(self, tenant: str) -> None:
        """Delete a tenant, its keys and its history."""
        self.call(Call[None](method="DELETE", path=f"/tenants/{quote_path(tenant)}", answer="none"))

    def create_key(self, tenant: str, body: types.KeyCreate) -> types.KeyCreated:
        """Create a key."""
        return self.call(Call(method="POST", path=f"/tenants/{quote_path(tenant)}/keys", json=body))

    def list_keys(self, tenant: str, **query: Unpack[types.PageQuery]) -> Listing[types.KeyRead]:
        """List the tenant's keys, oldest first, revoked ones included."""
        return Listing(
            self, Call(method="GET", path=f"/tenants/{quote_path(tenant)}/keys", query=query)
        )

    def revoke_key(self, tenant: str, key_id: str) -> None:
        """Revoke a key: at once in this process, within five seconds in all others."""
        self.call(
            Call[None](
                method="DELETE",
                path=f"/tenants/{quote_path(tenant)}/keys/{quote_path(key_id)}",
                answer="none",
            )
        )

    def rotate_key(
        self, tenant: str, key_id: str, body: types.KeyRotate | None = None
    ) -> types.KeyCreated:
        """Create a key with the same rights."""
        return self.call(
            Call(
                method="POST",
                path=f"/tenants/{quote_path(tenant)}/keys/{quote_path(key_id)}/rotate",
                json=body,
            )
        )


class AsyncHeloise(AsyncConnection):
    """The client of a service, for asyncio."""

    async def send_message(
        self, body: types.MessageCreate, *, idempotency_key: str | None = None
    ) -> types.MessageRead:
        """Accept a message for delivery."""
        return await self.call(
            Call(
                method="POST",
                path="/messages",
                json=body,
                idempotency_key=make_key(idempotency_key),
            )
        )

    def list_messages(
        self, **query: Unpack[types.ListMessagesQuery]
    ) -> AsyncListing[types.MessageRead]:
        """List the messages that match all filters, newest first."""
        return AsyncListing(self, Call(method="GET", path="/messages", query=query))

    async def send_batch(
        self, body: types.BatchCreate, *, idempotency_key: str | None = None
    ) -> types.BatchRead:
        """Accept up to 1000 messages in one transaction."""
        return await self.call(
            Call(
                method="POST",
                path="/messages/batch",
                json=body,
                idempotency_key=make_key(idempotency_key),
            )
        )

    async def send_raw_message(
        self,
        body: bytes,
        *,
        idempotency_key: str | None = None,
        **query: Unpack[types.SendRawMessageQuery],
    ) -> types.MessageRead:
        """Send a complete message, byte by byte, to the recipients of the envelope."""
        return await self.call(
            Call(
                method="POST",
                path="/messages/raw",
                content=body,
                content_type="message/rfc822",
                idempotency_key=make_key(idempotency_key),
                query=query,
            )
        )

    async def upload_messages(self, body: bytes, *, idempotency_key: str | None = None) -> str:
        """Accept any number of messages as JSON Lines."""
        return await self.call(
            Call(
                method="POST",
                path="/messages/upload",
                content=body,
                content_type="application/jsonl",
                idempotency_key=make_key(idempotency_key),
                answer="text",
            )
        )

    async def act_on_messages(self, body: types.MessageActions) -> types.ActionsRead:
        """Cancel, retry or resolve all messages that match a filter."""
        return await self.call(Call(method="POST", path="/messages/actions", json=body))

    def export_messages(self, **query: Unpack[types.ExportMessagesQuery]) -> AsyncLines:
        """Export all messages that match the filters."""
        return AsyncLines(self, Call(method="GET", path="/messages/export", query=query))

    async def get_message(self, message: str) -> types.MessageRead:
        """Get a message with the status of each recipient."""
        return await self.call(Call(method="GET", path=f"/messages/{quote_path(message)}"))

    async def update_message(self, message: str, body: types.MessageUpdate) -> types.MessageRead:
        """Update the time or priority of a message that is still `scheduled`."""
        return await self.call(
            Call(method="PATCH", path=f"/messages/{quote_path(message)}", json=body)
        )

    def list_attempts(
        self, message: str, **query: Unpack[types.ListAttemptsQuery]
    ) -> AsyncListing[types.AttemptRead]:
        """List all attempts to send a message, oldest first: EHLO name, stage and replies."""
        return AsyncListing(
            self, Call(method="GET", path=f"/messages/{quote_path(message)}/attempts", query=query)
        )

    async def get_raw_message(self, message: str) -> bytes:
        """Get the bytes that go over the wire, rendered at acceptance."""
        return await self.call(
            Call(method="GET", path=f"/messages/{quote_path(message)}/raw", answer="bytes")
        )

    async def resolve_message(self, message: str, body: types.MessageResolve) -> types.MessageRead:
        """Set the outcome of recipients with the status `uncertain`."""
        return await self.call(
            Call(method="POST", path=f"/messages/{quote_path(message)}/resolve", json=body)
        )

    async def cancel_message(self, message: str) -> types.MessageRead:
        """Cancel a message for all recipients that did not get it yet."""
        return await self.call(Call(method="POST", path=f"/messages/{quote_path(message)}/cancel"))

    async def retry_message(
        self, message: str, body: types.MessageRetry, *, idempotency_key: str | None = None
    ) -> types.MessageRead:
        """Send the same content again to bounced, expired or cancelled recipients."""
        return await self.call(
            Call(
                method="POST",
                path=f"/messages/{quote_path(message)}/retry",
                json=body,
                idempotency_key=make_key(idempotency_key),
            )
        )

    def list_message_deliveries(
        self, message: str, **query: Unpack[types.ListMessageDeliveriesQuery]
    ) -> AsyncListing[types.DeliveryRead]:
        """List a message's webhook deliveries."""
        return AsyncListing(
            self,
            Call(
                method="GET",
                path=f"/messages/{quote_path(message)}/webhook-deliveries",
                query=query,
            ),
        )

    async def erase_recipient(self, address: str) -> types.ErasureRead:
        """Erase an address from all messages of the tenant, for example under the GDPR."""
        return await self.call(Call(method="DELETE", path=f"/recipients/{quote_path(address)}"))

    async def get_queue(self, **query: Unpack[types.GetQueueQuery]) -> types.QueueRead:
        """Get the queue."""
        return await self.call(Call(method="GET", path="/queue", query=query))

    async def get_queue_depth(self, **query: Unpack[types.GetQueueDepthQuery]) -> types.DepthRead:
        """Count unfinished messages by status, among the tenant's 10000 oldest."""
        return await self.call(Call(method="GET", path="/queue/depth", query=query))

    async def create_template(self, body: types.TemplateCreate) -> types.TemplateRead:
        """Create a template as a draft."""
        return await self.call(Call(method="POST", path="/templates", json=body))

    def list_templates(self, **query: Unpack[types.PageQuery]) -> AsyncListing[types.TemplateRead]:
        """List the tenant's templates, newest first."""
        return AsyncListing(self, Call(method="GET", path="/templates", query=query))

    async def get_template(self, template: str) -> types.TemplateRead:
        """Get a template's name and published version."""
        return await self.call(Call(method="GET", path=f"/templates/{quote_path(template)}"))

    async def update_template(
        self, template: str, body: types.TemplateUpdate
    ) -> types.TemplateVersionRead:
        """Update the draft."""
        return await self.call(
            Call(method="PATCH", path=f"/templates/{quote_path(template)}", json=body)
        )

    async def delete_template(self, template: str) -> None:
        """Delete a template and all its versions."""
        await self.call(
            Call[None](method="DELETE", path=f"/templates/{quote_path(template)}", answer="none")
        )

    async def list_template_versions(
        self, template: str, **query: Unpack[types.ListTemplateVersionsQuery]
    ) -> types.TemplateVersions:
        """List a template's last versions, newest first."""
        return await self.call(
            Call(method="GET", path=f"/templates/{quote_path(template)}/versions", query=query)
        )

    async def publish_template(
        self, template: str, body: types.TemplatePublish | None = None
    ) -> types.TemplateRead:
        """Publish the latest version, or an earlier one again."""
        return await self.call(
            Call(method="POST", path=f"/templates/{quote_path(template)}/publish", json=body)
        )

    async def preview_template(
        self, template: str, body: types.TemplatePreview
    ) -> types.TemplateRendered:
        """Render a version with your variables."""
        return await self.call(
            Call(method="POST", path=f"/templates/{quote_path(template)}/preview", json=body)
        )

    async def test_template(self, template: str, body: types.TemplateTest) -> types.MessageRead:
        """Send a version to at most ten recipients."""
        return await self.call(
            Call(method="POST", path=f"/templates/{quote_path(template)}/test", json=body)
        )

    async def create_suppression(self, body: types.SuppressionCreate) -> types.SuppressionRead:
        """Create a suppression."""
        return await self.call(Call(method="POST", path="/suppressions", json=body))

    def list_suppressions(
        self, **query: Unpack[types.ListSuppressionsQuery]
    ) -> AsyncListing[types.SuppressionRead]:
        """List the tenant's suppressions, newest first."""
        return AsyncListing(self, Call(method="GET", path="/suppressions", query=query))

    def export_suppressions(self) -> AsyncLines:
        """Export all suppressions as CSV, in the format of `/suppressions/import`."""
        return AsyncLines(self, Call(method="GET", path="/suppressions/export"))

    async def import_suppressions(self, body: bytes) -> types.SuppressionsImported:
        """Suppress every address and pattern in a CSV file."""
        return await self.call(
            Call(method="POST", path="/suppressions/import", content=body, content_type="text/csv")
        )

    async def delete_suppression(self, suppression: str) -> None:
        """Delete a suppression."""
        await self.call(
            Call[None](
                method="DELETE", path=f"/suppressions/{quote_path(suppression)}", answer="none"
            )
        )

    async def receive_bounce(
        self, body: bytes, **query: Unpack[types.ReceiveBounceQuery]
    ) -> types.InboundRead:
        """Receive a bounce or complaint."""
        return await self.call(
            Call(
                method="POST",
                path="/inbound/bounces",
                content=body,
                content_type="message/rfc822",
                query=query,
            )
        )

    async def receive_provider_events(
        self, provider: str, token: str, body: object
    ) -> types.ProviderEventsRead:
        """Process bounces, complaints, delays and deliveries like `POST /inbound/bounces`."""
        return await self.call(
            Call(
                method="POST",
                path=f"/inbound/{quote_path(provider)}/{quote_path(token)}",
                json=body,
            )
        )

    async def create_mailbox(self, body: types.MailboxCreate) -> types.MailboxRead:
        """Process the mail in an IMAP folder like `POST /inbound/bounces`."""
        return await self.call(Call(method="POST", path="/mailboxes", json=body))

    def list_mailboxes(self, **query: Unpack[types.PageQuery]) -> AsyncListing[types.MailboxRead]:
        """List the tenant's mailboxes, newest first."""
        return AsyncListing(self, Call(method="GET", path="/mailboxes", query=query))

    async def get_mailbox(self, mailbox: str) -> types.MailboxRead:
        """Get a mailbox with its last poll, its counts and the reason if it fails."""
        return await self.call(Call(method="GET", path=f"/mailboxes/{quote_path(mailbox)}"))

    async def update_mailbox(self, mailbox: str, body: types.MailboxUpdate) -> types.MailboxRead:
        """Update the given fields and read the mailbox at once."""
        return await self.call(
            Call(method="PATCH", path=f"/mailboxes/{quote_path(mailbox)}", json=body)
        )

    async def delete_mailbox(self, mailbox: str) -> None:
        """Delete a mailbox and its password."""
        await self.call(
            Call[None](method="DELETE", path=f"/mailboxes/{quote_path(mailbox)}", answer="none")
        )

    async def create_provider_webhook(
        self, body: types.ProviderWebhookCreate
    ) -> types.ProviderWebhookCreated:
        """Create a URL to which an email provider posts bounces, complaints and deliveries."""
        return await self.call(Call(method="POST", path="/provider-webhooks", json=body))

    def list_provider_webhooks(
        self, **query: Unpack[types.PageQuery]
    ) -> AsyncListing[types.ProviderWebhookRead]:
        """List the tenant's provider webhooks, newest first."""
        return AsyncListing(self, Call(method="GET", path="/provider-webhooks", query=query))

    async def get_provider_webhook(self, provider_webhook: str) -> types.ProviderWebhookRead:
        """Get a provider webhook with its last post and its counts."""
        return await self.call(
            Call(method="GET", path=f"/provider-webhooks/{quote_path(provider_webhook)}")
        )

    async def update_provider_webhook(
        self, provider_webhook: str, body: types.ProviderWebhookUpdate
    ) -> types.ProviderWebhookRead:
        """Update the given fields; the URL stays."""
        return await self.call(
            Call(
                method="PATCH", path=f"/provider-webhooks/{quote_path(provider_webhook)}", json=body
            )
        )

    async def delete_provider_webhook(self, provider_webhook: str) -> None:
        """Delete a provider webhook and its secret."""
        await self.call(
            Call[None](
                method="DELETE",
                path=f"/provider-webhooks/{quote_path(provider_webhook)}",
                answer="none",
            )
        )

    async def rotate_provider_webhook(
        self, provider_webhook: str, body: types.ProviderWebhookRotate | None = None
    ) -> types.ProviderWebhookCreated:
        """Create a new URL."""
        return await self.call(
            Call(
                method="POST",
                path=f"/provider-webhooks/{quote_path(provider_webhook)}/rotate",
                json=body,
            )
        )

    def list_events(self, **query: Unpack[types.ListEventsQuery]) -> AsyncListing[types.EventRead]:
        """List the events after a cursor, complete and in the order in which they happened."""
        return AsyncListing(self, Call(method="GET", path="/events", query=query))

    def stream_events(self, **query: Unpack[types.StreamEventsQuery]) -> AsyncEventStream:
        """Stream events as server-sent events: `event` is the type, `data` the event as JSON."""
        return AsyncEventStream(self, Call(method="GET", path="/events/stream", query=query))

    async def get_event(self, event: str) -> types.EventRead:
        """Get an event."""
        return await self.call(Call(method="GET", path=f"/events/{quote_path(event)}"))

    def list_submissions(
        self, **query: Unpack[types.ListSubmissionsQuery]
    ) -> AsyncListing[types.SubmissionRead]:
        """List the ended sessions of SMTP clients, newest first, including refused ones."""
        return AsyncListing(self, Call(method="GET", path="/submissions", query=query))

    async def get_submission(self, submission: str) -> types.SubmissionRead:
        """Get an ended session of an SMTP client."""
        return await self.call(Call(method="GET", path=f"/submissions/{quote_path(submission)}"))

    async def create_webhook(self, body: types.WebhookCreate) -> types.WebhookCreated:
        """Post events to a URL from now on, signed as in Standard Webhooks."""
        return await self.call(Call(method="POST", path="/webhooks", json=body))

    def list_webhooks(self, **query: Unpack[types.PageQuery]) -> AsyncListing[types.WebhookRead]:
        """List the tenant's webhooks, newest first."""
        return AsyncListing(self, Call(method="GET", path="/webhooks", query=query))

    async def get_webhook(self, webhook: str) -> types.WebhookRead:
        """Get a webhook."""
        return await self.call(Call(method="GET", path=f"/webhooks/{quote_path(webhook)}"))

    async def update_webhook(self, webhook: str, body: types.WebhookUpdate) -> types.WebhookRead:
        """Update the given fields."""
        return await self.call(
            Call(method="PATCH", path=f"/webhooks/{quote_path(webhook)}", json=body)
        )

    async def delete_webhook(self, webhook: str) -> None:
        """Delete a webhook, its waiting events and its log."""
        await self.call(
            Call[None](method="DELETE", path=f"/webhooks/{quote_path(webhook)}", answer="none")
        )

    async def rotate_webhook_secret(
        self, webhook: str, body: types.WebhookRotate | None = None
    ) -> types.WebhookCreated:
        """Create a new secret."""
        return await self.call(
            Call(method="POST", path=f"/webhooks/{quote_path(webhook)}/rotate", json=body)
        )

    def list_webhook_deliveries(
        self, webhook: str, **query: Unpack[types.ListWebhookDeliveriesQuery]
    ) -> AsyncListing[types.DeliveryRead]:
        """List the events for a webhook, newest first, with the response to each post."""
        return AsyncListing(
            self,
            Call(method="GET", path=f"/webhooks/{quote_path(webhook)}/deliveries", query=query),
        )

    async def replay_webhook(
        self, webhook: str, body: types.WebhookReplay
    ) -> types.WebhookReplayed:
        """Post events again, delivered ones included, with their original ids."""
        return await self.call(
            Call(method="POST", path=f"/webhooks/{quote_path(webhook)}/replay", json=body)
        )

    async def get_usage(self) -> types.UsageRead:
        """Get the limits of the tenant's quota, and how much of each the tenant uses."""
        return await self.call(Call(method="GET", path="/usage"))

    async def get_stats(self, **query: Unpack[types.GetStatsQuery]) -> types.StatsRead:
        """Count recipients by current status, grouped by profile, tag, domain, hour or day."""
        return await self.call(Call(method="GET", path="/stats", query=query))

    async def create_profile(self, body: types.ProfileCreate) -> types.ProfileRead:
        """Create a profile."""
        return await self.call(Call(method="POST", path="/profiles", json=body))

    def list_profiles(self, **query: Unpack[types.PageQuery]) -> AsyncListing[types.ProfileRead]:
        """List the tenant's profiles, oldest first."""
        return AsyncListing(self, Call(method="GET", path="/profiles", query=query))

    async def verify_unsaved_profile(self, body: types.UnsavedVerify) -> types.VerifyRead:
        """Test a profile's settings on its server without saving them."""
        return await self.call(Call(method="POST", path="/profiles/verify", json=body))

    async def get_profile(self, profile: str) -> types.ProfileRead:
        """Get a profile with its effective EHLO name and its state."""
        return await self.call(Call(method="GET", path=f"/profiles/{quote_path(profile)}"))

    async def update_profile(self, profile: str, body: types.ProfileUpdate) -> types.ProfileRead:
        """Update the given fields; null removes a value (RFC 7396)."""
        return await self.call(
            Call(method="PATCH", path=f"/profiles/{quote_path(profile)}", json=body)
        )

    async def delete_profile(self, profile: str, **query: Unpack[types.DeleteProfileQuery]) -> None:
        """Delete a profile and its credentials."""
        await self.call(
            Call[None](
                method="DELETE", path=f"/profiles/{quote_path(profile)}", query=query, answer="none"
            )
        )

    async def verify_profile(
        self, profile: str, body: types.ProfileVerify | None = None
    ) -> types.VerifyRead:
        """Test a profile on its real server, without sending, and say what to change."""
        return await self.call(
            Call(method="POST", path=f"/profiles/{quote_path(profile)}/verify", json=body)
        )

    async def pause_profile(self, profile: str) -> types.ProfileRead:
        """Stop sending through a profile."""
        return await self.call(Call(method="POST", path=f"/profiles/{quote_path(profile)}/pause"))

    async def resume_profile(self, profile: str) -> types.ProfileRead:
        """Resume sending."""
        return await self.call(Call(method="POST", path=f"/profiles/{quote_path(profile)}/resume"))

    async def create_domain(self, body: types.DomainCreate) -> types.DomainRead:
        """Create two DKIM keys for a domain: RSA (2048 bits) and Ed25519."""
        return await self.call(Call(method="POST", path="/domains", json=body))

    def list_domains(self, **query: Unpack[types.PageQuery]) -> AsyncListing[types.DomainRead]:
        """List the tenant's signing domains, newest first."""
        return AsyncListing(self, Call(method="GET", path="/domains", query=query))

    async def get_domain(self, domain: str) -> types.DomainRead:
        """Get a domain with its keys, their DNS records and the last check."""
        return await self.call(Call(method="GET", path=f"/domains/{quote_path(domain)}"))

    async def delete_domain(self, domain: str) -> None:
        """Delete a domain and its keys."""
        await self.call(
            Call[None](method="DELETE", path=f"/domains/{quote_path(domain)}", answer="none")
        )

    async def check_domain(self, domain: str) -> types.DomainRead:
        """Look up the DNS records of all keys that are not retired."""
        return await self.call(Call(method="POST", path=f"/domains/{quote_path(domain)}/check"))

    async def rotate_domain(self, domain: str) -> types.DomainRead:
        """Create two more keys."""
        return await self.call(Call(method="POST", path=f"/domains/{quote_path(domain)}/rotate"))

    async def create_own_key(self, body: types.KeyCreate) -> types.KeyCreated:
        """Create a key."""
        return await self.call(Call(method="POST", path="/keys", json=body))

    def list_own_keys(self, **query: Unpack[types.PageQuery]) -> AsyncListing[types.KeyRead]:
        """List the tenant's keys, oldest first, revoked ones included."""
        return AsyncListing(self, Call(method="GET", path="/keys", query=query))

    async def revoke_own_key(self, key: str) -> None:
        """Revoke a key: at once in this process, within five seconds in all others."""
        await self.call(Call[None](method="DELETE", path=f"/keys/{quote_path(key)}", answer="none"))

    async def rotate_own_key(
        self, key: str, body: types.KeyRotate | None = None
    ) -> types.KeyCreated:
        """Create a key with the same rights."""
        return await self.call(
            Call(method="POST", path=f"/keys/{quote_path(key)}/rotate", json=body)
        )

    def list_audit_log(
        self, **query: Unpack[types.ListAuditLogQuery]
    ) -> AsyncListing[types.AuditRead]:
        """List changes of the tenant's keys, profiles and other objects, and refused requests."""
        return AsyncListing(self, Call(method="GET", path="/audit-log", query=query))

    def list_console_sessions(
        self, **query: Unpack[types.PageQuery]
    ) -> AsyncListing[types.ConsoleSessionRead]:
        """List the tenant's sessions, newest first."""
        return AsyncListing(self, Call(method="GET", path="/console-sessions", query=query))

    async def end_console_session(self, console_session: str) -> None:
        """End a session of the tenant."""
        await self.call(
            Call[None](
                method="DELETE",
                path=f"/console-sessions/{quote_path(console_session)}",
                answer="none",
            )
        )

    async def get_health(self) -> types.Alive:
        """Return 200 while the process runs, with any database state."""
        return await self.call(Call(method="GET", path="/healthz"))

    async def get_readiness(self, **query: Unpack[types.GetReadinessQuery]) -> types.Ready:
        """Return 200 if the service works, otherwise 503 with the reason in `detail`."""
        return await self.call(Call(method="GET", path="/readyz", query=query))

    async def get_metrics(self) -> str:
        """Get the metrics of this `heloise serve` and of the queue, whatever the database does."""
        return await self.call(Call(method="GET", path="/metrics", answer="text"))

    async def list_problem_types(self) -> types.ProblemTypes:
        """List every `type` that an error of this API can have."""
        return await self.call(Call(method="GET", path="/problems"))

    async def get_problem_type(self, slug: str) -> types.ProblemTypeRead:
        """Explain the `type` of an error and what to do about it."""
        return await self.call(Call(method="GET", path=f"/problems/{quote_path(slug)}"))

    async def create_tenant(self, body: types.TenantCreate) -> types.TenantRead:
        """Create a tenant."""
        return await self.call(Call(method="POST", path="/tenants", json=body))

    def list_tenants(self, **query: Unpack[types.PageQuery]) -> AsyncListing[types.TenantRead]:
        """List all tenants, oldest first."""
        return AsyncListing(self, Call(method="GET", path="/tenants", query=query))

    async def get_tenant(self, tenant: str) -> types.TenantRead:
        """Get a tenant by id or slug."""
        return await self.call(Call(method="GET", path=f"/tenants/{quote_path(tenant)}"))

    async def update_tenant(self, tenant: str, body: types.TenantUpdate) -> types.TenantRead:
        """Update the given fields."""
        return await self.call(
            Call(method="PATCH", path=f"/tenants/{quote_path(tenant)}", json=body)
        )

    async def delete_tenant(self, tenant: str) -> None:
        """Delete a tenant, its keys and its history."""
        await self.call(
            Call[None](method="DELETE", path=f"/tenants/{quote_path(tenant)}", answer="none")
        )

    async def create_key(self, tenant: str, body: types.KeyCreate) -> types.KeyCreated:
        """Create a key."""
        return await self.call(
            Call(method="POST", path=f"/tenants/{quote_path(tenant)}/keys", json=body)
        )

    def list_keys(
        self, tenant: str, **query: Unpack[types.PageQuery]
    ) -> AsyncListing[types.KeyRead]:
        """List the tenant's keys, oldest first, revoked ones included."""
        return AsyncListing(
            self, Call(method="GET", path=f"/tenants/{quote_path(tenant)}/keys", query=query)
        )

    async def revoke_key(self, tenant: str, key_id: str) -> None:
        """Revoke a key: at once in this process, within five seconds in all others."""
        await self.call(
            Call[None](
                method="DELETE",
                path=f"/tenants/{quote_path(tenant)}/keys/{quote_path(key_id)}",
                answer="none",
            )
        )

    async def rotate_key(
        self, tenant: str, key_id: str, body: types.KeyRotate | None = None
    ) -> types.KeyCreated:
        """Create a key with the same rights."""
        return await self.call(
            Call(
                method="POST",
                path=f"/tenants/{quote_path(tenant)}/keys/{quote_path(key_id)}/rotate",
                json=body,
            )
        )
