"""Rename stored event types, report kinds and problem types to their new public names."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from alembic import op

from app.store.db.column_types import Json

revision: Final = "0024"
down_revision: Final = "0023"

REPORTS: Final = {"returned": "bounced_later"}
EVENTS: Final = {
    "recipient.returned": "recipient.bounced_later",
    "mailbox.mail_given_up": "mailbox.mail_skipped",
}
PROBLEMS: Final = {
    "header-repeated": "duplicate-header",
    "key-ended": "key-inactive",
    "key-too-wide": "scope-exceeds-caller",
    "quota-used-up": "sending-quota-exceeded",
    "request-too-slow": "request-timeout",
    "too-many-keys": "too-many-auth-failures",
    "too-many-verifies": "too-many-verifications",
}

webhooks: Final = sa.table("webhooks", sa.column("id", sa.String), sa.column("event_types", Json))


def upgrade() -> None:
    """Bring the data from 0023 to 0024."""
    _rename(REPORTS, EVENTS, PROBLEMS)


def _rename(
    reports: Mapping[str, str], events: Mapping[str, str], problems: Mapping[str, str]
) -> None:
    _rename_values("recipients", "report", reports)
    _rename_values("events", "type", events)
    _rename_values("webhook_deliveries", "event_type", events)
    _rename_values("audit_log", "refused_as", problems)
    connection = op.get_bind()
    for webhook in connection.execute(sa.select(webhooks)).all():
        renamed = [events.get(pattern, pattern) for pattern in webhook.event_types]
        if renamed != webhook.event_types:
            of = sa.update(webhooks).where(webhooks.c.id == webhook.id)
            connection.execute(of.values(event_types=renamed))


def _rename_values(table: str, column: str, names: Mapping[str, str]) -> None:
    target = sa.table(table, sa.column(column, sa.String))
    value = target.c[column]
    rename = sa.update(target).where(value.in_(names))
    op.execute(rename.values({column: sa.case(names, value=value)}))


def downgrade() -> None:
    """Bring the data from 0024 to 0023."""
    _rename(*({new: old for old, new in names.items()} for names in (REPORTS, EVENTS, PROBLEMS)))
