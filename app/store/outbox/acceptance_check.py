"""Check a group of new messages against the database in one query."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Integer, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.types import NewMessage
from app.store import suppressions
from app.store.db.array_params import any_of
from app.store.tables.core import lanes, profiles
from app.store.tables.core import suppressions as suppression_rows


@frozen_dataclass
class Admission:
    """What the database knows about a group of new messages.

    `ready`: the id and revision of each requested profile that is active and not failing.
    `may_suppress`: whether a tenant suppresses one of the recipients, if only for a tag.
    """

    ready: frozenset[tuple[str, int]]
    may_suppress: bool


async def check(
    connection: AsyncConnection, messages: Sequence[NewMessage], *, profile_ids: Sequence[str]
) -> Admission:
    """Look up these profiles, and suppressions of the messages' recipients."""
    keys = suppressions.collect_keys(
        (message.tenant_id, recipient.named_address.address)
        for message in messages
        for recipient in message.recipients
    )
    rows = await connection.execute(_CHECK, {"profile_ids": profile_ids, "keys_by_tenant": keys})
    pairs = [(row.id, row.revision) for row in rows]
    ready = frozenset(pair for pair in pairs if pair[1] != _SUPPRESSION)
    return Admission(ready, may_suppress=len(ready) < len(pairs))


_SUPPRESSION: Final = 0  # profiles begin with revision 1
_CHECK: Final = union_all(
    select(profiles.c.id, profiles.c.revision)
    .join(lanes, lanes.c.profile_id == profiles.c.id)
    .where(
        any_of(profiles.c.id, "profile_ids"),
        profiles.c.paused_at.is_(None),
        profiles.c.deleted_at.is_(None),
        lanes.c.failing_since.is_(None),
    ),
    select(suppression_rows.c.id, literal(_SUPPRESSION, Integer())).select_from(
        suppressions.COVERING
    ),
)
