"""Write an audit entry in the transaction of its change."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit import Actor, AuditEntry, compute_changes
from app.domain.audit import request_id as current_request_id
from app.domain.ids import new_id
from app.domain.mime.dkim import SendingDomain
from app.domain.types import ApiKey, Profile, Suppression, Tenant
from app.domain.webhooks import Webhook
from app.store import audit

Shown = ApiKey | Profile | SendingDomain | Suppression | Tenant | Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Somebody who changes something now; `tenant_id` is the tenant that a caller acts for."""

    actor: Actor
    now: datetime
    request_id: str | None = field(default_factory=current_request_id.get)
    tenant_id: str | None = None

    async def record(
        self,
        connection: AsyncConnection,
        action: str,
        *,
        object_id: str,
        tenant_id: str | None = None,
        before: Shown | Mapping[str, Any] | None = None,
        after: Shown | Mapping[str, Any] | None = None,
    ) -> str:
        """Write the line; `before` is None for what was made, `after` for what was deleted.

        Returns the line's id.

        None of them holds a secret: what the log says of one is whether there is any.
        """
        entry = AuditEntry(
            id=new_id("aud"),
            at=self.now,
            actor=self.actor,
            action=action,
            tenant_id=tenant_id or self.tenant_id,
            object_id=object_id,
            changes=compute_changes(_dump_fields(before), _dump_fields(after)),
            request_id=self.request_id,
        )
        await audit.record(connection, entry)
        return entry.id

    async def begin(
        self,
        connection: AsyncConnection,
        action: str,
        *,
        object_id: str,
        tenant_id: str | None = None,
        asked: Mapping[str, Any],
    ) -> "Underway":
        """Write the line of what takes many transactions, before the first of them."""
        after = {**asked, "finished": False}
        line = await self.record(
            connection, action, object_id=object_id, tenant_id=tenant_id, after=after
        )
        return Underway(line, asked)


@dataclass(frozen=True, slots=True)
class Underway:
    """The line of an act that takes many transactions: what was asked, and how far it has come.

    Where the process dies, `finished` stays false.
    """

    line: str
    asked: Mapping[str, Any]

    async def note(
        self, connection: AsyncConnection, *, finished: bool = False, **progress: object
    ) -> None:
        """Write how far it comes with this transaction."""
        after = _dump_fields({**self.asked, **progress, "finished": finished})
        await audit.amend(connection, entry_id=self.line, changes=compute_changes({}, after))


def with_secrets(value: Shown | Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields of a value, and the names of the secrets that were set with it."""
    fields = dict(value) if isinstance(value, Mapping) else dataclasses.asdict(value)
    return fields | {"secrets_set": sorted(names)}


def _dump_fields(value: Shown | Mapping[str, Any] | None) -> dict[str, Any]:
    if value is None:
        return {}
    fields = dict(value) if isinstance(value, Mapping) else dataclasses.asdict(value)
    if "scopes" in fields:  # a set has no order of its own
        fields["scopes"] = sorted(fields["scopes"])
    json_fields: dict[str, Any] = to_jsonable_python(fields)
    return json_fields
