"""Define the settings model and the description of each field."""

import ast
import inspect
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin

from pydantic import DirectoryPath, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from app.domain.errors import SettingsError
from app.domain.networks import AddressGuard
from app.domain.secret_keys import parse_key
from app.domain.single_sign_on import AccessRule, OpenIdClient
from app.domain.tenants.retention import Retention
from app.domain.tenants.routing import RecipientRule, Routing
from app.settings.checks import (
    LOWER,
    AdminKey,
    Command,
    DatabaseUrl,
    DnsServers,
    EhloName,
    Issuer,
    MailAddress,
    MailDomain,
    MailDomains,
    MetricsBy,
    Networks,
    OidcRules,
    OptionalFile,
    PortList,
    Ports,
    SecretKeys,
    SettingInfo,
    Token,
    parse_admin_keys,
    parse_domains,
    parse_metrics_by,
    parse_networks,
    parse_oidc_rules,
    parse_ports,
    parse_servers,
)
from app.settings.key_command import run_key_command

PREFIX: Final = "HELOISE_"
SECRETS_DIR: Final = Path("/run/secrets")
OIDC: Final = ("oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_rules")
RULES: Final = (
    'rules such as [{"claim": "groups", "value": "support", "tenant": "acme", "scopes":'
    ' ["messages:read"]}, {"claim": "email", "value": "ann@example.com", "admin": true}]'
)
SECONDS, DAYS = SettingInfo(unit="seconds"), SettingInfo(unit="days")
BYTES, CONNECTIONS = SettingInfo(unit="bytes"), SettingInfo(unit="connections")
TIMES: Final = SettingInfo(unit="times")


