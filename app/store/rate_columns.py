"""Between a rate limit and its columns, which profiles and tenants have alike."""

from typing import Any

from sqlalchemy import RowMapping

from app.domain.types import RateLimit


def rate_limit_of(row: RowMapping) -> RateLimit | None:
    """The limit of a row, if it has one."""
    if row["rate_per_seconds"] is None:
        return None
    return RateLimit(
        messages=row["rate_messages"],
        per_seconds=row["rate_per_seconds"],
        recipients=row["rate_recipients"],
        burst=row["rate_burst"],
    )


def rate_columns(limit: RateLimit | None) -> dict[str, Any]:
    """The columns of a limit."""
    return {
        "rate_messages": limit.messages if limit else None,
        "rate_recipients": limit.recipients if limit else None,
        "rate_per_seconds": limit.per_seconds if limit else None,
        "rate_burst": limit.burst if limit else None,
    }
