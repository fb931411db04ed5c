"""Define the SMTP identity: all that two connections must have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from app.domain.ehlo import EffectiveEhlo, EhloNames, effective_ehlo
from app.domain.outcome.outcome import Failure
from app.domain.types import AuthMechanism, Profile, SmtpServer, Timeouts, TlsMode
from app.smtp.certificate_details import Certificate

NO_NAMES: Final = EhloNames()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(SmtpServer):
    """Everything that makes a connection this profile's and no other's (invariant 8).

    It is the pool's key: change one field and the old connections are no longer used. `repr`
    shows no secret. `token_revision` is the profile's, where its access tokens are asked for by
    what was set then.
    """

    profile_id: str
    host: str
    client_certificate: str | None = None
    client_key: str | None = field(default=None, repr=False)
    ehlo_names: EhloNames = NO_NAMES
    source_address: str | None = None
    mechanism: AuthMechanism = AuthMechanism.AUTO
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    allow_plaintext_auth: bool = False
    token_revision: int | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)

    def ehlo(self, local_address: str) -> EffectiveEhlo:
        """The name to greet with through a socket that is bound to `local_address`."""
        return effective_ehlo(self.ehlo_names, local_address)

    @property
    def server_name(self) -> str:
        """The name for SNI and for certificate verification."""
        return self.tls_server_name or self.host

    @property
    def requires_starttls(self) -> bool:
        """Whether a server that does not offer it gets nothing: in clear no key can be pinned."""
        is_pinned = self.tls is TlsMode.OPPORTUNISTIC and bool(self.tls_pins)
        return self.tls is TlsMode.STARTTLS or is_pinned

    @property
    def wants_auth(self) -> bool:
        """Whether the profile must log in before sending."""
        return self.username is not None and self.mechanism is not AuthMechanism.NONE


_OF_PROFILE: Final = {field.name for field in fields(Profile)} & {
    field.name for field in fields(Identity)
}


def make_identity(profile: Profile, secrets: Mapping[str, str], ehlo_names: EhloNames) -> Identity:
    """Build a profile's identity; `secrets` are its decrypted `password` and `client_key`."""
    values = {name: getattr(profile, name) for name in _OF_PROFILE}
    return Identity(
        **values | {"host": profile.host or ""},
        profile_id=profile.id,
        client_key=secrets.get("client_key"),
        ehlo_names=ehlo_names,
        mechanism=profile.auth_mechanism,
        password=secrets.get("password"),
        token_revision=None if profile.oauth is None else profile.revision,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFacts:
    """What is known of a connection so far; None for what it has not reached.

    `greetings` are the texts of the EHLO replies, before and after TLS. `refused_names` are the
    EHLO names that the server refused. `certificate_chain` is the chain that the server sent, in
    DER.
    """

    host: str | None = None
    port: int | None = None
    local_address: str | None = None
    remote_address: str | None = None
    banner: str | None = None
    greetings: tuple[str, ...] = ()
    refused_names: tuple[tuple[str, Failure], ...] = ()
    ehlo_name: str | None = None
    ehlo_source: str | None = None
    tls_version: str | None = None
    tls_cipher: str | None = None
    auth_offered: tuple[str, ...] = ()
    auth_mechanism: str | None = None
    certificate_chain: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def certificate(self) -> Certificate | None:
        """The server's certificate, parsed on each access."""
        return Certificate.from_chain(self.certificate_chain)
