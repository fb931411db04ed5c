"""Send a row with large bytes to PostgreSQL in parts.

A driver builds all parameters of a statement before it sends any, in the event loop: three copies
of the bytes.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import asyncpg
from pydantic_core import to_json
from sqlalchemy import Column, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.mime.byte_blocks import BLOCK_BYTES

# PostgreSQL's manual, COPY, "Binary Format".
_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COUNT: Final = struct.Struct(">h")
_INTEGER: Final = struct.Struct(">i")
_TRAILER: Final = _COUNT.pack(-1)
_NULL: Final = _INTEGER.pack(-1)
_JSONB_VERSION: Final = b"\x01"


async def copy_row(connection: AsyncConnection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row of strings, bytes, JSON, booleans and 32-bit integers.

    Uses the connection's transaction, which must have begun. Raises asyncpg's errors.
    """
    driver: asyncpg.Connection[Any] = (await connection.get_raw_connection()).driver_connection
    await driver.copy_to_table(
        table.name, columns=list(row), format="binary", source=_parts(connection, table, row)
    )


async def _parts(
    connection: AsyncConnection, table: Table, row: Mapping[str, Any]
) -> AsyncIterator[bytes]:
    yield _HEADER + _COUNT.pack(len(row))
    for name, value in row.items():
        if value is None:
            yield _NULL
            continue
        data = _encode_value(connection, table.c[name], value)
        yield _INTEGER.pack(len(data))
        for start in range(0, len(data), BLOCK_BYTES):
            yield data[start : start + BLOCK_BYTES]
            await asyncio.sleep(0)  # give other tasks a turn: a fast socket never waits
    yield _TRAILER


def _encode_value(connection: AsyncConnection, column: Column[Any], value: Any) -> bytes:  # noqa: ANN401 - a value is of any type
    """Encode a value in the binary format of its column's type."""
    if isinstance(column.type.dialect_impl(connection.dialect), JSONB):
        return _JSONB_VERSION + to_json(value)
    match value:
        case str():
            return value.encode()
        case bool():
            return bytes([value])
        case int():
            return _INTEGER.pack(value)
        case bytes():
            return value
    raise TypeError(f"{column} takes no {type(value).__name__} here")
