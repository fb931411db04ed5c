"""Define the JSON of profiles in requests, and validate it."""

from collections.abc import Collection
from typing import Annotated, Final, Self

from pydantic import Field, StrictBool, model_validator

from app.api.http.fields import Address, EhloName, Patch, RequestModel
from app.api.profiles import fields
from app.api.profiles.auth_schemas import PLAINTEXT_MECHANISMS, Auth, AuthUpdate, check_auth
from app.api.profiles.destination_schemas import Destinations, Ramp, RampUpdate
from app.api.profiles.pem import check_pair
from app.api.profiles.rate_limit_schemas import RateLimit, RateLimitUpdate
from app.domain.address.parse import is_allowed
from app.domain.errors import FieldError
from app.domain.types import AuthMechanism, RetryPolicy, TlsMode, Transport
from app.domain.types import Timeouts as TimeoutDefaults

TLS: Final = (
    "`starttls` (required), `implicit` (TLS from the first byte), `opportunistic` (TLS if offered,"
    " certificate not verified), `none`."
)
EHLO: Final = (
    "The name that Heloise sends in EHLO: a fully qualified domain name, or an address literal"
    " such as `[192.0.2.1]`. Default: the tenant's or the service's; see `effective_ehlo`."
)
Tls = Annotated[TlsMode, Field(description=TLS)]
Ehlo = Annotated[EhloName | None, Field(description=EHLO)]
Fallback = Annotated[
    fields.ProfileRef,
    Field(
        description="Another profile of the tenant, by id or name. After this profile has failed"
        " for `fallback_after_seconds`, due messages go out through the other one, with its EHLO"
        " name and credentials, except those that this profile's server may have accepted. Heloise"
        " does not check the other profile's `allowed_from`: if you set it here, you allow the"
        " senders."
    ),
]
DEFAULTS: Final = TimeoutDefaults()
RETRY: Final = RetryPolicy()


class Timeouts(RequestModel):
    """Timeouts in seconds.

    RFC 5321 section 4.5.3.2 recommends 2 to 5 minutes for a command and 10 for a message. A shorter
    command timeout only costs a connection; a shorter message timeout sends mail twice.
    """

    connect: fields.Seconds = Field(DEFAULTS.connect, description="For connecting, TLS included.")
    command: fields.Seconds = Field(DEFAULTS.command, description="For the reply to a command.")
    data: fields.Seconds = Field(DEFAULTS.data, description="For the reply to a whole message.")


class TimeoutsUpdate(Patch, of=Timeouts):
    """Changes to the timeouts."""


class Retry(RequestModel):
    """When to retry a recipient after a temporary failure."""

    first_seconds: fields.RetrySeconds = Field(
        RETRY.first_seconds, description="The maximum wait after the first failure."
    )
    factor: fields.RetryFactor = Field(
        RETRY.factor, description="The factor by which the maximum wait grows with each failure."
    )
    cap_seconds: fields.RetrySeconds = Field(
        RETRY.cap_seconds,
        description="The upper limit of the maximum wait. Each wait is random between zero and the"
        " maximum, so that messages that failed together spread out.",
    )
    max_age_seconds: fields.MaxAge | None = Field(
        default=None, description="The age at which a message expires. Default: the service's."
    )
    max_unknown_outcomes: fields.UnknownOutcomes = Field(
        RETRY.max_unknown_outcomes,
        description="How often Heloise sends to a recipient if it loses the server's reply each"
        " time: each message may have arrived. Then the recipient becomes `uncertain`, whatever"
        " the `guarantee`, and waits for `POST /messages/{id}/resolve`.",
    )


class RetryUpdate(Patch, of=Retry):
    """Changes to the retries."""


