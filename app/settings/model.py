"""The settings as one checked model, and what can be said of each field."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin

from pydantic import DirectoryPath, Field, FilePath
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from app.domain.errors import SettingsError
from app.domain.networks import AddressGuard
from app.domain.retention import Retention
from app.domain.routing import RecipientRule, Routing
from app.domain.secret_keys import parse_key
from app.settings.checks import (
    LOWER,
    AdminKey,
    Command,
    DatabaseUrl,
    DnsServers,
    EhloName,
    MailAddress,
    MailDomain,
    MailDomains,
    Networks,
    Ports,
    SecretKeys,
    Token,
    parse_admin_keys,
    parse_domains,
    parse_networks,
    parse_ports,
    parse_servers,
)
from app.settings.key_command import printed_keys

PREFIX: Final = "HELOISE_"
SECRETS_DIR: Final = Path("/run/secrets")
A_FILE: Final = "a file that exists"
NETWORKS: Final = "networks or addresses such as 10.0.0.0/8,192.0.2.1,2001:db8::/32"


@dataclass(frozen=True, slots=True)
class About:
    """What a setting's type does not say: unit, what to write, whether its value is secret."""

    unit: str = ""
    expects: str = ""
    is_secret: bool = False


class Settings(BaseSettings):
    """The settings, checked.

    Precedence: arguments, environment, `.env`, files in the secrets folder, default. A value that
    is empty in the environment or in `.env` counts as not given.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: Annotated[
        DatabaseUrl,
        About(
            expects="sqlite:///file.db or postgresql://user:password@host/database",
            is_secret=True,
        ),
    ] = Field(
        "sqlite:///heloise.db",
        validate_default=False,  # a check would import SQLAlchemy
        description="The database that holds everything, the queue too.",
    )
    secret_keys: Annotated[
        SecretKeys,
        About(
            expects="one or more keys of 32 bytes in base64, newest first, separated by commas or"
            " line ends (make one with `heloise secret-key`)",
            is_secret=True,
        ),
    ] = Field(
        (),
        description="The keys that seal stored credentials: the first one seals, all of them open."
        " `serve` and `worker` need one.",
    )
    secret_keys_command: Annotated[
        Command | None, About(expects="a command with its arguments, as a shell would split them")
    ] = Field(
        None,
        description="What prints such keys, as from a KMS, when a process starts: they come before"
        " those of HELOISE_SECRET_KEYS. It is run without a shell and has 30 seconds.",
    )
    admin_key: Annotated[
        AdminKey | None,
        About(
            expects="at least 32 characters of ASCII without spaces, commas or colons (make one"
            " with `heloise secret-key`), or several as name:key,name:key",
            is_secret=True,
        ),
    ] = Field(
        None,
        description="The key that manages tenants over HTTP, or one for each who does, by name:"
        " the audit log tells them apart. Left out, no key does.",
    )
    root_path: Annotated[
        str, About(expects="nothing, or a path such as /mail, without a slash at its end")
    ] = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="The path under which a reverse proxy publishes the API. Requests may come with"
        " it or without it; the paths in answers, /docs and the OpenAPI document begin with it.",
    )
    admin_prefix: Annotated[
        str, About(expects="nothing, or a path such as /admin, without a slash at its end")
    ] = Field(
        "",
        pattern=r"^(/[a-z0-9-]+)*$",
        description="The path under which tenants and their keys are managed, so that a proxy can"
        " keep it inside.",
    )
    metrics_token: Annotated[
        Token | None,
        About(
            expects="at least 32 characters of ASCII without spaces (make one with `heloise"
            " secret-key`)",
            is_secret=True,
        ),
    ] = Field(
        None,
        description="What `/metrics` asks for, as `Authorization: Bearer <token>`. Left out,"
        " whoever reaches the port reads them.",
    )
    auth_failures_per_minute: Annotated[int, About(unit="times")] = Field(
        20,
        ge=1,
        le=10_000,
        description="How often an address may send keys that open nothing in a minute. Keys that"
        " open something are never refused for that.",
    )
    trusted_proxies: Annotated[Networks, About(expects=NETWORKS)] = Field(
        "",
        description="The proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
    )
    audit_retention_days: Annotated[int, About(unit="days")] = Field(
        365, ge=1, le=36500, description="How long the audit log is kept."
    )
    event_retention_days: Annotated[int, About(unit="days")] = Field(
        30, ge=1, le=36500, description="How long events are kept, and what webhooks said to them."
    )
    content_retention_days: Annotated[int, About(unit="days")] = Field(
        30,
        ge=1,
        le=36500,
        description="How long after acceptance the content of a finished message is kept.",
    )
    recipient_retention_days: Annotated[int | None, About(unit="days")] = Field(
        None,
        ge=1,
        le=36500,
        description="How long the addresses of its recipients are; left out, as long as it.",
    )
    attempt_retention_days: Annotated[int | None, About(unit="days")] = Field(
        None, ge=1, le=36500, description="How long its attempts are; left out, as long as it."
    )
    message_retention_days: Annotated[int, About(unit="days")] = Field(
        365, ge=1, le=36500, description="How long what became of it is, with all of these."
    )
    redirect_all_to: Annotated[
        MailAddress | None, About(expects="an address such as staging@example.com")
    ] = Field(
        None,
        description="Who gets what is for everybody else, on an installation for tests: all of it,"
        " or all that is not for HELOISE_ALLOWED_RECIPIENT_DOMAINS.",
    )
    allowed_recipient_domains: Annotated[
        MailDomains, About(expects="domains such as example.com,*.example.com")
    ] = Field(
        "",
        description="The domains that are sent to; left out, all. Others are refused, or go to"
        " HELOISE_REDIRECT_ALL_TO.",
    )
    simulator_domain: Annotated[
        MailDomain, About(expects="a domain that is nobody's, such as simulator.test")
    ] = Field(
        "simulator.heloise.test",
        description="Where success@, bounce@, defer@ and uncertain@ go each their way without a"
        " server.",
    )
    ehlo_name: Annotated[
        EhloName | None,
        About(expects="a qualified host name such as mail.example.com, or [192.0.2.1]"),
    ] = Field(
        None, description="The EHLO name where neither the profile nor its tenant sets its own."
    )
    allow_private_hosts: bool = Field(
        default=False,
        description="Whether profiles may name servers at private and loopback addresses. A cloud's"
        " own services stay closed.",
    )
    allowed_networks: Annotated[Networks, About(expects=NETWORKS)] = Field(
        "",
        description="The networks that profiles may name servers in though they are not public."
        " An address of a cloud's own services, such as 169.254.169.254, has to be named itself.",
    )
    denied_networks: Annotated[Networks, About(expects=NETWORKS)] = Field(
        "",
        description="The networks that nothing is ever connected to in, whatever else is allowed.",
    )
    allowed_ports: Annotated[
        Ports, About(expects="ports and ranges between 1 and 65535, such as 25,587 or 1-65535")
    ] = Field("25,465,587,2525", description="The TCP ports that profiles may name.")
    dns_servers: Annotated[
        DnsServers,
        About(
            expects="IP addresses, each with its port where that is not 53: 192.0.2.1,[::1]:5353"
        ),
    ] = Field(
        "", description="The DNS servers that look mail servers up; left out, this machine's own."
    )
    host: Annotated[str, About(expects="an address or host name of this machine")] = Field(
        "127.0.0.1", min_length=1, description="The address that the API listens on."
    )
    port: int = Field(8025, ge=1, le=65535, description="The TCP port that the API listens on.")
    tls_certificate: Annotated[FilePath | None, About(expects=A_FILE)] = Field(
        None,
        description="A file with the certificate, and those of its authorities, that the API is"
        " served with (PEM); left out, it is served without TLS.",
    )
    tls_key: Annotated[FilePath | None, About(expects=A_FILE)] = Field(
        None, description="The file with the certificate's private key, where it is another (PEM)."
    )
    tls_client_ca: Annotated[FilePath | None, About(expects=A_FILE)] = Field(
        None,
        description="A file with the authorities of clients' certificates (PEM): who shows none of"
        " theirs is not served.",
    )
    delivery: bool = Field(
        default=True,
        description="Whether `serve` delivers too, or only accepts and leaves it to workers.",
    )
    max_message_bytes: Annotated[int, About(unit="bytes")] = Field(
        26_214_400,
        ge=1024,
        le=157_286_400,
        description="The largest message that is accepted, as it goes on the wire.",
    )
    max_buffered_bytes: Annotated[int, About(unit="bytes")] = Field(
        134_217_728,
        ge=1_048_576,
        le=68_719_476_736,
        description="How many bytes of requests a process holds at one time: of one tenant at most"
        " half of them, of one address three quarters. Beyond that it answers 503. One that is as"
        " large as may be is taken in any case.",
    )
    message_max_age_seconds: Annotated[int, About(unit="seconds")] = Field(
        259_200, ge=60, le=2_592_000, description="How long a message is tried before it expires."
    )
    lease_seconds: Annotated[float, About(unit="seconds")] = Field(
        60,
        ge=1,
        le=3600,
        description="How long a dead worker's messages wait until another takes them over.",
    )
    poll_interval_seconds: Annotated[float, About(unit="seconds")] = Field(
        5, ge=0.05, le=300, description="How often a worker looks for work that nobody announced."
    )
    shutdown_grace_seconds: Annotated[int, About(unit="seconds")] = Field(
        30,
        ge=0,
        le=3600,
        description="How long a stopping process lets requests and transmissions finish.",
    )
    database_pool_size: Annotated[int, About(unit="connections")] = Field(
        10,
        ge=1,
        le=200,
        description="How many PostgreSQL connections a process keeps; twice as many at most.",
    )
    database_timeout_seconds: Annotated[float, About(unit="seconds")] = Field(
        10,
        ge=0.1,
        le=600,
        description="How long PostgreSQL has to answer before it counts as away.",
    )
    transcript_retention_days: Annotated[int, About(unit="days")] = Field(
        7,
        ge=0,
        le=3650,
        description="How long the dialogue of each attempt is kept; 0 keeps none.",
    )
    verify_per_minute: Annotated[int, About(unit="times")] = Field(
        10,
        ge=1,
        le=1000,
        description="How often a tenant may have profiles or domains verified in a minute.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LOWER] = Field(
        "info", description="The least severe log line that is written."
    )
    log_format: Annotated[Literal["json", "console"], LOWER] = Field(
        "json", description="How log lines on stderr look: for programs, or for people."
    )
    log_addresses: Annotated[Literal["masked", "full"], LOWER] = Field(
        "masked", description="How log lines name people: a***@example.com, or in full."
    )
    secrets_dir: Annotated[DirectoryPath, About(expects="a folder that exists")] = Field(
        SECRETS_DIR,
        validate_default=False,  # it need not be there, one that is named must
        description="The folder whose files are settings, each named as its setting"
        " (`heloise_admin_key`).",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """As usual, with the secrets folder that the first three sources name."""
        del file_secret_settings
        stronger = (init_settings, env_settings, dotenv_settings)
        named = (source().get("secrets_dir") for source in stronger)
        folder = next(filter(None, named), SECRETS_DIR)
        return (*stronger, secrets_source(settings_cls, Path(folder)))

    def retention(self) -> Retention:
        """How long what is kept of a tenant that does not say it itself."""
        return Retention(
            content_days=self.content_retention_days,
            recipient_days=self.recipient_retention_days,
            attempt_days=self.attempt_retention_days,
            message_days=self.message_retention_days,
            event_days=self.event_retention_days,
        )

    def routing(self) -> Routing:
        """Whom this installation sends to."""
        rule = RecipientRule(self.redirect_all_to, parse_domains(self.allowed_recipient_domains))
        return Routing((), self.simulator_domain).with_rule(rule)

    def guard(self) -> AddressGuard:
        """Where connections may go."""
        ports = parse_ports(self.allowed_ports)
        return AddressGuard(
            allow_private=self.allow_private_hosts,
            is_port_allowed=lambda port: any(port in each for each in ports),
            allowed=parse_networks(self.allowed_networks),
            denied=parse_networks(self.denied_networks),
        )

    def admin_keys(self) -> dict[str, str]:
        """The admin keys by name; none where nobody manages tenants over HTTP."""
        return parse_admin_keys(self.admin_key.get_secret_value()) if self.admin_key else {}

    def metrics_secret(self) -> str | None:
        """What `/metrics` asks for; None where it asks for nothing."""
        return self.metrics_token.get_secret_value() if self.metrics_token else None

    def dns_server_addresses(self) -> tuple[tuple[str, int], ...]:
        """The DNS servers to ask, each an address and a port; none for the machine's own."""
        return parse_servers(self.dns_servers)

    def encryption_keys(self) -> tuple[bytes, ...]:
        """The keys for the vault, newest first.

        Raises SettingsError where there is none, or the command that is to print some does not.
        """
        keys = tuple(parse_key(key.get_secret_value()) for key in self.secret_keys)
        if self.secret_keys_command is not None:
            keys = (*printed_keys(self.secret_keys_command), *keys)
        if not keys:
            raise SettingsError(
                f"{variable('secret_keys')}: not set, should be {expectation('secret_keys')}"
            )
        return keys


def secrets_source(settings: type[BaseSettings], folder: Path) -> SecretsSettingsSource:
    """The files in `folder`, of which a missing one has none.

    Whether it must exist is checked with the other settings.
    """
    return SecretsSettingsSource(settings, secrets_dir=folder if folder.is_dir() else ())


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def about(field: str) -> About:
    """What is known of a field beyond its type."""
    metadata = Settings.model_fields[field].metadata
    return next((item for item in metadata if isinstance(item, About)), About())


def description(field: str) -> str:
    """What a setting does, in a sentence."""
    return Settings.model_fields[field].description or ""


def expectation(field: str) -> str:
    """What a value of this field should be, to put after `should be`."""
    info = Settings.model_fields[field]
    if stated := about(field).expects:
        return stated
    if get_origin(info.annotation) is Literal:
        return "one of " + ", ".join(get_args(info.annotation))
    if info.annotation is bool:
        return "true or false"
    low, high = (
        next(getattr(item, bound) for item in info.metadata if hasattr(item, bound))
        for bound in ("ge", "le")
    )
    return f"{'a number' if info.annotation is float else 'a whole number'} from {low} to {high}"
