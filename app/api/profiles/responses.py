"""Define the JSON of profiles in responses, without secrets."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Self

from pydantic import Field

from app.api.http.fields import ResponseModel
from app.api.http.pagination import Page
from app.api.profiles.destination_schemas import DestinationRead, RampRead
from app.api.profiles.examples import PROFILE
from app.api.profiles.rate_limit_schemas import RateLimitRead
from app.auth.reach import can_reach
from app.domain.address.parse import format_named_address
from app.domain.delivery.destination_limit import DestinationLimit
from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.delivery.waiting import describe_fault
from app.domain.ehlo import EffectiveEhlo, EhloSource
from app.domain.types import (
    ApiKey,
    AuthMechanism,
    LaneHealth,
    OAuth,
    OAuthGrant,
    Profile,
    ProfileState,
    TlsMode,
    Transport,
    profile_state,
)


class AuthRead(ResponseModel):
    """SMTP authentication, without secrets."""

    mechanism: AuthMechanism
    username: str | None
    has_password: bool
    allow_plaintext_auth: bool
    grant: OAuthGrant | None = Field(description="The OAuth grant.")
    token_url: str | None
    client_id: str | None
    scope: str | None
    subject: str | None
    has_client_secret: bool
    has_private_key: bool
    has_refresh_token: bool

    @classmethod
    def of(cls, profile: Profile) -> Self:
        return cls(
            mechanism=profile.auth_mechanism,
            username=profile.username,
            has_password=profile.has_password,
            allow_plaintext_auth=profile.allow_plaintext_auth,
            **{field.name: getattr(profile.oauth, field.name, None) for field in fields(OAuth)},
            has_client_secret=profile.has_oauth_client_secret,
            has_private_key=profile.has_oauth_private_key,
            has_refresh_token=profile.has_oauth_refresh_token,
        )


class TimeoutsRead(ResponseModel):
    """Timeouts in seconds."""

    connect: float
    command: float
    data: float


class RetryRead(ResponseModel):
    """When Heloise retries a recipient after a temporary failure, in seconds."""

    first_seconds: float
    factor: float
    cap_seconds: float
    max_age_seconds: int | None
    max_unknown_outcomes: int


class EffectiveEhloRead(ResponseModel):
    """The EHLO name that Heloise uses."""

    name: str
    source: EhloSource = Field(description="Where the name comes from.")
    warnings: list[str] = Field(description="Reasons for which a server may refuse the name.")


class ProfileRead(ResponseModel, json_schema_extra={"examples": [PROFILE]}):
    """A profile, without its secrets."""

    id: str
    name: str
    transport: Transport
    host: str | None
    port: int
    tls: TlsMode
    tls_ca: str | None
    client_certificate: str | None
    has_client_key: bool
    tls_min_version: str
    tls_server_name: str | None
    tls_pins: list[str]
    ehlo_name: str | None
    effective_ehlo: EffectiveEhloRead
    source_address: str | None
    auth: AuthRead
    default_from: str | None
    allowed_from: list[str]
    max_connections: int
    max_messages_per_connection: int
    concurrency: int = Field(
        description="The number of connections that the server currently handles well. Heloise"
        " lowers it when the server throttles, and raises it up to `max_connections` after"
        " successes."
    )
    rate_limit: RateLimitRead | None
    available: int | None = Field(
        description="How many messages or recipients `rate_limit` allows at once now. Null: no"
        " limit."
    )
    ramp: RampRead | None
    destinations: list[DestinationRead]
    timeouts: TimeoutsRead
    retry: RetryRead
    fallback_profile: str | None = Field(
        description="The id of the fallback profile. Null also if your key does not reach that"
        " profile."
    )
    fallback_after_seconds: int
    is_default: bool
    state: ProfileState = Field(
        description="`paused`: you paused it. `failing`: the profile does not work; its messages"
        " wait and use up no attempts. `stalled`: the server is silent on every connection;"
        " Heloise tries one more and continues if that one gets replies."
    )
    paused_at: datetime | None
    failing_since: datetime | None
    stalled_since: datetime | None = Field(
        description="Since when the server has been silent on every connection, each for more than"
        " 30 seconds."
    )
    failing_code: str | None = Field(description="A stable code of the fault.")
    reason: str | None = Field(
        description="What is wrong, with the server's reply if there was one."
    )
    next_probe_at: datetime | None = Field(description="When Heloise tries the server again.")
    recommended_ehlo_name: str | None = Field(
        description="An EHLO name that the server accepts, if verify found one."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(
        cls,
        profile: Profile,
        health: LaneHealth,
        limits: Mapping[int, DestinationLimit],
        now: datetime,
        ehlo: EffectiveEhlo,
        *,
        available: int | None = None,
        caller_key: ApiKey | None = None,
    ) -> Self:
        """Build from a profile and what is left of its limits, as the key may see it."""
        fallback, sender = profile.fallback_profile_id, profile.default_from
        return cls.build(
            profile,
            health,
            effective_ehlo=ehlo,
            auth=AuthRead.of(profile),
            available=available,
            ramp=RampRead.of(limits[NO_DESTINATION], now) if profile.ramp else None,
            destinations=[
                DestinationRead.of(destination, limits[destination.number], now)
                for destination in profile.destinations
            ],
            default_from=format_named_address(sender) if sender else None,
            concurrency=min(health.concurrency or profile.max_connections, profile.max_connections),
            fallback_profile=fallback if fallback and can_reach(caller_key, fallback) else None,
            state=profile_state(profile.paused_at, health),
            failing_code=health.code,
            reason=describe_fault(health),
            recommended_ehlo_name=health.recommendation and health.recommendation.name,
        )


class ProfilePage(Page[ProfileRead]):
    """A page of profiles, oldest first."""
