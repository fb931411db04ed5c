"""Define audit log entries: actor, action and changes."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from app.domain.frozen_dataclass import frozen_dataclass

# The value before and after; one of them is null if the object was created or deleted.
Changes = Mapping[str, tuple[Any, Any]]
ALWAYS_CHANGED: Final = frozenset({"updated_at", "revision"})
# The current request's, for answers, log lines and audit entries.
request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)


class ActorKind(StrEnum):
    """How the actor was authenticated."""

    ADMIN = "admin"
    KEY = "key"
    PERSON = "person"
    COMMAND_LINE = "command_line"
    UNKNOWN = "unknown"


@frozen_dataclass
class Actor:
    """Who acts: a key, an admin key, a person or a user at a shell, by name.

    `id` is that of the key, or of a person's session of the console. `source` is the IP address, or
    the machine of the shell. For an unknown actor, `name` is the hint of the presented key, if it
    looked like one.
    """

    kind: ActorKind
    id: str | None = None
    name: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An entry of the audit log; `refused_as` is the problem's slug after a refusal."""

    id: str
    at: datetime
    actor: Actor
    action: str
    tenant_id: str | None = None
    object_id: str | None = None
    refused_as: str | None = None
    changes: Changes = field(default_factory=dict)
    request_id: str | None = None


def compute_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """Return the fields that differ; for a new object, all its fields."""
    names = [name for name in {**before, **after} if name not in ALWAYS_CHANGED]
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
