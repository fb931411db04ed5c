"""Define column types for both databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Dialect, String
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC time: `timestamptz` on PostgreSQL, microseconds since 1970 on SQLite.

    SQLite has no time type; text would sort correctly only in one format.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], object] | None:
        return None if dialect.name == "postgresql" else _microseconds

    def result_processor(
        self, dialect: Dialect, _coltype: object
    ) -> Callable[[Any], datetime | None]:
        return _in_utc if dialect.name == "postgresql" else _instant


# Many rows and columns hold the same time.
@lru_cache
def _microseconds(value: datetime | None) -> int | None:
    return None if value is None else (value - EPOCH) // MICROSECOND


@lru_cache
def _instant(value: int | None) -> datetime | None:
    return None if value is None else EPOCH + value * MICROSECOND


def _in_utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


# Identifiers compare by bytes: collation "C" keeps PostgreSQL's index in the order of time.
Id: Final = String(40).with_variant(String(40, collation="C"), "postgresql")
Json: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
