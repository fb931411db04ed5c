"""Represent the caller: its tenant, its scopes and its profiles."""

from datetime import datetime

from app.accept.policy import SenderRule
from app.auth.audit_context import AuditContext
from app.auth.reach import Object, TenantObject, can_reach, require_reachable, require_unbound
from app.domain.audit import Actor, request_id
from app.domain.errors import Forbidden
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.trace_context import traceparent
from app.domain.types import ApiKey, MessageSource, Origin, Scope, Tenant


@frozen_dataclass
class Caller:
    """An authenticated caller that acts for a tenant. `key` is None for an admin.

    `message_source` is the protocol of its messages, and `client_address` the IP address to store
    with them.
    """

    tenant: Tenant
    actor: Actor
    key: ApiKey | None = None
    message_source: MessageSource = MessageSource.API
    client_address: str | None = None

    @property
    def tenant_id(self) -> str:
        return self.tenant.id

    @property
    def origin(self) -> Origin:
        sender_id = self.actor.id or f"admin:{self.actor.name}"
        return Origin(
            self.message_source,
            sender_id,
            request_id.get(),
            traceparent.get(),
            self.client_address,
        )

    @property
    def profiles(self) -> tuple[str, ...] | None:
        """Return the ids of the profiles that the key is bound to; None for all profiles."""
        return (self.key.profiles or None) if self.key is not None else None

    @property
    def allowed_from(self) -> tuple[SenderRule, ...]:
        """Return the sender rules of tenant and key, which apply besides the profile's."""
        tenant_rule = SenderRule("This tenant", self.tenant.allowed_from)
        if self.key is None:
            return (tenant_rule,)
        return (tenant_rule, SenderRule("This key", self.key.allowed_from))

    def can_reach(self, value: TenantObject) -> bool:
        return can_reach(self.key, value)

    def require_reachable(self, noun: str, name: str, value: Object | None) -> Object:
        return require_reachable(self.key, noun, name, value)

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

    def audit_context(self, now: datetime) -> AuditContext:
        return AuditContext(actor=self.actor, now=now, tenant_id=self.tenant_id)