class Settings(BaseSettings):
    """The validated settings. The text below each field is its description.

    Precedence: arguments, environment, `.env`, files in the secrets folder, default. An empty value
    in the environment or in `.env` counts as unset.
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
        SettingInfo(
            expects="sqlite:///file.db or postgresql://user:password@host/database",
            is_secret=True,
        ),
    ] = Field("sqlite:///heloise.db", validate_default=False)  # a check would import SQLAlchemy
    """The database, which also holds the queue."""
    database_read_url: Annotated[
        DatabaseUrl | None,
        SettingInfo(
            expects="a URL of PostgreSQL, such as"
            " postgresql://user:password@a,b/database?target_session_attrs=prefer-standby",
            is_secret=True,
        ),
    ] = None
    """A standby of the database, for lists of messages, statistics, exports and logs, which then
    may lag. Not set: the primary serves them."""
    database_read_max_lag_seconds: Annotated[int, SECONDS] = Field(10, ge=1, le=3600)
    """How old the data of HELOISE_DATABASE_READ_URL may be. If it is older, the primary serves the
    request."""
    secret_keys: Annotated[
        SecretKeys,
        SettingInfo(
            expects="one or more keys of 32 bytes in base64, newest first, separated by commas or"
            " line ends (`heloise secret-key` prints one)",
            is_secret=True,
        ),
    ] = ()
    """Keys that encrypt stored credentials. Heloise encrypts with the first and decrypts with all
    of them. `serve` and `worker` need at least one."""
    secret_keys_command: Annotated[
        Command | None, SettingInfo(expects="a command with arguments, quoted as in a shell")
    ] = None
    """A command that prints secret keys when a process starts, for example from a KMS. They precede
    those of HELOISE_SECRET_KEYS. Heloise runs it without a shell, for at most 30 seconds."""
    admin_key: Annotated[
        AdminKey | None,
        SettingInfo(
            expects="at least 32 ASCII characters without spaces, commas or colons (`heloise"
            " secret-key` prints some), or several as name:key,name:key",
            is_secret=True,
        ),
    ] = None
    """The key that manages tenants over HTTP, or several with names, which the audit log shows. Not
    set: nobody can manage tenants over HTTP."""
    root_path: Annotated[
        str, SettingInfo(expects="empty, or a path such as /mail without a trailing slash")
    ] = Field("", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    """The path under which a reverse proxy publishes the API. Heloise accepts requests with and
    without it, and begins paths in responses, /docs and the OpenAPI document with it."""
    admin_prefix: Annotated[
        str, SettingInfo(expects="empty, or a path such as /admin without a trailing slash")
    ] = Field("", pattern=r"^(/[a-z0-9-]+)*$")
    """The path of the endpoints that manage tenants and their keys, so that a proxy can keep them
    internal."""
    console: bool = True
    """Whether the API process serves the console, pages for a browser."""
    console_path: Annotated[
        str, SettingInfo(expects="a path such as /console without a trailing slash")
    ] = Field("/console", pattern=r"^(/[a-z0-9-]+)+$")
    """The path of the console."""
    console_idle_seconds: Annotated[int, SECONDS] = Field(3600, ge=60, le=2_592_000)
    """How long a session of the console lasts without a request."""
    console_session_seconds: Annotated[int, SECONDS] = Field(43_200, ge=60, le=2_592_000)
    """How long a session of the console lasts after the sign-in."""
    oidc_issuer: Annotated[
        Issuer | None, SettingInfo(expects="an https:// URL such as https://sso.example.com")
    ] = None
    """The OpenID Connect provider through which people sign in to the console, besides keys. May
    have a private address. Not set: only keys sign in."""
    oidc_client_id: Annotated[
        str | None, SettingInfo(expects="the client id that the provider shows")
    ] = Field(None, min_length=1)
    """The client id of the console at the provider. Its redirect URI is HELOISE_CONSOLE_PATH
    followed by /sign-in/callback, such as https://mail.example.com/console/sign-in/callback."""
    oidc_client_secret: Annotated[
        SecretStr | None, SettingInfo(expects="the secret that the provider shows", is_secret=True)
    ] = Field(None, min_length=1)
    """The client secret. Not set: the console is a public client."""
    oidc_scopes: Annotated[
        str, SettingInfo(expects="scopes separated by spaces, openid among them")
    ] = Field("openid profile email", pattern=r"^([!-~]+ )*openid( [!-~]+)*$")
    """The OAuth scopes that the console requests."""
    oidc_rules: Annotated[OidcRules | None, SettingInfo(expects=RULES)] = None
    """What people may do: a JSON list of rules, of which the first that applies counts. A rule
    applies if the claim has the value, or is a list with it. It gives scopes in a tenant, or admin
    rights."""
    resend_host: Annotated[
        MailDomain | None, SettingInfo(expects="a host name such as resend.example.com")
    ] = None
    """A host name whose root is the Resend-compatible API, for SDKs that drop the path of a base
    URL. Everywhere else, that API is under /resend."""
    resend_port: int | None = Field(None, ge=1, le=65535)
    """A TCP port of its own for the Resend-compatible API. `serve` also listens on it, at
    HELOISE_HOST."""
    metrics_token: Annotated[
        Token | None,
        SettingInfo(
            expects="at least 32 ASCII characters without spaces (`heloise secret-key` prints"
            " some)",
            is_secret=True,
        ),
    ] = None
    """The token that `/metrics` requires, as `Authorization: Bearer <token>`. Not set: anyone who
    reaches the port can read metrics."""
    metrics_by: Annotated[
        MetricsBy, SettingInfo(expects="tenant, or profile, which labels the tenant too")
    ] = ""
    """Labels that metrics of messages get in addition: `tenant`, or `profile` for tenant and
    profile. Names then appear in `/metrics`."""
    metrics_limit: Annotated[int, SettingInfo(unit="tenants or profiles")] = Field(
        100, ge=1, le=10_000
    )
    """How many tenants or profiles HELOISE_METRICS_BY names. All others are `other`."""
    worker_port: int = Field(9025, ge=0, le=65535)
    """The TCP port on HELOISE_HOST where `heloise worker` serves /metrics, /healthz and /readyz. 0:
    none. While another process has the port, the worker delivers without it."""
    auth_failures_per_minute: Annotated[int, TIMES] = Field(20, ge=1, le=10_000)
    """How many invalid keys an IP address may send per minute. The same limit applies to unknown
    sessions of the console, and to failed sign-ins through the provider. Heloise never refuses a
    valid key or session for this."""
    trusted_proxies: Networks = ""
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto Heloise trusts."""
    audit_retention_days: Annotated[int, DAYS] = Field(365, ge=1, le=36500)
    """Days to keep the audit log."""
    event_retention_days: Annotated[int, DAYS] = Field(30, ge=1, le=36500)
    """Days to keep events and webhook deliveries."""
    content_retention_days: Annotated[int, DAYS] = Field(30, ge=1, le=36500)
    """Days to keep the content of a finished message, counted from its acceptance."""
    recipient_retention_days: Annotated[int | None, DAYS] = Field(None, ge=1, le=36500)
    """Days to keep recipients' addresses. Default: as long as the message."""
    attempt_retention_days: Annotated[int | None, DAYS] = Field(None, ge=1, le=36500)
    """Days to keep attempts. Default: as long as the message."""
    message_retention_days: Annotated[int, DAYS] = Field(365, ge=1, le=36500)
    """Days to keep the message with its content, recipients, attempts and events."""
    redirect_all_to: Annotated[
        MailAddress | None, SettingInfo(expects="an address such as staging@example.com")
    ] = None
    """For test installations: the address that receives all messages. If
    HELOISE_ALLOWED_RECIPIENT_DOMAINS is set, it receives only the messages to other domains."""
    allowed_recipient_domains: Annotated[
        MailDomains, SettingInfo(expects="domains such as example.com,*.example.com")
    ] = ""
    """Recipient domains that Heloise sends to. Default: all. It refuses messages to other domains,
    or sends them to HELOISE_REDIRECT_ALL_TO."""
    simulator_domain: Annotated[
        MailDomain, SettingInfo(expects="an unused domain such as simulator.test")
    ] = Field("simulator.heloise.test", validate_default=False)  # as above: email_validator
    """The domain of test addresses: mail to success@, bounce@, defer@ and uncertain@ has that
    outcome, without a server."""
    ehlo_name: Annotated[
        EhloName | None,
        SettingInfo(
            expects="a fully qualified domain name such as mail.example.com, or [192.0.2.1]"
        ),
    ] = None
    """The EHLO name for profiles that set none and whose tenant sets none."""
    allow_private_hosts: bool = False
    """Whether profiles, webhooks, mailboxes, token servers and downloads of files may use private
    and loopback addresses. A cloud's own services stay blocked."""
    allowed_networks: Networks = ""
    """Non-public networks in which profiles may use servers. To open an address of a cloud's own
    services, such as 169.254.169.254, list that address itself."""
    denied_networks: Networks = ""
    """Networks to which Heloise never connects. Overrides HELOISE_ALLOWED_NETWORKS and
    HELOISE_ALLOW_PRIVATE_HOSTS."""
    allowed_ports: Annotated[
        Ports,
        SettingInfo(expects="ports and ranges between 1 and 65535, such as 25,587 or 1-65535"),
    ] = "25,465,587,2525"
    """The TCP ports that profiles may use."""
    dns_servers: Annotated[
        DnsServers,
        SettingInfo(expects="IP addresses, with a port if it is not 53: 192.0.2.1,[::1]:5353"),
    ] = ""
    """DNS servers for looking up mail servers. Default: those of this machine."""
    host: Annotated[str, SettingInfo(expects="an address or host name of this machine")] = Field(
        "127.0.0.1", min_length=1
    )
    """The address that the API listens on."""
    port: int = Field(8000, ge=1, le=65535)
    """The TCP port that the API listens on."""
    tls_certificate: OptionalFile = None
    """A PEM file with the API's TLS certificate and its intermediate certificates. Not set: no
    TLS."""
    tls_key: OptionalFile = None
    """A PEM file with the certificate's private key. Default: the certificate's file."""
    tls_client_ca: OptionalFile = None
    """A PEM file with authorities for client certificates. If set, Heloise refuses clients without
    a certificate."""
    submission: bool = False
    """Whether `serve` also accepts messages over SMTP. `heloise submission` does so in a process of
    its own."""
    submission_host: Annotated[
        str | None, SettingInfo(expects="an address or host name of this machine")
    ] = None
    """The address for SMTP submission. Default: HELOISE_HOST."""
    submission_ports: Annotated[PortList, SettingInfo(expects="ports such as 587 or 587,2525")] = (
        "587"
    )
    """The TCP ports for SMTP submission with STARTTLS."""
    submission_tls_ports: Annotated[
        PortList, SettingInfo(expects="ports such as 465 or 465,2465, or none")
    ] = "465"
    """The TCP ports for SMTP submission with TLS from the first byte. Heloise opens them only if
    HELOISE_SUBMISSION_TLS_CERTIFICATE is set. `none`: no such port."""
    submission_tls_certificate: OptionalFile = None
    """A PEM file with the TLS certificate for SMTP submission and its intermediate certificates.
    Heloise loads it again when it changes."""
    submission_tls_key: OptionalFile = None
    """A PEM file with that certificate's private key. Default: the certificate's file."""
    submission_allow_plaintext_auth: bool = False
    """Whether SMTP clients may log in without TLS. Allowed only if HELOISE_SUBMISSION_HOST is a
    loopback address."""
    submission_hostname: Annotated[
        EhloName | None,
        SettingInfo(expects="a fully qualified domain name such as mail.example.com"),
    ] = None
    """The server's name in SMTP submission's greeting and in Received headers. Default:
    HELOISE_EHLO_NAME, or this machine's name."""
    submission_trusted_proxies: Networks = ""
    """Load balancers that begin each SMTP connection with a PROXY protocol header (version 1 or 2).
    Heloise refuses their connections without one."""
    submission_http_port: int = Field(9026, ge=0, le=65535)
    """The TCP port on HELOISE_HOST where `heloise submission` serves /metrics, /healthz and
    /readyz. 0: none. While another process has the port, Heloise accepts mail without it."""
    submission_max_connections: Annotated[int, CONNECTIONS] = Field(1000, ge=1, le=100_000)
    """SMTP connections that a process accepts at a time. A client address gets at most a
    quarter."""
    submission_reveal_clients: bool = False
    """Whether the Received header of a submitted message contains the client's IP address."""
    submission_deduplicate: bool = True
    """Whether a message that a client submits again within a day, with the same Message-ID, sender
    and recipients, is stored only once."""
    submission_log_days: Annotated[int, DAYS] = Field(7, ge=0, le=3650)
    """Days to keep the log of SMTP sessions. 0 keeps none."""
    delivery: bool = True
    """Whether `serve` also delivers. If false, it only accepts, and workers deliver."""
    max_message_bytes: Annotated[int, BYTES] = Field(26_214_400, ge=1024, le=157_286_400)
    """The maximum size of a message on the wire."""
    max_buffered_bytes: Annotated[int, BYTES] = Field(134_217_728, ge=1_048_576, le=68_719_476_736)
    """The maximum number of bytes of requests and SMTP submissions in memory, per process. A tenant
    gets at most half, an IP address three quarters. Beyond that, Heloise answers 503, or 451 over
    SMTP. It always accepts one request of maximum size."""
    message_max_age_seconds: Annotated[int, SECONDS] = Field(259_200, ge=60, le=2_592_000)
    """The default age at which a message expires."""
    lease_seconds: Annotated[float, SECONDS] = Field(60, ge=1, le=3600)
    """How long a worker owns a message without a heartbeat. On PostgreSQL, a worker whose session
    ends loses its messages earlier, within seconds."""
    poll_interval_seconds: Annotated[float, SECONDS] = Field(5, ge=0.05, le=300)
    """The interval at which a worker polls for work, in case a notification was lost."""
    shutdown_grace_seconds: Annotated[int, SECONDS] = Field(30, ge=0, le=3600)
    """How long a stopping process waits for requests and transmissions to finish."""
    database_pool_size: Annotated[int, CONNECTIONS] = Field(10, ge=1, le=200)
    """PostgreSQL connections that a process keeps open. It opens at most twice as many."""
    database_timeout_seconds: Annotated[float, SECONDS] = Field(10, ge=0.1, le=600)
    """How long Heloise waits for PostgreSQL before it treats it as unavailable."""
    transcripts: Annotated[Literal["all", "failures"], LOWER] = "all"
    """Which attempts keep their SMTP dialogue: `all`, or only `failures`, those that did not
    deliver to every recipient."""
    transcript_retention_days: Annotated[int, DAYS] = Field(7, ge=0, le=3650)
    """Days to keep the SMTP dialogue of attempts. 0 keeps none."""
    verify_per_minute: Annotated[int, TIMES] = Field(10, ge=1, le=1000)
    """How many profiles or domains a tenant may verify per minute."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LOWER] = "info"
    """Minimum log level."""
    log_format: Annotated[Literal["json", "console"], LOWER] = "json"
    """The format of log lines on stderr: `json` for programs, `console` for people."""
    log_messages: bool = True
    """Whether Heloise logs a line for each accepted message and each attempt, at the level
    `info`."""
    store_client_addresses: bool = True
    """Whether a message keeps the IP address of the client that sent it, as long as its content."""
    log_addresses: Annotated[Literal["masked", "full"], LOWER] = "masked"
    """Email addresses in log lines: `masked` (a***@example.com) or `full`."""
    secrets_dir: Annotated[DirectoryPath, SettingInfo(expects="an existing folder")] = Field(
        SECRETS_DIR,
        validate_default=False,  # only a folder that you name must exist
    )
    """A folder with one file per setting, each named after its setting (`heloise_admin_key`)."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the secrets folder that the other sources name."""
        del file_secret_settings
        stronger = (init_settings, env_settings, dotenv_settings)
        folders = (source().get("secrets_dir") for source in stronger)
        folder = next(filter(None, folders), SECRETS_DIR)
        return (*stronger, build_secrets_source(settings_cls, Path(folder)))

    def build_retention(self) -> Retention:
        """Build the retention of tenants that set none."""
        return Retention(
            content_days=self.content_retention_days,
            recipient_days=self.recipient_retention_days,
            attempt_days=self.attempt_retention_days,
            message_days=self.message_retention_days,
            event_days=self.event_retention_days,
        )

    def build_routing(self) -> Routing:
        """Build the rules on recipients of this installation."""
        rule = RecipientRule(self.redirect_all_to, parse_domains(self.allowed_recipient_domains))
        return Routing((), self.simulator_domain).with_rule(rule)

    def build_guard(self) -> AddressGuard:
        """Build the guard that restricts connections."""
        ports = parse_ports(self.allowed_ports)
        return AddressGuard(
            allow_private=self.allow_private_hosts,
            is_port_allowed=lambda port: any(port in port_range for port_range in ports),
            allowed=parse_networks(self.allowed_networks),
            denied=parse_networks(self.denied_networks),
        )

    def parse_admin_keys(self) -> dict[str, str]:
        """Return the admin keys by name, if any."""
        return parse_admin_keys(self.admin_key.get_secret_value()) if self.admin_key else {}

    def build_openid_client(self) -> OpenIdClient | None:
        """Build the client of the OpenID Connect provider, if there is one.

        Raises SettingsError if a setting is missing that the provider requires.
        """
        fields = [name for name in OIDC if getattr(self, name) is not None]
        if not fields:
            return None
        for name in ("oidc_issuer", "oidc_client_id", "oidc_rules"):
            if name not in fields:
                raise SettingsError(
                    f"{variable_name(name)}: not set, should be {describe_expectation(name)},"
                    f" because {variable_name(fields[0])} is set"
                )
        secret = self.oidc_client_secret
        return OpenIdClient(
            issuer=self.oidc_issuer or "",
            client_id=self.oidc_client_id or "",
            client_secret=secret.get_secret_value() if secret else None,
            scopes=self.oidc_scopes,
        )

    def parse_oidc_rules(self) -> tuple[AccessRule, ...]:
        """Return the rules on what people may do."""
        return parse_oidc_rules(self.oidc_rules) if self.oidc_rules else ()

    def metrics_secret(self) -> str | None:
        """Return the token that `/metrics` requires, or None."""
        return self.metrics_token.get_secret_value() if self.metrics_token else None

    def parse_metrics_by(self) -> tuple[str, ...]:
        """Return the labels that metrics of messages get."""
        return parse_metrics_by(self.metrics_by)

    def dns_server_addresses(self) -> tuple[tuple[str, int], ...]:
        """Return the DNS servers as (address, port). Empty: the machine's own."""
        return parse_servers(self.dns_servers)

    def load_encryption_keys(self) -> tuple[bytes, ...]:
        """Return the encryption keys, newest first.

        Raises SettingsError if there is none or the command fails.
        """
        keys = tuple(parse_key(key.get_secret_value()) for key in self.secret_keys)
        if self.secret_keys_command is not None:
            keys = (*run_key_command(self.secret_keys_command), *keys)
        if not keys:
            name, expected = variable_name("secret_keys"), describe_expectation("secret_keys")
            raise SettingsError(f"{name}: not set, should be {expected}")
        return keys


