"""Who asks, for which tenant, and how far their key reaches."""

from fastapi import Request

from app.accept.allowed import SenderRule
from app.api.auditing import Act
from app.api.request_ids import request_id
from app.api.state import Services
from app.domain.audit import Actor
from app.domain.errors import Forbidden, NotFound
from app.domain.types import ApiKey, Profile, Tenant
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

    def may_use(self, profile_id: str) -> bool:
        """Whether this profile is within reach."""
        return self.profiles is None or profile_id in self.profiles

    def require(self, profile: Profile) -> Profile:
        """The profile; raises NotFound where it is out of reach, as if it were not there."""
        if not self.may_use(profile.id):
            raise NotFound("profile", profile.name)
        return profile

    def require_unbound(self) -> None:
        """Raise Forbidden where he is bound to profiles: what he asks for is about all of them."""
        if self.profiles is not None:
            raise Forbidden(
                "key-is-bound", "This key is bound to profiles, and this is about all of them."
            )

    def act(self, services: Services) -> Act:
        """What the audit log is told with a change."""
        return act_of(self.actor, services)


def act_of(actor: Actor, services: Services) -> Act:
    """Somebody who changes something by the request that is being answered."""
    return Act(actor=actor, now=services.now(), request_id=request_id.get())


def source_of(request: Request) -> str | None:
    """The address that a request came from: the client's, where a trusted proxy told it."""
    return request.client.host if request.client is not None else None