class ProfileCreate(RequestModel):
    """A new profile."""

    name: fields.Name
    transport: Transport = Field(
        Transport.SMTP, description="`sandbox` accepts every message and sends none."
    )
    host: fields.Host | None = None
    port: fields.Port = 587
    tls: Tls = TlsMode.STARTTLS
    tls_ca: fields.Certificates | None = Field(
        default=None,
        description="Certificates (PEM) to trust instead of the public authorities.",
    )
    client_certificate: fields.Certificates | None = Field(
        default=None, description="The client certificate (PEM), chain included."
    )
    client_key: fields.ClientKey | None = Field(
        default=None,
        description="The private key of the client certificate (PEM). Write-only:"
        " stored encrypted.",
    )
    tls_min_version: fields.TlsVersion = "1.2"
    tls_server_name: fields.ServerName | None = None
    tls_pins: fields.Pins = Field(default_factory=list)
    ehlo_name: Ehlo = None
    source_address: fields.SourceAddress | None = None
    auth: Auth = Field(default_factory=Auth)
    default_from: Address | None = Field(
        default=None, description="The sender of messages without `from`."
    )
    allowed_from: fields.Patterns = Field(default_factory=list)
    max_connections: fields.Connections = Field(
        10,
        description="The maximum number of connections, over all workers. While all are silent for"
        " more than 30 seconds, Heloise tries one more.",
    )
    max_messages_per_connection: fields.MessagesPerConnection = 1000
    rate_limit: RateLimit | None = None
    ramp: Ramp | None = None
    destinations: Destinations = Field(default_factory=list)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    retry: Retry = Field(default_factory=Retry)
    fallback_profile: Fallback | None = None
    fallback_after_seconds: fields.FallbackAfter = 600
    is_default: StrictBool = Field(
        default=False,
        description="Whether this profile sends messages without `profile`. A tenant's first"
        " profile becomes its default.",
    )

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if self.client_certificate is not None and self.client_key is not None:
            check_pair(self.client_certificate, self.client_key)
        return self


def find_contradictions(body: ProfileCreate, *, secret_names: Collection[str]) -> list[FieldError]:
    """Return errors between fields that are valid by themselves.

    `secret_names` includes stored secrets.
    """
    auth, errors = body.auth, list[FieldError]()

    def report_error(*loc: str, msg: str) -> None:
        errors.append(FieldError(("body", *loc), msg))

    if body.transport is Transport.SMTP and body.host is None:
        report_error("host", msg="set the SMTP server (only transport=sandbox needs none)")
    check_auth(auth, secret_names, lambda name, msg: report_error("auth", name, msg=msg))
    in_clear = body.tls is TlsMode.NONE and auth.mechanism in PLAINTEXT_MECHANISMS
    if in_clear and not auth.allow_plaintext_auth:
        secret = "access token" if auth.mechanism is AuthMechanism.OAUTH2 else "password"
        msg = (
            f"with tls=none, the {secret} would travel unencrypted; use tls=starttls or"
            " tls=implicit"
        )
        report_error("auth", "allow_plaintext_auth", msg=f"{msg}, or set this to true")
    if body.tls is TlsMode.NONE and body.tls_pins:
        msg = "tls=none has no key to pin; use tls=starttls or tls=implicit, or remove the pins"
        report_error("tls_pins", msg=msg)
    if "client_key" in secret_names and body.client_certificate is None:
        report_error("client_certificate", msg="set the certificate of client_key")
    if body.client_certificate is not None and "client_key" not in secret_names:
        report_error("client_key", msg="set the private key of client_certificate")
    if body.default_from is not None and not is_allowed(body.default_from, body.allowed_from):
        report_error("default_from", msg="allowed_from does not allow this address; add it there")
    return errors


class ProfileUpdate(Patch, of=ProfileCreate):
    """Changes to a profile (RFC 7396). Omitted fields stay; null removes a value."""

    client_key: fields.ClientKey | None = None
    auth: AuthUpdate | None = None
    rate_limit: RateLimitUpdate | None = None
    ramp: RampUpdate | None = None
    timeouts: TimeoutsUpdate | None = None
    retry: RetryUpdate | None = None
