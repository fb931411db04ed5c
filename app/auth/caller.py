"""Represent the caller: its tenant, its scopes and its profiles."""

from datetime import datetime

from app.accept.policy import SenderRule
from app.auth.audit import Act
from app.auth.reach import Found, Thing, reached, reaches, require_unbound
from app.domain.audit import Actor
from app.domain.errors import Forbidden
from app.domain.types import ApiKey, MessageSource, Origin, Scope, Tenant
from app.domain.value import frozen_dataclass


@frozen_dataclass
class Caller:
    """An authenticated caller that acts for a tenant. `key` is None for an admin.

    `message_source` is the way in by which it sends messages.
    """

    tenant: Tenant
    actor: Actor
    key: ApiKey | None = None
    message_source: MessageSource = MessageSource.API

    @property
    def tenant_id(self) -> str:
        """The tenant's id."""
        return self.tenant.id

    @property
    def origin(self) -> Origin:
        """The origin of the caller's messages."""
        key_id = f"admin:{self.actor.name}" if self.key is None else self.key.id
        return Origin(self.message_source, key_id)

    @property
    def profiles(self) -> tuple[str, ...] | None:
        """The ids of the profiles that the key is bound to; None for all profiles."""
        return (self.key.profiles or None) if self.key is not None else None

    @property
    def allowed_from(self) -> tuple[SenderRule, ...]:
        """Sender rules of tenant and key, in addition to the profile's."""
        of_tenant = SenderRule("This tenant", self.tenant.allowed_from)
        if self.key is None:
            return (of_tenant,)
        return (of_tenant, SenderRule("This key", self.key.allowed_from))

    def reaches(self, thing: Thing) -> bool:
        """Whether the key reaches an object of the tenant."""
        return reaches(self.key, thing)

    def reached(self, noun: str, name: str, found: Found | None) -> Found:
        """Return the object; raises NotFound if it is missing or out of reach."""
        return reached(self.key, noun, name, found)

    def require_unbound(self) -> None:
        """Raise Forbidden if the key is bound to profiles: the operation concerns all profiles."""
        require_unbound(self.key)

    def require_scope(self, scope: Scope) -> None:
        """Raise Forbidden if the key lacks the scope; an admin, who has no key, passes."""
        if self.key is None or self.key.has_scope(scope):
            return
        scopes = ", ".join(sorted(self.key.scopes)) or "none"
        raise Forbidden(
            "scope-missing",
            f"This key lacks the scope {scope}; it has {scopes}. Use a key with this scope.",
        )

    def act(self, now: datetime) -> Act:
        """The audit context of the request."""
        return Act(actor=self.actor, now=now, tenant_id=self.tenant_id)
