"""Write an audit entry in the transaction of its change."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_jsonable_python
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit import Actor, AuditEntry, compute_changes
from app.domain.audit import request_id as current_request_id
from app.domain.ids import new_id
from app.domain.mime.dkim import SendingDomain
from app.domain.types import ApiKey, Profile, Suppression, Tenant
from app.domain.webhooks import Webhook
from app.store import audit

# What Heloise observes of a webhook. Nobody changes it, and an error may name a recipient.
_HEALTH: Final = frozenset({"failing_since", "last_error", "last_error_at", "waiting_since"})

AuditedObject = ApiKey | Profile | SendingDomain | Suppression | Tenant | Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditContext:
    """The actor, time and tenant of a change, for its audit entry."""

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
        before: AuditedObject | Mapping[str, Any] | None = None,
        after: AuditedObject | Mapping[str, Any] | None = None,
    ) -> str:
        """Write an audit entry, and return its id.

        `before` is None for a new object, `after` for a deleted one. Neither contains a secret: of
        a secret, the log says only whether it is set.
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
        parameters: Mapping[str, Any],
    ) -> "UnfinishedEntry":
        """Write the entry of an operation with many transactions, before the first of them."""
        after = {**parameters, "finished": False}
        entry_id = await self.record(
            connection, action, object_id=object_id, tenant_id=tenant_id, after=after
        )
        return UnfinishedEntry(entry_id, parameters)


@dataclass(frozen=True, slots=True)
class UnfinishedEntry:
    """The entry of an operation with many transactions: its parameters and its progress.

    `finished` stays false if the process dies.
    """

    entry_id: str
    parameters: Mapping[str, Any]

    async def update(
        self, connection: AsyncConnection, *, finished: bool = False, **progress: object
    ) -> None:
        """Record the progress of this transaction."""
        after = _dump_fields({**self.parameters, **progress, "finished": finished})
        await audit.amend(connection, entry_id=self.entry_id, changes=compute_changes({}, after))


def add_secret_names(value: AuditedObject | Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the fields of a value, plus the names of the secrets that are set with it."""
    return _get_fields(value) | {"secrets_set": sorted(names)}


def _get_fields(value: AuditedObject | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    fields = dataclasses.asdict(value)
    return {name: fields[name] for name in fields if name not in _HEALTH}


def _dump_fields(value: AuditedObject | Mapping[str, Any] | None) -> dict[str, Any]:
    if value is None:
        return {}
    fields = _get_fields(value)
    if "scopes" in fields:  # a set has no order
        fields["scopes"] = sorted(fields["scopes"])
    json_fields: dict[str, Any] = to_jsonable_python(fields)
    return json_fields
