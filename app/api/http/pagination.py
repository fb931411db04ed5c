"""Page lists by keyset with opaque cursors, stable under inserts."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

from pydantic import Field

from app.api.http.fields import Answer, Body
from app.domain.errors import FieldError, InvalidRequest
from app.domain.ids import Prefix, is_id

Item = TypeVar("Item")
MAX_CURSOR_CHARACTERS: Final = 100


class Page(Answer, Generic[Item]):
    """A part of a list, and where it goes on."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="Send it as `cursor` to get the next page. Null on the last page."
    )


class Paging(Body):
    """Which part of a list is wanted."""

    limit: int = Field(default=50, ge=1, le=200, description="The maximum number of items.")
    cursor: str | None = Field(
        default=None,
        max_length=MAX_CURSOR_CHARACTERS,
        description="The `next_cursor` of the previous page.",
    )


class HasId(Protocol):
    """A row that a list is ordered by."""

    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=HasId)


def start(paging: Paging, prefix: Prefix) -> str | None:
    """The id that the page before ended with; raises InvalidRequest where it is none."""
    if paging.cursor is None:
        return None
    try:
        id_in_cursor = base64.urlsafe_b64decode(paging.cursor + "==").decode("ascii")
    except (binascii.Error, ValueError):
        id_in_cursor = ""
    if is_id(id_in_cursor, prefix):
        return id_in_cursor
    msg = "not a cursor of this list; write the next_cursor of a previous page, or leave it out"
    raise InvalidRequest(f"query.cursor: {msg}", [FieldError(("query", "cursor"), msg)])


def cut(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], str | None]:
    """The rows of a page, of `limit + 1` that were read, and the cursor for the next."""
    if len(rows) <= limit:
        return rows, None
    page_rows = rows[:limit]
    return page_rows, cursor_of(page_rows[-1].id)


def cursor_of(last: str) -> str:
    """The cursor for what comes after an id."""
    return base64.urlsafe_b64encode(last.encode("ascii")).decode("ascii").rstrip("=")
