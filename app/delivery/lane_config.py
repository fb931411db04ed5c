"""Hold a lane's configuration: a profile's revision and its SMTP identity."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from app.domain.ehlo import EhloNames
from app.domain.errors import SealError
from app.domain.outcome.outcome import FailureScope, Outcome, Stage, Verdict
from app.domain.tenants.routing import NO_RULES, Routing
from app.domain.types import Profile, RateLimit, Transport
from app.oauth.token_cache import AccessTokens
from app.smtp.identity import NO_NAMES, Identity, make_identity
from app.store.profiles.queries import DeliveryProfile
from app.store.profiles.rows import secret_field
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import Vault

UNREADABLE: Final = Outcome(
    Stage.AUTH, Verdict.DEFER, "credentials_unreadable", scope=FailureScope.PROFILE
)


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """A profile and its SMTP identity.

    `tokens` gives access tokens to a profile with OAuth 2.0. A sandbox has no `identity`, nor has a
    profile whose credentials do not open, as `fault` says.
    """

    profile: Profile
    identity: Identity | None
    fault: Outcome | None = None
    tenant_rate_limit: RateLimit | None = None
    concurrency: int | None = None
    tokens: AccessTokens | None = None
    routing: Routing = NO_RULES

    @property
    def has_limits(self) -> bool:
        """Whether each message needs permits: of the profile, its destinations or its tenant."""
        return (
            self.profile.rate_limit is not None
            or self.tenant_rate_limit is not None
            or self.profile.has_destination_limits
        )

    @property
    def connection_limits(self) -> Mapping[int, int]:
        """The destinations that limit connections, by number, and their limits."""
        return {
            destination.number: min(destination.max_connections, self.profile.max_connections)
            for destination in self.profile.destinations
            if destination.max_connections is not None
        }

    @property
    def recipient_limits(self) -> Mapping[int, int]:
        """The destinations that limit the recipients of a transaction, and their limits."""
        return {
            destination.number: destination.max_recipients_per_message
            for destination in self.profile.destinations
            if destination.max_recipients_per_message is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneConfigFactory:
    """Makes lane configurations from profiles and the service's settings.

    `routing` and `ehlo_names` are the service's; each tenant adds its own rule and name.
    """

    vault: Vault
    ehlo_names: EhloNames = NO_NAMES
    tokens: AccessTokens | None = None
    routing: Routing = NO_RULES

    def make_config(self, delivery_profile: DeliveryProfile) -> LaneConfig:
        """Make the configuration of a lane, with decrypted credentials."""
        profile, identity, fault = delivery_profile.profile, None, None
        if profile.transport is not Transport.SANDBOX:
            names = delivery_profile.ehlo_names(self.ehlo_names)
            try:
                secrets = delivery_profile.open_secrets(self.vault.open)
                identity = make_identity(profile, secrets, names)
            except SealError as error:
                fault = replace(UNREADABLE, detail=str(error))
        return LaneConfig(
            profile,
            identity,
            fault,
            tenant_rate_limit=delivery_profile.tenant_rate_limit,
            concurrency=delivery_profile.concurrency,
            tokens=self.tokens,
            routing=self.routing.with_rule(delivery_profile.tenant_recipient_rule),
        )

    def is_stale(self, delivery_profile: DeliveryProfile) -> bool:
        """Whether a credential is sealed under a key that is not the newest."""
        return any(
            not self.vault.is_current(
                sealed, profile_secret(delivery_profile.profile, secret_field(name))
            )
            for name, sealed in delivery_profile.sealed.items()
            if sealed is not None
        )
