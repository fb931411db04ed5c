"""Hold a lane's configuration: a profile's revision and its SMTP identity."""

from dataclasses import dataclass, replace

from app.domain.errors import SealError
from app.domain.outcome.outcome import FailureScope, Outcome, Stage, Verdict
from app.domain.tenants.routing import EVERYBODY, Routing
from app.domain.types import Profile, RateLimit, Transport
from app.oauth.token_cache import AccessTokens
from app.smtp.identity import Identity, identity_of
from app.store.profiles.queries import DeliveryProfile
from app.store.profiles.rows import field_of
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import Vault


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """A profile, and the identity that it has on the wire.

    `tokens` gives access tokens to a profile with OAuth 2.0. A sandbox has no `identity`, nor has a
    profile whose credentials do not open, as `fault` says.
    """

    profile: Profile
    identity: Identity | None
    fault: Outcome | None = None
    tenant_rate_limit: RateLimit | None = None
    concurrency: int | None = None
    tokens: AccessTokens | None = None
    routing: Routing = EVERYBODY

    @property
    def has_rate_limit(self) -> bool:
        """Whether the profile or its tenant limits how fast messages go out."""
        return self.profile.rate_limit is not None or self.tenant_rate_limit is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneConfigFactory:
    """Makes lane configurations from profiles, and from what the service and the machine add.

    `routing` is the service's; each tenant adds its own rule. `hostname` is the machine's, whatever
    it is worth as a name.
    """

    vault: Vault
    service_ehlo_name: str | None
    hostname: str | None
    tokens: AccessTokens | None = None
    routing: Routing = EVERYBODY

    def make_config(self, delivery_profile: DeliveryProfile) -> LaneConfig:
        """Make the configuration of a lane, its credentials opened."""
        return replace(
            self._make_identity(delivery_profile),
            tenant_rate_limit=delivery_profile.tenant_rate_limit,
            concurrency=delivery_profile.concurrency,
            tokens=self.tokens,
            routing=self.routing.with_rule(delivery_profile.tenant_recipient_rule),
        )

    def _make_identity(self, delivery_profile: DeliveryProfile) -> LaneConfig:
        profile = delivery_profile.profile
        if profile.transport is Transport.SANDBOX:
            return LaneConfig(profile, None)
        try:
            password = self._open_credential(delivery_profile, "password")
            client_key = self._open_credential(delivery_profile, "client_key")
        except SealError as error:
            return LaneConfig(profile, None, _credentials_fault(error))
        identity = identity_of(
            profile,
            password=password,
            client_key=client_key,
            tenant_ehlo_name=delivery_profile.tenant_ehlo_name,
            service_ehlo_name=self.service_ehlo_name,
            hostname=self.hostname,
        )
        return LaneConfig(profile, identity)

    def _open_credential(self, delivery_profile: DeliveryProfile, field: str) -> str | None:
        sealed = delivery_profile.sealed.get(f"sealed_{field}")
        if sealed is None:
            return None
        return self.vault.open(sealed, profile_secret(delivery_profile.profile, field))

    def is_stale(self, delivery_profile: DeliveryProfile) -> bool:
        """Whether a credential is sealed under a key that is not the newest."""
        return any(
            not self.vault.is_current(
                sealed, profile_secret(delivery_profile.profile, field_of(name))
            )
            for name, sealed in delivery_profile.sealed.items()
            if sealed is not None
        )


def _credentials_fault(error: SealError) -> Outcome:
    return Outcome(
        Stage.AUTH,
        Verdict.DEFER,
        "credentials_unreadable",
        scope=FailureScope.PROFILE,
        detail=str(error),
    )
