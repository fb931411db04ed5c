"""Parse database URLs without opening a database.

PostgreSQL's parameters are libpq's (PostgreSQL's manual, "Parameter Key Words"), as far as asyncpg
supports them. Others raise an error: ignoring them might weaken security.
"""

import re
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

SQLITE_DRIVER: Final = "sqlite+heloise"
MASK: Final = "***"
SQLITE_BUSY_TIMEOUT_SECONDS: Final = 5.0
_SQLITE: Final = re.compile(r"sqlite(?:\+\w+)?://(?P<path>[^?]*)(?:\?(?P<query>.*))?")
_POSTGRESQL: Final = re.compile(
    r"postgres(?:ql)?(?:\+\w+)?://"
    r"(?:(?P<user>[^:@/?]*)(?::(?P<password>[^@/?]*))?@)?"
    r"(?P<hosts>[^@/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?"
)
_HOST: Final = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]*)(?::(?P<port>\d{1,5}))?", re.ASCII)
HIGHEST_PORT: Final = 65535

# Parameters that asyncpg reads from a DSN, or that a server accepts at session start.
DSN_PARAMETERS: Final = frozenset(
    {
        *("host", "port", "dbname", "user", "password", "passfile", "service", "krbsrvname"),
        *("gsslib", "sslmode", "sslnegotiation", "sslrootcert", "sslcert", "sslkey", "sslcrl"),
        *("sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("target_session_attrs", "application_name", "options"),
    }
)
FILE_PARAMETERS: Final = ("passfile", "sslrootcert", "sslcert", "sslkey", "sslcrl")
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Parameters with the only values that asyncpg implements.
FIXED_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "channel_binding": ("disable", "prefer"),
    "client_encoding": ("UTF8", "utf8", "UTF-8", "utf-8", "auto"),
    "gssencmode": ("disable", "prefer"),
    "load_balance_hosts": ("disable",),
    "replication": ("false", "off", "no", "0"),
    "sslcompression": ("0",),
    "sslsni": ("1",),
}
TCP_OPTIONS: Final[Mapping[str, str]] = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}
NUMBER_PARAMETERS: Final = ("connect_timeout", "keepalives", *TCP_OPTIONS)
KNOWN_PARAMETERS: Final = (
    *DSN_PARAMETERS,
    *FIXED_PARAMETERS,
    *NUMBER_PARAMETERS,
    "fallback_application_name",
    "ssl",
)
STANDBY: Final = "standby"
PREFER_STANDBY: Final = "prefer-standby"
TARGETS: Final = ("any", "primary", STANDBY, "read-write", "read-only", PREFER_STANDBY)
INVALID_URL: Final = "not a URL of SQLite or PostgreSQL"


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A file, and how long to wait for another process's lock."""

    path: Path
    busy_timeout_seconds: float = SQLITE_BUSY_TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class PostgresqlUrl:
    """The DSNs for asyncpg, and the settings that asyncpg does not read from them.

    `hosts` holds the DSNs of each host, one for each target, in the order in which to try them.
    `connect_seconds`, for each host, is None if the URL does not set it. `socket_options` holds
    (level, option, value). `has_application_name`: the DSNs name the sessions.
    """

    hosts: deque[tuple[str, ...]] = field(repr=False)
    connect_seconds: float | None
    socket_options: tuple[tuple[int, int, int], ...]
    has_application_name: bool = False

    @property
    def dsns(self) -> list[str]:
        """The DSNs in the order in which to try them: all hosts for a target, then for the next."""
        return [dsn for dsns in zip(*self.hosts, strict=True) for dsn in dsns]

    def try_last(self, dsn: str) -> None:
        """Try the host of a DSN last from now on, for each target."""
        host = next(dsns for dsns in self.hosts if dsn in dsns)
        self.hosts.remove(host)
        self.hosts.append(host)


