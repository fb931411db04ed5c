"""Page lists as Resend does: after or before an id, newest first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Self, TypeVar

from fastapi import Query
from pydantic import Field, model_validator

from app.api.http.fields import RequestModel, ResponseModel, Text
from app.domain.errors import FieldError, InvalidRequest
from app.domain.ids import Prefix, is_id
from app.store.db.keyset import HasId

MAX_LIMIT: Final = 100
Row = TypeVar("Row", bound=HasId)


class ListParams(RequestModel):
    """Which part of a list to return."""

    limit: int = Field(default=20, ge=1, le=MAX_LIMIT)
    after: Text | None = Field(default=None, max_length=64, description="Return older ones.")
    before: Text | None = Field(default=None, max_length=64, description="Return newer ones.")

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if self.after is not None and self.before is not None:
            raise ValueError("set after or before, not both")
        return self

    def check(self, prefix: Prefix) -> None:
        """Raise InvalidRequest if a place is no id of the list."""
        for name in ("after", "before"):
            place = getattr(self, name)
            if place is not None and not is_id(place, prefix):
                msg = "write the id of an item of this list"
                raise InvalidRequest(f"{name}: {msg}", [FieldError(("query", name), msg)])


ListQuery = Annotated[ListParams, Query()]


class ListRead(ResponseModel):
    """A part of a list."""

    object: str = "list"
    has_more: bool
    data: list[dict[str, Any]]


def build_list(
    rows: Sequence[Row], params: ListParams, read: Callable[[Row], Mapping[str, Any]]
) -> ListRead:
    """Build a list from rows, newest first; one more than `limit` means that there are more."""
    has_more = len(rows) > params.limit
    if has_more:
        rows = rows[1:] if params.before is not None else rows[: params.limit]
    return ListRead(has_more=has_more, data=[dict(read(row)) for row in rows])


def select_rows(rows: Sequence[Row], params: ListParams) -> Sequence[Row]:
    """Select the rows for `build_list` from a whole list, newest first."""
    if params.before is not None:
        return [row for row in rows if row.id > params.before][-params.limit - 1 :]
    if params.after is not None:
        rows = [row for row in rows if row.id < params.after]
    return rows[: params.limit + 1]
