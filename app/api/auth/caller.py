"""Represent the caller: its tenant, its scopes and its profiles."""

from app.accept.policy import SenderRule
from app.api.auth.audit import Act
from app.api.auth.reach import Found, Thing, reached, reaches, require_unbound
from app.api.http.request_id import request_id
from app.api.services import Services
from app.domain.audit import Actor
from app.domain.types import ApiKey, Tenant
from app.domain.value import value


@value
class Caller:
    """Somebody who may do what he asks for with a tenant's things; `key` is None for an admin."""

    tenant: Tenant
    actor: Actor
    key: ApiKey | None = None

    @property
    def tenant_id(self) -> str:
        """The tenant's id."""
        return self.tenant.id

    @property
    def profiles(self) -> tuple[str, ...] | None:
        """The ids of the profiles that he is bound to; None where he is not."""
        return (self.key.profiles or None) if self.key is not None else None

    @property
    def allowed_from(self) -> tuple[SenderRule, ...]:
        """What a sender has to match beside the profile's own patterns."""
        of_tenant = SenderRule("This tenant", self.tenant.allowed_from)
        if self.key is None:
            return (of_tenant,)
        return (of_tenant, SenderRule("This key", self.key.allowed_from))

    def reaches(self, thing: Thing) -> bool:
        """Whether he may refer to something of the tenant."""
        return reaches(self.key, thing)

    def reached(self, noun: str, name: str, found: Found | None) -> Found:
        """What was found by this name; raises NotFound where it is nothing, or out of reach."""
        return reached(self.key, noun, name, found)

    def require_unbound(self) -> None:
        """Raise Forbidden where he is bound to profiles: what he asks for is about all of them."""
        require_unbound(self.key)

    def act(self, services: Services) -> Act:
        """What the audit log is told with a change."""
        return act_of(self.actor, services)


def act_of(actor: Actor, services: Services) -> Act:
    """Somebody who changes something by the request that is being answered."""
    return Act(actor=actor, now=services.now(), request_id=request_id.get())
