"""Map rate limits to columns."""

from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Table

from app.domain.types import RateLimit


def label_rate_columns(table: Table, prefix: str) -> list[ColumnElement[Any]]:
    """Label a table's rate columns with a prefix, to select them beside another table's."""
    return [table.c[name].label(f"{prefix}{name}") for name in build_rate_columns(None)]


def build_rate_limit(row: RowMapping, prefix: str = "") -> RateLimit | None:
    """Build the rate limit of a row, if any, from columns with this prefix."""
    if row[f"{prefix}rate_per_seconds"] is None:
        return None
    return RateLimit(
        messages=row[f"{prefix}rate_messages"],
        per_seconds=row[f"{prefix}rate_per_seconds"],
        recipients=row[f"{prefix}rate_recipients"],
        burst=row[f"{prefix}rate_burst"],
    )


def build_rate_columns(limit: RateLimit | None) -> dict[str, Any]:
    """Build the columns of a rate limit."""
    return {
        "rate_messages": limit.messages if limit else None,
        "rate_recipients": limit.recipients if limit else None,
        "rate_per_seconds": limit.per_seconds if limit else None,
        "rate_burst": limit.burst if limit else None,
    }