def build_secrets_source(settings: type[BaseSettings], folder: Path) -> SecretsSettingsSource:
    """Read settings from files in `folder`, if it exists.

    The validation of settings checks whether it must exist.
    """
    return SecretsSettingsSource(settings, secrets_dir=folder if folder.is_dir() else ())


def variable_name(field: str) -> str:
    """Return the environment variable of a field."""
    return PREFIX + field.upper()


def get_info(field: str) -> SettingInfo:
    """Return a field's metadata."""
    metadata = Settings.model_fields[field].metadata
    return next((item for item in metadata if isinstance(item, SettingInfo)), SettingInfo())


def get_description(field: str) -> str:
    """Return a setting's description, on one line."""
    return _load_descriptions()[field]


@lru_cache(maxsize=1)
def _load_descriptions() -> Mapping[str, str]:
    """Read the text below each field, which only the source holds."""
    (definition,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - the source of a class
    descriptions = dict[str, str]()
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(description))):
                descriptions[name] = " ".join(description.split())
    return descriptions


def describe_expectation(field: str) -> str:
    """Describe valid values, to follow the words `should be`."""
    info = Settings.model_fields[field]
    if expected := get_info(field).expects:
        return expected
    if get_origin(info.annotation) is Literal:
        return "one of " + ", ".join(get_args(info.annotation))
    if info.annotation is bool:
        return "true or false"
    low, high = (
        next(getattr(item, bound) for item in info.metadata if hasattr(item, bound))
        for bound in ("ge", "le")
    )
    return f"{'a number' if info.annotation is float else 'a whole number'} from {low} to {high}"
