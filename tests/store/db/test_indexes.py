"""Each index has a reader: on every message, an index costs more than the row that it points to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Index, Table

from app.store import (
    api_keys,
    audit,
    console_sessions,
    domains,
    events,
    idempotency,
    submissions,
    suppressions,
    templates,
)
from app.store.delivery import profile_notices, queue, shared_limits
from app.store.inbound import mailboxes, provider_webhooks, reports
from app.store.messages import queries as messages
from app.store.outbox import claims as outbox
from app.store.outbox import results
from app.store.profiles import queries as profiles
from app.store.tables.metadata import metadata
from app.store.webhooks import deliveries
from app.store.webhooks import queries as webhooks

# What reads by each index. A unique index is a rule, and needs no reader.
READERS: Final[dict[str, Callable[..., Any]]] = {
    "ix_api_keys_tenant": api_keys.page,
    "ix_attempts_message": messages.list_attempts,
    "ix_attempts_provider_message": reports.receive,
    "ix_audit_log_actor": audit.page,
    "ix_audit_log_object": audit.page,
    "ix_audit_log_tenant": audit.page,
    "ix_connection_permits_worker": shared_limits.renew_connections,
    "ix_console_sessions_expires": console_sessions.delete_old,
    "ix_console_sessions_tenant": console_sessions.page,
    "ix_dkim_keys_domain": domains.load_signing_keys,
    "ix_events_message": events.page,
    "ix_events_order": events.page,
    "ix_idempotency_keys_created": idempotency.delete_old,
    "ix_idempotency_keys_message": idempotency.release,
    "ix_inbound_reports_created": reports.delete_old,
    "ix_mailboxes_due": mailboxes.load_next_poll_at,
    "ix_mailboxes_tenant": mailboxes.page,
    "ix_message_contents_given_message_id": messages.page,
    "ix_message_contents_key": messages.page,
    "ix_message_contents_request": messages.page,
    "ix_message_tags_message": messages.page,
    "ix_messages_due": outbox.claim,
    "ix_messages_expiring": results.expire,
    "ix_messages_held": messages.page,
    "ix_messages_not_sent": messages.page,
    "ix_messages_profile": messages.page,
    "ix_messages_source": messages.page,
    "ix_messages_tenant": messages.page,
    "ix_messages_unfinished": queue.load_depth,
    "ix_notices_due": profile_notices.load_due,
    "ix_profiles_tenant": profiles.page,
    "ix_provider_webhooks_tenant": provider_webhooks.page,
    "ix_recipients_address": messages.page,
    "ix_sending_domains_tenant": domains.page,
    "ix_submission_messages_message": submissions.page,
    "ix_submissions_client": submissions.page,
    "ix_submissions_login": submissions.page,
    "ix_submissions_profile": submissions.page,
    "ix_submissions_tenant": submissions.page,
    "ix_suppressions_tenant": suppressions.page,
    "ix_templates_tenant": templates.page,
    "ix_webhook_attempts_delivery": deliveries.page,
    "ix_webhook_deliveries_due": deliveries.claim,
    "ix_webhook_deliveries_gone": events.delete_old,
    "ix_webhook_deliveries_list": deliveries.page,
    "ix_webhook_deliveries_order": deliveries.claim,
    "ix_webhooks_tenant": webhooks.page,
}
# The tables that get rows with every message.
HOT: Final = ("messages", "message_contents", "message_tags", "recipients", "attempts", "events")
PLANS: Final = Path(__file__).with_name("test_plans.py").read_text()
INDEXES: Final = [
    (table, index) for table in metadata.tables.values() for index in sorted(table.indexes, key=str)
]


def test_every_index_names_its_reader() -> None:
    """And every reader an index that is there."""
    assert set(READERS) == {index.name for _, index in INDEXES if not index.unique}


@pytest.mark.parametrize(
    ("table", "index"),
    [
        pytest.param(table, index, id=str(index.name))
        for table, index in INDEXES
        if not index.unique and table.name in HOT
    ],
)
def test_the_reader_of_a_hot_index_goes_by_it(table: Table, index: Index) -> None:
    """A plan shows it, on both databases."""
    del table
    assert f'"{index.name}"' in PLANS


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_no_index_begins_another(table: Table) -> None:
    """The longer one would serve its queries too."""
    columns = {
        str(index.name): [str(expression) for expression in index.expressions]
        for index in table.indexes
        if not any(index.dialect_options[name]["where"] is not None for name in ("sqlite",))
    }
    columns["primary key"] = [str(column) for column in table.primary_key]
    for name, short in columns.items():
        for other, long in columns.items():
            assert name == other or long[: len(short)] != short, (name, other)
