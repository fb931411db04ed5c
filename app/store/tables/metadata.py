"""Collect the tables of all modules."""

from app.store.tables import (  # noqa: F401 - each adds its tables
    console_sessions,
    domains,
    events,
    inbound,
    submissions,
    templates,
)
from app.store.tables.core import metadata

__all__ = ["metadata"]
