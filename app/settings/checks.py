"""Define the types of settings and their checks.

Each check raises ValueError with a reason that quotes no secret.
"""

import ipaddress
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, FilePath, SecretStr
from pydantic_settings import NoDecode

from app.domain.ehlo import parse_ehlo_name
from app.domain.networks import IPNetwork, is_loopback
from app.domain.secret_keys import parse_key
from app.domain.single_sign_on import AccessRule
from app.domain.types import Scope
from app.store.db.url import parse_database_url

DNS_PORT: Final = 53
HIGHEST_PORT: Final = 65535
ADMIN: Final = "admin"
RULE_FIELDS: Final = frozenset({"claim", "value", "tenant", "scopes", "admin"})
METRIC_LABELS: Final = ("tenant", "profile")
NETWORKS: Final = "networks or addresses such as 10.0.0.0/8,192.0.2.1,2001:db8::/32"


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """Metadata of a setting: unit, expected value, whether it is secret."""

    unit: str = ""
    expects: str = ""
    is_secret: bool = False


def parse_ports(text: str) -> tuple[range, ...]:
    """Parse ports and ranges such as `25,465,1000-2000`; raises ValueError."""
    return tuple(_parse_port_range(part.strip()) for part in text.split(","))


def parse_port_list(text: str) -> tuple[int, ...]:
    """Parse ports such as `587,2525`, or `none`; raises ValueError."""
    if text.strip() == "none":
        return ()
    ranges = parse_ports(text)
    if any(len(ports) > 1 for ports in ranges):
        raise ValueError("has a range; list each port")
    return tuple(dict.fromkeys(ports.start for ports in ranges))


def _parse_port_range(part: str) -> range:
    match = re.fullmatch(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?", part, re.ASCII)
    if match is None:
        raise ValueError(f"{part!r} is not a port or a range; write 25 or 587-589")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= HIGHEST_PORT:
        raise ValueError(f"{part!r} is outside 1-65535 or descending; write the lower port first")
    return range(first, last + 1)


def parse_servers(text: str) -> tuple[tuple[str, int], ...]:
    """Parse addresses with optional ports (default 53); raises ValueError.

    Example: `192.0.2.1,[2001:db8::1]:5353`.
    """
    return tuple(_parse_server(part.strip()) for part in text.split(",") if part.strip())


def _parse_server(part: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[(.+)\]|([^:]+))(?::(\d{1,5}))?", part, re.ASCII)
    address, port = (match[1] or match[2], int(match[3] or DNS_PORT)) if match else (part, DNS_PORT)
    if not 1 <= port <= HIGHEST_PORT:
        raise ValueError(f"{part!r} has no port from 1 to 65535; write 192.0.2.53:5353")
    return str(ipaddress.ip_address(address)), port


def parse_networks(text: str) -> tuple[IPNetwork, ...]:
    """Parse networks and addresses such as `10.0.0.0/8,192.0.2.1`; raises ValueError.

    A network with host bits set is refused, because its meaning is unclear.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def parse_domains(text: str) -> tuple[str, ...]:
    """Parse domains such as `example.com,*.example.com`; raises ValueError."""
    return tuple(_check_domain(part) for part in text.split(",") if part.strip())


def _check_domain(text: str) -> str:
    from app.domain.address.parse import parse_domain

    return parse_domain(text)


def _parse_address(text: str) -> str:
    from app.domain.address.parse import make_named_address

    return make_named_address(text).address


def _parse_domain(text: str) -> str:
    from app.domain.address.parse import make_named_address

    return make_named_address(f"any@{text}").domain


def parse_admin_keys(text: str) -> dict[str, str]:
    """Parse `ann:key1,bob:key2` to keys by name.

    A single key may have no name and gets the name `admin`. Raises ValueError, without quoting a
    key.
    """
    keys_by_name: dict[str, str] = {}
    parts = split_list(text)
    for number, part in enumerate(parts, start=1):
        match = re.fullmatch(r"(?:([a-z0-9][a-z0-9._-]{0,62}):)?([!-9;-~]{32,})", part)
        if match is None:
            raise ValueError(
                f"key {number} of {len(parts)} is too short, or not ASCII; write 32 or more visible"
                " ASCII characters"
            )
        if match[1] is None and len(parts) > 1:
            raise ValueError(f"key {number} of {len(parts)} has no name: write name:key")
        name = match[1] or ADMIN
        if name in keys_by_name:
            raise ValueError(f"the name {name!r} is used twice; rename one")
        keys_by_name[name] = match[2]
    if not keys_by_name:
        raise ValueError("contains no key; write one, or leave the setting out")
    return keys_by_name


def _check_admin_key(key: SecretStr) -> SecretStr:
    parse_admin_keys(key.get_secret_value())
    return key


def _check_token(token: SecretStr) -> SecretStr:
    if re.fullmatch(r"[!-~]{32,}", token.get_secret_value()) is None:
        raise ValueError("too short, or not ASCII; write 32 or more visible ASCII characters")
    return token


def parse_metrics_by(text: str) -> tuple[str, ...]:
    """Parse `tenant`, `profile` or both; raises ValueError."""
    names = tuple(name.lower() for name in split_list(text))
    for name in names:
        if name not in METRIC_LABELS:
            raise ValueError(f"{name!r} is no label; write tenant or profile")
    return names


def split_list(text: str) -> list[str]:
    """Split a list at commas, blanks and line ends."""
    return [item for item in re.split(r"[,\s]+", text) if item]


def _split_keys(value: object) -> object:
    return split_list(value) if isinstance(value, str) else value


def _check_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for number, key in enumerate(keys, start=1):
        try:
            parse_key(key.get_secret_value())
        except ValueError:
            raise ValueError(
                f"key {number} of {len(keys)} is not 32 bytes in base64; print one with"
                " `heloise secret-key`"
            ) from None
    return keys


def _check_with(parse: Callable[[str], object]) -> AfterValidator:
    """Build a validator that calls `parse` and keeps the text."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def parse_oidc_rules(text: str) -> tuple[AccessRule, ...]:
    """Parse the JSON list that says what people may do; raises ValueError."""
    try:
        rules = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(rules, list) or not rules:
        raise ValueError("no list of rules")
    return tuple(
        _parse_rule(rule, f"rule {number} of {len(rules)}")
        for number, rule in enumerate(rules, start=1)
    )


def _parse_rule(rule: object, where: str) -> AccessRule:
    if not isinstance(rule, dict) or not {"claim", "value"} <= rule.keys():
        raise ValueError(f"{where} has no claim or no value")
    if unknown := sorted(rule.keys() - RULE_FIELDS):
        raise ValueError(f"{where} has the unknown field {unknown[0]!r}")
    texts = [rule[name] for name in ("claim", "value", "tenant") if name in rule]
    if not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"{where}: claim, value and tenant are texts")
    if rule.get("admin") is True:
        if rule.keys() & {"tenant", "scopes"}:
            raise ValueError(f"{where}: an admin has no tenant and no scopes; leave them out")
        return AccessRule(claim=rule["claim"], value=rule["value"])
    scopes = rule.get("scopes")
    if "admin" in rule or "tenant" not in rule or not isinstance(scopes, list) or not scopes:
        raise ValueError(f'{where} needs a tenant and a list of scopes, or "admin": true')
    if unknown_scopes := [scope for scope in scopes if scope not in list(Scope)]:
        raise ValueError(
            f"{where}: {unknown_scopes[0]!r} is no scope; write some of {', '.join(Scope)}"
        )
    return AccessRule(
        claim=rule["claim"],
        value=rule["value"],
        tenant=rule["tenant"],
        scopes=frozenset(map(Scope, scopes)),
    )


