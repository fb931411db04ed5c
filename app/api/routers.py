"""List all routers in the order of path lookup."""

from typing import Final

from fastapi import APIRouter

from app.api.api_keys import routes as keys
from app.api.audit import routes as audit_log
from app.api.console_sessions import routes as console_sessions
from app.api.domains import routes as domains
from app.api.events import routes as events
from app.api.inbound import bounce_routes as inbound
from app.api.inbound import mailbox_routes as mailboxes
from app.api.inbound import provider_event_routes as provider_events
from app.api.inbound import provider_webhook_routes as provider_webhooks
from app.api.messages import batch_routes as batch
from app.api.messages import bulk_routes as message_actions
from app.api.messages import erasure_routes as recipients
from app.api.messages import export_routes as message_export
from app.api.messages import raw_routes as raw_messages
from app.api.messages import routes as messages
from app.api.messages import stats_routes as stats
from app.api.messages import upload_routes as upload
from app.api.profiles import routes as profiles
from app.api.profiles import verify_routes as profile_verify
from app.api.queue import routes as queue
from app.api.resend import domain_routes as resend_domains
from app.api.resend import email_routes as resend_emails
from app.api.resend import key_routes as resend_keys
from app.api.resend import suppression_routes as resend_suppressions
from app.api.resend import webhook_routes as resend_webhooks
from app.api.submissions import routes as submissions
from app.api.suppressions import csv_routes as suppression_files
from app.api.suppressions import routes as suppressions
from app.api.system import health_routes as health
from app.api.system import problem_routes as problems
from app.api.templates import routes as templates
from app.api.tenants import routes as tenants
from app.api.tenants import usage_routes as usage
from app.api.webhooks import routes as webhooks

# These need an admin key and may have a path prefix of their own.
admin_routers: Final[list[APIRouter]] = [tenants.router, keys.admin_router]
resend_routers: Final[list[APIRouter]] = [
    resend_emails.sending,
    resend_emails.router,
    resend_domains.router,
    resend_keys.router,
    resend_suppressions.router,
    resend_webhooks.router,
]
routers: Final[list[APIRouter]] = [
    batch.router,
    raw_messages.router,
    upload.router,
    message_actions.router,
    message_export.router,
    messages.uploads,
    messages.router,
    recipients.router,
    queue.router,
    templates.router,
    suppression_files.router,
    suppressions.router,
    inbound.router,
    mailboxes.router,
    provider_webhooks.router,
    provider_events.router,
    events.router,
    submissions.router,
    webhooks.router,
    usage.router,
    stats.router,
    profile_verify.router,
    profiles.router,
    domains.router,
    keys.router,
    audit_log.router,
    console_sessions.router,
    health.router,
    problems.router,
    *resend_routers,
]
