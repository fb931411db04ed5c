"""Collect the tables of all modules."""

from app.store.tables import console_sessions as console_session_tables
from app.store.tables import domains as domain_tables
from app.store.tables import events as event_tables
from app.store.tables import mailboxes as mailbox_tables
from app.store.tables import provider_webhooks as provider_webhook_tables
from app.store.tables import submissions as submission_tables
from app.store.tables import templates as template_tables
from app.store.tables.core import metadata

__all__ = [
    "console_session_tables",
    "domain_tables",
    "event_tables",
    "mailbox_tables",
    "metadata",
    "provider_webhook_tables",
    "submission_tables",
    "template_tables",
]