def _check_issuer(text: str) -> str:
    url = urlsplit(text)
    if not url.hostname or url.query or url.fragment or url.username:
        raise ValueError("not the URL of an issuer")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname)):
        raise ValueError("not https, which only loopback addresses may do without")
    return text


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _check_command(text: str) -> str:
    if not shlex.split(text):
        raise ValueError("contains no command; write one, or leave the setting out")
    return text


LOWER: Final = BeforeValidator(_lower)
DnsServers = Annotated[str, _check_with(parse_servers)]
Networks = Annotated[str, _check_with(parse_networks), SettingInfo(expects=NETWORKS)]
OptionalFile = Annotated[FilePath | None, SettingInfo(expects="an existing file")]
Ports = Annotated[str, _check_with(parse_ports)]
PortList = Annotated[str, _check_with(parse_port_list)]
DatabaseUrl = Annotated[str, _check_with(parse_database_url)]
Command = Annotated[str, AfterValidator(_check_command)]
AdminKey = Annotated[SecretStr, AfterValidator(_check_admin_key)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
SecretKeys = Annotated[
    tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_keys), AfterValidator(_check_keys)
]
MetricsBy = Annotated[str, _check_with(parse_metrics_by)]
Issuer = Annotated[str, AfterValidator(_check_issuer)]
OidcRules = Annotated[str, _check_with(parse_oidc_rules)]
MailAddress = Annotated[str, AfterValidator(_parse_address)]
MailDomain = Annotated[str, AfterValidator(_parse_domain)]
MailDomains = Annotated[str, _check_with(parse_domains)]
EhloName = Annotated[str, AfterValidator(parse_ehlo_name)]
