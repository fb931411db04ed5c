"""What the database knows of messages that are about to be written: one look for all of a group."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Integer, Text, and_, cast, func, literal, not_, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.types import NewMessage
from app.domain.value import value
from app.store.among import among, pairs_of
from app.store.tables import lanes, profiles, suppressions


@value
class Admission:
    """What was found.

    `ready`: of the profiles asked for, by id and revision, those that are open and not known to
    fail. `may_suppress`: whether a recipient is suppressed by his tenant, if not for any message.
    """

    ready: frozenset[tuple[str, int]]
    may_suppress: bool


async def look(
    connection: AsyncConnection, messages: Sequence[NewMessage], *, profile_ids: Sequence[str]
) -> Admission:
    """Look for these profiles, and for whom these messages are to."""
    given = {"profile_ids": profile_ids, "addressed": _addressed(messages)}
    found = [(row.id, row.revision) for row in await connection.execute(_LOOK, given)]
    ready = frozenset(each for each in found if each[1] != _SUPPRESSION)
    return Admission(ready, may_suppress=len(ready) < len(found))


def given(messages: Sequence[NewMessage], leased: Iterable[NewMessage]) -> dict[str, Any]:
    """What `IS_PLAIN` is asked with of messages, and of those that are written with a lease."""
    profiles = {(each.profile_id, str(each.profile_revision)) for each in leased}
    return {"leased": list(profiles), "addressed": _addressed(messages)}


def _addressed(messages: Sequence[NewMessage]) -> list[tuple[str, str]]:
    return [(each.tenant_id, one.mailbox.address) for each in messages for one in each.recipients]


_SUPPRESSION: Final = 0  # a profile's first revision is 1
_ADDRESSED: Final = pairs_of("addressed")
_LEASED: Final = pairs_of("leased")
_READY: Final = (
    select(profiles.c.id, profiles.c.revision)
    .join(lanes, lanes.c.profile_id == profiles.c.id)
    .where(
        profiles.c.paused_at.is_(None),
        profiles.c.deleted_at.is_(None),
        lanes.c.failing_since.is_(None),
    )
)
_SUPPRESSED: Final = select(suppressions.c.id).join_from(
    _ADDRESSED,
    suppressions,
    and_(
        suppressions.c.tenant_id == _ADDRESSED.c.first,
        suppressions.c.address == func.lower(_ADDRESSED.c.second),
    ),
)
_LOOK: Final = union_all(
    _READY.where(among(profiles.c.id, "profile_ids")),
    _SUPPRESSED.add_columns(literal(_SUPPRESSION, Integer())),
)
_IS_READY: Final = _READY.where(
    profiles.c.id == _LEASED.c.first, cast(profiles.c.revision, Text) == _LEASED.c.second
).correlate(_LEASED)
# Whether `look` would find nobody suppressed, and each profile of a lease ready.
IS_PLAIN: Final = select(
    not_(or_(_SUPPRESSED.exists(), select(_LEASED.c.first).where(~_IS_READY.exists()).exists()))
)
