"""Serve `GET /messages/export`: messages as JSON Lines or CSV."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final, Unpack

from fastapi import Query
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth.dependencies import MessageReader
from app.api.http import csv as csv_files
from app.api.messages.message_actions import build_filter
from app.api.messages.responses import MessageRead, RecipientRead
from app.api.messages.schemas import MessageFilters
from app.api.messages.waiting_reasons import read_messages
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.caller import Caller
from app.domain.clock import format_rfc3339
from app.store.db.keyset import Slice, read_pages
from app.store.messages import queries as messages
from app.store.messages.filters import MessageFilter

router = Router("Messages")

JSON_LINES: Final = "application/jsonl"
PAGE_MESSAGES: Final = 200
COLUMNS: Final[Mapping[str, Callable[[MessageRead, RecipientRead], object]]] = {
    "message_id": lambda message, _: message.id,
    "created_at": lambda message, _: format_rfc3339(message.created_at),
    "status": lambda message, _: message.status.value,
    "profile": lambda message, _: message.profile,
    "from": lambda message, _: message.sender,
    "subject": lambda message, _: message.subject,
    "tags": lambda message, _: " ".join(message.tags),
    "source": lambda message, _: message.source,
    "key_id": lambda message, _: message.key_id,
    "request_id": lambda message, _: message.request_id,
    "trace_id": lambda message, _: message.trace_id,
    "client_address": lambda message, _: message.client_address,
    "recipient": lambda _, recipient: recipient.address,
    "kind": lambda _, recipient: recipient.kind.value,
    "recipient_status": lambda _, recipient: recipient.status.value,
    "attempts": lambda _, recipient: recipient.attempts,
    "code": lambda _, recipient: recipient.last_reply and recipient.last_reply.code,
    "enhanced_code": lambda _, recipient: (
        recipient.last_reply and recipient.last_reply.enhanced_code
    ),
    "reply": lambda _, recipient: recipient.last_reply and recipient.last_reply.text,
}


class Format(StrEnum):
    """The export format."""

    JSONL = "jsonl"
    CSV = "csv"


class ExportQuery(MessageFilters):
    """Which messages to export, and in which format."""

    format: Format = Field(
        default=Format.JSONL,
        description="`jsonl`: one message per line, as `GET /messages/{id}` returns it. `csv`: one"
        " recipient per line.",
    )


@router.get(
    "/messages/export",
    summary="Export messages",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "All matches, newest first.",
            "content": {
                JSON_LINES: {"schema": {"type": "string"}},
                csv_files.MEDIA_TYPE: {"schema": {"type": "string"}},
            },
        }
    },
)
@problems("profile-not-found")
async def export_messages(
    query: Annotated[ExportQuery, Query()], caller: MessageReader, services: ReadyServices
) -> StreamingResponse:
    """Export all messages that match the filters."""
    message_filter = await services.replica.read(
        lambda connection: build_filter(connection, caller, query)
    )
    pages = _read_pages(services, caller, message_filter)
    is_csv = query.format is Format.CSV
    return StreamingResponse(
        _write_csv(pages) if is_csv else _write_lines(pages),
        media_type=f"{csv_files.MEDIA_TYPE}; charset=utf-8" if is_csv else JSON_LINES,
        headers={"Content-Disposition": f'attachment; filename="messages.{query.format}"'},
    )


def _read_pages(
    services: Services, caller: Caller, message_filter: MessageFilter
) -> AsyncIterator[Sequence[MessageRead]]:
    async def load(**part: Unpack[Slice]) -> list[MessageRead]:
        now = services.now()

        async def read(connection: AsyncConnection) -> list[MessageRead]:
            rows = await messages.page(
                connection,
                tenant_id=caller.tenant_id,
                now=now,
                message_filter=message_filter,
                **part,
            )
            return await read_messages(
                connection, caller.tenant_id, rows, now=now, alive_since=services.alive_since(now)
            )

        return await services.replica.read(read)

    return read_pages(load, limit=PAGE_MESSAGES)


async def _write_lines(pages: AsyncIterator[Sequence[MessageRead]]) -> AsyncIterator[str]:
    async for page in pages:
        yield "".join(message.model_dump_json(by_alias=True) + "\n" for message in page)


async def _write_csv(pages: AsyncIterator[Sequence[MessageRead]]) -> AsyncIterator[str]:
    yield csv_files.format_rows([list(COLUMNS)])
    async for page in pages:
        yield csv_files.format_rows(row for message in page for row in _build_rows(message))


def _build_rows(message: MessageRead) -> Iterator[Sequence[str]]:
    for recipient in message.recipients:
        values = (read(message, recipient) for read in COLUMNS.values())
        yield ["" if value is None else str(value) for value in values]
