"""Every router of the API, in the order in which paths are looked up."""

from typing import Final

from fastapi import APIRouter

from app.api import (
    audit_log,
    batch,
    domains,
    events,
    health,
    inbound,
    keys,
    mailboxes,
    message_actions,
    message_export,
    messages,
    problems,
    profile_verify,
    profiles,
    raw_messages,
    recipients,
    stats,
    suppression_files,
    suppressions,
    templates,
    tenants,
    upload,
    usage,
    webhooks,
)

# Those that need an admin key, and may stand under a path of their own.
admin_routers: Final[list[APIRouter]] = [tenants.router, keys.admin_router]
routers: Final[list[APIRouter]] = [
    batch.router,
    raw_messages.router,
    upload.router,
    message_actions.router,
    message_export.router,
    messages.uploads,
    messages.router,
    recipients.router,
    templates.router,
    suppression_files.router,
    suppressions.router,
    inbound.router,
    mailboxes.router,
    events.router,
    webhooks.router,
    usage.router,
    stats.router,
    profile_verify.router,
    profiles.router,
    domains.router,
    keys.router,
    audit_log.router,
    health.router,
    problems.router,
]
