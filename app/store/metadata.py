"""The whole schema: importing it here loads the tables of every module."""

from app.store import domain_tables, event_tables, mailbox_tables, template_tables
from app.store.tables import metadata

__all__ = ["domain_tables", "event_tables", "mailbox_tables", "metadata", "template_tables"]
