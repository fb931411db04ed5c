"""Serve `/suppressions/export` and `/import` as CSV (RFC 4180)."""

import csv
import io
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final, Unpack

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import Field, ValidationError

from app.api.auth.dependencies import SuppressionManager
from app.api.http.csv import MEDIA_TYPE, format_rows, restore_cell
from app.api.http.field_errors import build_field_error
from app.api.http.fields import ResponseModel
from app.api.openapi import lines_content
from app.api.requests.json_limits import Router
from app.api.requests.media_types import require_media_type
from app.api.services import ReadyServices, Services
from app.api.suppressions.routes import SuppressionCreate
from app.domain.clock import format_rfc3339
from app.domain.errors import InvalidRequest
from app.domain.types import Suppression
from app.store import suppressions
from app.store.db.keyset import Slice, read_pages

router = Router("Suppressions")

COLUMNS: Final = ("address", "tag", "reason", "detail", "created_at")
ROWS_PER_TRANSACTION: Final = 500
MAX_ERRORS: Final = 100
TEXT: Final = (
    "address,tag,reason,detail,created_at\r\neve@example.org,,manual,,2026-01-15T09:30:00Z\r\n"
)
EXAMPLE: Final[dict[str, Any]] = {
    "created": 2,
    "existing": 1,
    "invalid": 1,
    "errors": [
        {
            "line": 4,
            "msg": "address: 'ann' is not an address; write ann@example.com, *@example.com for all"
            " of a domain, or *.example.com for its subdomains",
        }
    ],
}


class InvalidLine(ResponseModel):
    """An invalid line."""

    line: int
    msg: str


class SuppressionsImported(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """The result of an import."""

    created: int
    existing: int = Field(
        description="Lines that name an existing suppression, which stays as it is."
    )
    invalid: int
    errors: list[InvalidLine] = Field(description="The first 100 invalid lines.")


@router.get(
    "/suppressions/export",
    summary="Export suppressions",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "All suppressions, newest first.",
            "content": lines_content(MEDIA_TYPE, TEXT),
        }
    },
)
async def export_suppressions(
    caller: SuppressionManager, services: ReadyServices
) -> StreamingResponse:
    """Export all suppressions as CSV, in the format of `/suppressions/import`."""
    return StreamingResponse(
        _export_lines(services, caller.tenant_id),
        media_type=f"{MEDIA_TYPE}; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="suppressions.csv"'},
    )


async def _export_lines(services: Services, tenant_id: str) -> AsyncIterator[str]:
    async def load(**part: Unpack[Slice]) -> list[Suppression]:
        return await services.replica.read(
            lambda connection: suppressions.page(connection, tenant_id=tenant_id, **part)
        )

    yield format_rows([COLUMNS])
    async for rows in read_pages(load, limit=ROWS_PER_TRANSACTION):
        yield format_rows(map(_build_cells, rows))


def _build_cells(row: Suppression) -> tuple[str, ...]:
    made_at = format_rfc3339(row.created_at)
    return row.address, row.tag or "", row.reason.value, row.detail or "", made_at


@router.post(
    "/suppressions/import",
    summary="Import suppressions",
    response_description="The numbers of created and existing suppressions, and the invalid lines.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "CSV with a header line. The column `address` is required. At most 1"
            " MiB.",
            "content": lines_content(MEDIA_TYPE, TEXT),
        }
    },
)
async def import_suppressions(
    caller: SuppressionManager, services: ReadyServices, request: Request
) -> SuppressionsImported:
    """Suppress every address and pattern in a CSV file.

    Reads the columns `address`, `tag`, `reason` and `detail` and ignores others. Reports invalid
    lines and imports the rest.
    """
    require_media_type(request, "CSV", MEDIA_TYPE)
    content = _decode(await request.body())
    audit_context = caller.audit_context(services.now())
    suppression_rows, invalid_lines = list[Suppression](), list[InvalidLine]()
    for number, values in _read_lines(content):
        try:
            body = SuppressionCreate.model_validate(values)
        except ValidationError as error:
            first_error = build_field_error(error.errors(include_url=False, include_input=False)[0])
            place = ".".join(map(str, first_error.loc))
            invalid_lines.append(InvalidLine(line=number, msg=f"{place}: {first_error.msg}"))
        else:
            suppression_rows.append(body.to_suppression(caller.tenant_id, audit_context.now))
    added = 0
    async with services.database.transaction() as connection:
        for start in range(0, len(suppression_rows), ROWS_PER_TRANSACTION):
            added += await suppressions.add(
                connection, new_suppressions=suppression_rows[start : start + ROWS_PER_TRANSACTION]
            )
        counts = {
            "created": added,
            "existing": len(suppression_rows) - added,
            "invalid": len(invalid_lines),
        }
        await audit_context.record(
            connection, "suppressions.import", object_id="suppressions", after=counts
        )
    return SuppressionsImported(**counts, errors=invalid_lines[:MAX_ERRORS])


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("The file is not UTF-8; save it as CSV in UTF-8.") from None


def _read_lines(content: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield each line's number and its fields, named as in a JSON request."""
    reader = csv.DictReader(io.StringIO(content, newline=""))
    try:
        names = [fieldname.strip().lower() for fieldname in reader.fieldnames or ()]
        if "address" not in names:
            raise InvalidRequest(
                "The first line has no column `address`; write address,tag,reason,detail."
            )
        reader.fieldnames = names
        for row in reader:
            value_by_column = {
                name: restore_cell((row.get(name) or "").strip()) for name in COLUMNS[:-1]
            }
            yield reader.line_num, {name: value for name, value in value_by_column.items() if value}
    except csv.Error as error:
        raise InvalidRequest(f"The file is not CSV: {error}.") from None
