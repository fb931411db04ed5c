"""Page lists by keyset with opaque cursors, stable under inserts."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar

from pydantic import Field

from app.api.http.fields import RequestModel, ResponseModel
from app.domain.errors import InvalidRequest
from app.domain.ids import Prefix, is_id
from app.store.db.keyset import HasId
from app.store.db.replica import Reader

Item = TypeVar("Item")
MAX_CURSOR_CHARACTERS: Final = 100


class Page(ResponseModel, Generic[Item]):
    """A part of a list, and where it goes on."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="Send it as `cursor` to get the next page. Null on the last page."
    )


class Paging(RequestModel):
    """Which page of a list to return."""

    limit: int = Field(default=50, ge=1, le=200, description="The maximum number of items.")
    cursor: str | None = Field(
        default=None,
        max_length=MAX_CURSOR_CHARACTERS,
        description="The `next_cursor` of the previous page.",
    )


Row = TypeVar("Row", bound=HasId)
AnyPage = TypeVar("AnyPage", bound=Page[Any])


async def read_page(
    reader: Reader,
    paging: Paging,
    prefix: Prefix,
    load: Callable[..., Awaitable[Sequence[Row]]],
    page: type[AnyPage],
    read: Callable[[Row], object] | None = None,
) -> AnyPage:
    """Read one page of a list; raises InvalidRequest for an invalid cursor.

    `load` takes a connection, `limit` and `after`, the last id of the previous page; `read` turns a
    row into an item, unless the page does. `prefix` is that of the rows' ids.
    """
    after = parse_cursor(paging, prefix)
    rows = await reader.read(partial(load, limit=paging.limit + 1, after=after))
    return make_page(paging, rows, page, read)


def make_page(
    paging: Paging,
    rows: Sequence[Row],
    page: type[AnyPage],
    read: Callable[[Row], object] | None = None,
) -> AnyPage:
    """Build a page; more rows than `limit` mean that a next page exists."""
    page_rows = rows[: paging.limit]
    has_more = len(rows) > paging.limit
    return page(
        items=page_rows if read is None else [read(row) for row in page_rows],
        next_cursor=encode_cursor(page_rows[-1].id) if has_more else None,
    )


def parse_cursor(paging: Paging, prefix: Prefix) -> str | None:
    """Return the last id of the previous page; raises InvalidRequest."""
    if paging.cursor is None:
        return None
    last_id = decode_cursor(paging.cursor)
    if is_id(last_id, prefix):
        return last_id
    msg = "not a cursor of this list; write the next_cursor of a previous page, or leave it out"
    raise InvalidRequest.in_query("cursor", msg)


def encode_cursor(place: str) -> str:
    """Encode a position in a list as a cursor."""
    return base64.urlsafe_b64encode(place.encode("ascii")).decode("ascii").rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Return the position that a cursor encodes, or "" if it is invalid."""
    try:
        return base64.urlsafe_b64decode(cursor + "==").decode("ascii")
    except (binascii.Error, ValueError):
        return ""