def parse_database_url(url: str) -> SqliteUrl | PostgresqlUrl:
    """Parse a URL; raise ValueError with a correction, which quotes no value."""
    if match := _SQLITE.fullmatch(url):
        return _sqlite(match["path"], match["query"])
    if match := _POSTGRESQL.fullmatch(url):
        return _postgresql(match)
    if url.startswith("postgres"):
        raise ValueError(
            "percent-encode special characters in the user name and password, such as %40 for @"
            " and %2F for /"
        )
    raise ValueError(INVALID_URL)


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL, or None for another database."""
    database_url = parse_database_url(url)
    return database_url.path if isinstance(database_url, SqliteUrl) else None


def replace_database(url: str, name: str) -> str:
    """Return the URL of another database on the same server, or of another file."""
    if match := _SQLITE.fullmatch(url):
        return _replaced(match, "path", f"/{name}")
    match = _POSTGRESQL.fullmatch(url)
    if match is None:
        raise ValueError(INVALID_URL)
    if match["database"] is None:
        end = match.end("hosts")
        return f"{url[:end]}/{quote(name, safe='')}{url[end:]}"
    return _replaced(match, "database", quote(name, safe=""))


def _replaced(match: re.Match[str], group: str, text: str) -> str:
    return f"{match.string[: match.start(group)]}{text}{match.string[match.end(group) :]}"


def mask_passwords(url: str) -> str:
    """Mask the passwords in a URL."""
    if (match := _POSTGRESQL.fullmatch(url)) and match["password"] is not None:
        url = _replaced(match, "password", MASK)
    return re.sub(r"(?i)([?&][^=&]*password[^=&]*=)[^&]*", rf"\g<1>{MASK}", url)


def _parse_parameters(query: str | None) -> dict[str, str]:
    # In libpq a plus is literal.
    parameters = dict(parse_qsl((query or "").replace("+", "%2B"), keep_blank_values=True))
    for name, value in parameters.items():
        if not value:
            raise ValueError(f"the parameter {name} has no value; leave it out")
    return parameters


def _sqlite(path: str, query: str | None) -> SqliteUrl:
    parameters = _parse_parameters(query)
    if unknown := parameters.keys() - {"timeout"}:
        raise ValueError(f"SQLite has no parameter {min(unknown)}; use timeout, in seconds")
    if not path.startswith("/") and path:
        raise ValueError("write three slashes before SQLite's file, as in sqlite:///file.db")
    file = path[1:]
    if not file or ":memory:" in file:
        raise ValueError("SQLite needs a file, which outlives the process: write sqlite:///file.db")
    timeout = parameters.get("timeout", str(SQLITE_BUSY_TIMEOUT_SECONDS))
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", timeout, re.ASCII):
        raise ValueError("write timeout as a number of seconds, such as 5")
    return SqliteUrl(Path(file), float(timeout))


def _postgresql(match: re.Match[str]) -> PostgresqlUrl:
    for host in match["hosts"].split(","):
        host_match = _HOST.fullmatch(unquote(host))
        if host_match is None or not 1 <= int(host_match["port"] or 1) <= HIGHEST_PORT:
            raise ValueError(
                "write a port from 1 to 65535 after each host, as in host:5432; percent-encode"
                " special characters in the password, such as %2F for /"
            )
    parameters = _parse_parameters(match["query"])
    _check(parameters)
    numbers = {name: int(parameters.pop(name)) for name in NUMBER_PARAMETERS if name in parameters}
    dsn_parameters = {name: value for name, value in parameters.items() if name in DSN_PARAMETERS}
    if "fallback_application_name" in parameters:
        dsn_parameters.setdefault("application_name", parameters["fallback_application_name"])
    if "ssl" in parameters:  # JDBC's name, which libpq accepts too
        dsn_parameters.setdefault(
            "sslmode", "require" if parameters["ssl"] == "true" else parameters["ssl"]
        )
    connect_seconds = numbers.pop("connect_timeout", None)
    return PostgresqlUrl(
        hosts=deque(_hosts(match, dsn_parameters)),
        # Zero means to wait forever; use the default limit instead.
        connect_seconds=float(connect_seconds) if connect_seconds else None,
        socket_options=tuple(_socket_options(numbers)),
        has_application_name="application_name" in dsn_parameters,
    )


def _hosts(match: re.Match[str], parameters: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield the DSNs of each host, since asyncpg would wait for a dead one all the time it has."""
    database = f"/{match['database']}" if match["database"] else ""
    wanted = parameters.get("target_session_attrs")
    queries = []
    # First ask every host for a standby, then take any server.
    for target in (STANDBY, "any") if wanted == PREFER_STANDBY else (wanted,):
        named = {**parameters, "target_session_attrs": target} if target else parameters
        queries.append(f"?{urlencode(named)}" if named else "")
    for host in match["hosts"].split(","):
        yield tuple(f"postgresql://{_user(match)}{host}{database}{query}" for query in queries)


def _user(match: re.Match[str]) -> str:
    if match["user"] is None:
        return ""
    credentials = [part for part in (match["user"], match["password"]) if part is not None]
    return ":".join(quote(unquote(part), safe="") for part in credentials) + "@"


def _check(parameters: Mapping[str, str]) -> None:
    for name, value in parameters.items():
        if name not in KNOWN_PARAMETERS:
            matches = get_close_matches(name, KNOWN_PARAMETERS, n=1)
            hint = f"did you mean {matches[0]}?" if matches else "leave it out"
            raise ValueError(f"asyncpg has no parameter {name}; {hint}")
        if name in FIXED_PARAMETERS and value not in FIXED_PARAMETERS[name]:
            allowed = " or ".join(FIXED_PARAMETERS[name])
            raise ValueError(f"asyncpg supports only {name}={allowed}; write that")
        if name in NUMBER_PARAMETERS and not re.fullmatch(r"\d{1,7}", value, re.ASCII):
            raise ValueError(f"write {name} as a whole number")
        if name in {"sslmode", "ssl"} and value not in {*SSL_MODES, "true"}:
            raise ValueError(f"write {name} as one of {', '.join(SSL_MODES)}")
        if name == "target_session_attrs" and value not in TARGETS:
            raise ValueError(f"write {name} as one of {', '.join(TARGETS)}")
        if name in FILE_PARAMETERS and not Path(value).is_file():
            raise ValueError(
                f"the file of {name} does not exist; write the path of an existing one"
            )


def _socket_options(numbers: Mapping[str, int]) -> list[tuple[int, int, int]]:
    """Return libpq's TCP keepalive options: on unless `keepalives=0`, if any is set."""
    if not numbers:
        return []
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, numbers.get("keepalives", 1))]
    for name, constant in TCP_OPTIONS.items():
        if numbers.get(name) and hasattr(socket, constant):  # zero keeps the system's default
            options.append((socket.IPPROTO_TCP, getattr(socket, constant), numbers[name]))
    return options
