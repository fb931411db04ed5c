"""Build the queries for the ids of messages that match filters."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Select, Table, TextClause, and_, or_, select

from app.domain.mime.build import parse_message_id
from app.domain.types import MessageSource, MessageStatus
from app.store.db.keyset import within
from app.store.tables.core import (
    HELD,
    NOT_BY_API,
    NOT_SENT,
    UNFINISHED,
    has_address,
    is_of_tenant,
    message_contents,
    message_tags,
    messages,
    recipients,
)

NOT_SENT_STATUSES: Final = frozenset(
    {MessageStatus.PARTIALLY_SENT, MessageStatus.FAILED, MessageStatus.CANCELLED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages to select: those that match all filters.

    `created_after` is inclusive, `created_before` exclusive. `recipient` ignores case. `message_id`
    is the header field Message-ID. `profile_ids` restricts to these profiles. `ids` and `statuses`
    list alternatives; empty means any.
    """

    ids: Collection[str] = ()
    statuses: Collection[MessageStatus] = ()
    profile_id: str | None = None
    tag: str | None = None
    recipient: str | None = None
    key_id: str | None = None
    source: MessageSource | None = None
    request_id: str | None = None
    message_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    profile_ids: Sequence[str] | None = None


NO_FILTER: Final = MessageFilter()


def build_query(
    tenant_id: str, message_filter: MessageFilter, now: datetime
) -> tuple[Select[str], ColumnElement[str]]:
    """Build the query for matching ids; return it with their column."""
    query, key = _build_id_query(tenant_id, message_filter)
    of_message = list[ColumnElement[bool] | TextClause]()
    if key is message_contents.c.message_id:  # which knows no tenant
        of_message.append(is_of_tenant(messages.c.tenant_id, tenant_id))
    of_message += _build_row_conditions(message_filter, now)
    if key is messages.c.id:  # other queries use another index
        of_message += _partial(message_filter)
    if message_filter.ids:
        query = query.where(key.in_(message_filter.ids))
    if message_filter.message_id is not None:
        query = query.where(_has_message_id(key, message_filter.message_id))
    after, before = message_filter.created_after, message_filter.created_before
    of_message += within(key, messages.c.created_at, "msg", after=after, before=before)
    if of_message and key is not messages.c.id:
        query = query.join(messages, messages.c.id == key)
    return query.where(*of_message), key


def _build_row_conditions(
    message_filter: MessageFilter, now: datetime
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that concern a row of `messages` alone."""
    if message_filter.statuses:
        yield or_(*(_has_status(status, now) for status in message_filter.statuses))
    if message_filter.source is not None:
        yield messages.c.source == message_filter.source.value
    if message_filter.profile_id is not None:
        yield messages.c.profile_id == message_filter.profile_id
    if message_filter.profile_ids is not None:
        yield messages.c.profile_id.in_(message_filter.profile_ids)


def _has_message_id(key: ColumnElement[str], header: str) -> ColumnElement[bool]:
    """Build the condition for the header Message-ID: made from the id, or given by the caller."""
    ids_by_header = select(message_contents.c.message_id).where(
        message_contents.c.given_message_id.is_not(None),
        message_contents.c.given_message_id == header,
    )
    return or_(key == parse_message_id(header), key.in_(ids_by_header))


def _has_status(status: MessageStatus, now: datetime) -> ColumnElement[bool]:
    """Build the condition for a status now: waiting messages are scheduled until `send_at`."""
    is_later = messages.c.send_at > now
    if status is MessageStatus.SCHEDULED:
        return and_(messages.c.status == MessageStatus.QUEUED.value, is_later)
    has_status = messages.c.status == status.value
    if status is not MessageStatus.QUEUED:
        return has_status
    return and_(has_status, or_(messages.c.send_at.is_(None), ~is_later))


def _partial(message_filter: MessageFilter) -> Iterator[TextClause]:
    """Yield the conditions of the partial indexes that cover the filter."""
    if message_filter.source not in {None, MessageSource.API}:
        yield NOT_BY_API
    statuses = message_filter.statuses
    if MessageStatus.SENT not in statuses:
        conditions = {
            NOT_SENT if status in NOT_SENT_STATUSES else UNFINISHED for status in statuses
        }
        if set(statuses) == {MessageStatus.HELD}:
            yield HELD
        elif len(conditions) == 1:
            yield from conditions


def _build_id_query(
    tenant_id: str, message_filter: MessageFilter
) -> tuple[Select[str], ColumnElement[str]]:
    """Build the query for ids by recipient, tag, key and request; return it with their column.

    Selects ids in the order of an index, and their content later. So a page costs a page on SQLite
    too, which would otherwise read everything and sort it.
    """
    tables_and_conditions = list[tuple[Table, Sequence[ColumnElement[bool]]]]()
    if message_filter.recipient is not None:
        of_recipient = (recipients.c.tenant_id == tenant_id, has_address(message_filter.recipient))
        tables_and_conditions.append((recipients, of_recipient))
    if message_filter.tag is not None:
        of_tag = (message_tags.c.tenant_id == tenant_id, message_tags.c.tag == message_filter.tag)
        tables_and_conditions.append((message_tags, of_tag))
    of_content = list[ColumnElement[bool]]()
    if message_filter.key_id is not None:
        of_content.append(message_contents.c.key_id == message_filter.key_id)
    if message_filter.request_id is not None:
        of_content.append(message_contents.c.request_id == message_filter.request_id)
    if of_content:
        tables_and_conditions.append((message_contents, of_content))
    if not tables_and_conditions:
        return select(messages.c.id).where(messages.c.tenant_id == tenant_id), messages.c.id
    (first_table, conditions), *others = tables_and_conditions
    key = first_table.c.message_id
    query = select(key).where(*conditions)
    for table, conditions in others:
        query = query.join(table, table.c.message_id == key).where(*conditions)
    return query, key
