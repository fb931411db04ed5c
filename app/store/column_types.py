"""The types of columns that both databases share; migrations use them too."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import JSON, BigInteger, Dialect, String
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC time: `timestamptz` on PostgreSQL, microseconds since 1970 on SQLite.

    SQLite has no time type, and its text form would sort right only by luck of formatting.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> object:
        if value is None or dialect.name == "postgresql":
            return value
        return (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "postgresql":
            return cast("datetime", value).astimezone(UTC)
        return EPOCH + cast("int", value) * MICROSECOND


# Identifiers compare by bytes: collation "C" keeps PostgreSQL's index order the order of time.
Id: Final = String(40).with_variant(String(40, collation="C"), "postgresql")
Json: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
