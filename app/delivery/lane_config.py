"""Hold a lane's configuration: a profile's revision and its SMTP identity."""

from dataclasses import dataclass, replace

from app.domain.errors import SealError
from app.domain.outcome.outcome import Blast, Outcome, Stage, Verdict
from app.domain.tenants.routing import EVERYBODY, Routing
from app.domain.types import Profile, RateLimit, Transport
from app.oauth.access_tokens import AccessTokens
from app.smtp.identity import Identity, identity_of
from app.store.profiles.queries import DeliveryProfile
from app.store.profiles.rows import field_of
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import Vault


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """The profile, and who speaks to its server.

    `tokens` gives a profile that logs in by OAuth 2.0 what it logs in with. `identity` is None
    where there is none: for a sandbox, and where the credentials do not open, which `fault` says.
    """

    profile: Profile
    identity: Identity | None
    fault: Outcome | None = None
    tenant_rate_limit: RateLimit | None = None
    concurrency: int | None = None
    tokens: AccessTokens | None = None
    routing: Routing = EVERYBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMaker:
    """Makes identities: what the machine and the service add to every profile's own.

    `routing` is the service's, beside which each tenant has its own rule. `hostname` is the
    machine's, whatever it is worth as a name.
    """

    vault: Vault
    service_ehlo_name: str | None
    hostname: str | None
    tokens: AccessTokens | None = None
    routing: Routing = EVERYBODY

    def config(self, found: DeliveryProfile) -> LaneConfig:
        """The configuration of a lane, its credentials opened."""
        return replace(
            self._config(found),
            tenant_rate_limit=found.tenant_rate_limit,
            concurrency=found.concurrency,
            tokens=self.tokens,
            routing=self.routing.with_rule(found.tenant_recipient_rule),
        )

    def _config(self, found: DeliveryProfile) -> LaneConfig:
        profile = found.profile
        if profile.transport is Transport.SANDBOX:
            return LaneConfig(profile, None)
        try:
            password = self._opened(found, "password")
            client_key = self._opened(found, "client_key")
        except SealError as error:
            return LaneConfig(profile, None, _unopened(error))
        identity = identity_of(
            profile,
            password=password,
            client_key=client_key,
            tenant_ehlo_name=found.tenant_ehlo_name,
            service_ehlo_name=self.service_ehlo_name,
            hostname=self.hostname,
        )
        return LaneConfig(profile, identity)

    def _opened(self, found: DeliveryProfile, field: str) -> str | None:
        sealed = found.sealed.get(f"sealed_{field}")
        if sealed is None:
            return None
        return self.vault.open(sealed, profile_secret(found.profile, field))

    def is_stale(self, found: DeliveryProfile) -> bool:
        """Whether a credential is sealed under a key that is not the newest."""
        held = {name: sealed for name, sealed in found.sealed.items() if sealed is not None}
        return any(
            not self.vault.is_current(sealed, profile_secret(found.profile, field_of(name)))
            for name, sealed in held.items()
        )


def _unopened(error: SealError) -> Outcome:
    return Outcome(
        Stage.AUTH,
        Verdict.DEFER,
        "credentials_unreadable",
        blast=Blast.PROFILE,
        detail=str(error),
    )
