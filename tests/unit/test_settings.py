"""Every setting is checked, says where it came from, and never shows a secret."""

import json
import os
import re
from base64 import b64encode
from pathlib import Path
from typing import Final

import pytest
from pydantic import ValidationError

from app.domain.errors import SettingsError
from app.settings.checks import parse_oidc_rules
from app.settings.model import Settings, describe_expectation, get_description, variable_name
from app.settings.reading import Source, find_unknown_variables, list_settings, read_settings

KEY = b64encode(bytes(range(32))).decode()
OLD_KEY = b64encode(bytes(range(1, 33))).decode()
CANARY = "canary-3f9c-in-the-coal-mine"


@pytest.fixture(autouse=True)
def empty_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without `.env`, and no variable of the machine's own."""
    monkeypatch.chdir(tmp_path)
    for name in [variable for variable in os.environ if variable.startswith("HELOISE_")]:
        monkeypatch.delenv(name)
    return tmp_path


def complaint(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    """What `load` says to these values in the environment."""
    for field, value in values.items():
        monkeypatch.setenv(variable_name(field), value)
    with pytest.raises(SettingsError) as excinfo:
        read_settings()
    assert excinfo.value.__context__ is None
    return str(excinfo.value)


def test_everything_has_a_default_but_the_secrets() -> None:
    """A fresh machine needs no setting to look around."""
    settings = read_settings()
    assert settings.database_url == "sqlite:///heloise.db"
    assert settings.admin_key is None
    assert settings.secret_keys == ()
    assert {shown.source for shown in list_settings(settings)} == {Source.DEFAULT}


@pytest.mark.parametrize("field", Settings.model_fields)
def test_each_setting_is_described(field: str) -> None:
    """Each has a sentence, and says what its value should be."""
    assert get_description(field).endswith(".")
    assert describe_expectation(field)


@pytest.mark.parametrize(
    ("field", "value", "should_be"),
    [
        ("port", "abc", "a whole number from 1 to 65535"),
        ("port", "65536", "a whole number from 1 to 65535"),
        ("lease_seconds", "0", "a number from 1 to 3600"),
        ("delivery", "perhaps", "true or false"),
        ("log_level", "loud", "one of debug, info, warning, error"),
        ("ehlo_name", "localhost", "a fully qualified domain name such as mail.example.com"),
        ("allowed_ports", "25,99999", "ports and ranges between 1 and 65535"),
        ("allowed_ports", "587-25", "ports and ranges between 1 and 65535"),
        ("allowed_ports", "smtp", "ports and ranges between 1 and 65535"),
        ("dns_servers", "dns.example.com", "IP addresses, with a port if it is not 53"),
        ("dns_servers", "192.0.2.1:0", "IP addresses, with a port if it is not 53"),
        ("dns_servers", "192.0.2.1 192.0.2.2", "IP addresses, with a port"),
        ("secrets_dir", "/nowhere/at/all", "an existing folder"),
    ],
)
def test_an_error_says_what_the_value_should_be(
    field: str, value: str, should_be: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The complaint names the variable, what was found, what it should be, and where it was."""
    message = complaint(monkeypatch, **{field: value})
    assert f"{variable_name(field)}: found {value!r}, should be {should_be}" in message
    assert "(from: environment)" in message


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", ()),
        ("192.0.2.1", (("192.0.2.1", 53),)),
        ("192.0.2.1:5353, 2001:db8::1", (("192.0.2.1", 5353), ("2001:db8::1", 53))),
        ("[2001:db8::1]:5353,[fe80::1%eth0]", (("2001:db8::1", 5353), ("fe80::1%eth0", 53))),
    ],
)
def test_dns_servers_have_port_53_where_none_is_given(
    text: str, servers: tuple[tuple[str, int], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An IPv6 address stands in brackets where a port follows."""
    monkeypatch.setenv("HELOISE_DNS_SERVERS", text)
    assert read_settings().dns_server_addresses() == servers


def test_all_invalid_settings_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One does not learn of the second mistake by mending the first."""
    message = complaint(monkeypatch, port="abc", log_level="loud")
    assert "HELOISE_PORT" in message
    assert "HELOISE_LOG_LEVEL" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("admin_key", CANARY),
        ("metrics_token", CANARY),
        ("admin_key", CANARY + " with spaces in it"),
        ("admin_key", f"ann:{CANARY},{CANARY * 2}"),
        ("admin_key", f"{CANARY * 2},{CANARY * 3}"),
        ("secret_keys", CANARY),
        ("secret_keys", f"{KEY},{CANARY}"),
        ("database_url", CANARY),
        ("database_url", f"mysql://heloise:{CANARY}@db/heloise"),
        ("database_url", f"postgresql://heloise:{CANARY}@db:port/heloise"),
    ],
)
@pytest.mark.parametrize("source", ["environment", ".env", "secrets folder"])
def test_a_wrong_secret_is_never_echoed(
    field: str, value: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 9: only its length is told, wherever it was found."""
    if source == ".env":
        (tmp_path / ".env").write_text(f"{variable_name(field)}='{value}'\n")
    if source == "secrets folder":
        (tmp_path / variable_name(field).lower()).write_text(value + "\n")
        monkeypatch.setenv("HELOISE_SECRETS_DIR", str(tmp_path))
    message = complaint(monkeypatch, **({field: value} if source == "environment" else {}))
    assert f"{variable_name(field)}: found a value of {len(value)} characters, should be" in message
    assert f"(from: {source})" in message
    assert CANARY not in message


def test_the_model_itself_echoes_nothing() -> None:
    """Invariant 9 holds for an error that somebody prints unread, too."""
    with pytest.raises(ValueError, match="admin_key") as excinfo:
        Settings(admin_key=CANARY)  # type: ignore[arg-type]
    assert CANARY not in str(excinfo.value)


def test_values_are_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 9: keys and the passwords in a database's URL are masked."""
    monkeypatch.setenv("HELOISE_ADMIN_KEY", CANARY * 2)
    monkeypatch.setenv("HELOISE_SECRET_KEYS", f"{KEY},{OLD_KEY}")
    for variable in ("HELOISE_DATABASE_URL", "HELOISE_DATABASE_READ_URL"):
        monkeypatch.setenv(variable, f"postgresql://me:{CANARY}@db/heloise?sslpassword={CANARY}")
    settings = read_settings()
    values = {name: value for name, value, _ in list_settings(settings)}
    assert values["HELOISE_ADMIN_KEY"] == "***"
    assert values["HELOISE_SECRET_KEYS"] == "***,***"
    assert values["HELOISE_DATABASE_URL"] == "postgresql://me:***@db/heloise?sslpassword=***"
    assert values["HELOISE_DATABASE_READ_URL"] == values["HELOISE_DATABASE_URL"]
    assert KEY not in repr(settings)


def test_the_environment_is_stronger_than_dotenv_and_that_than_the_secrets_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source gives what the stronger ones leave open."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name in ("heloise_port", "HELOISE_HOST", "heloise_log_level"):
        (folder / name).write_text(
            {"heloise_port": "1", "HELOISE_HOST": "a.example"}.get(name, "error")
        )
    (tmp_path / ".env").write_text(
        f"HELOISE_PORT=2\nHELOISE_HOST=b.example\nHELOISE_SECRETS_DIR={folder}\n"
    )
    monkeypatch.setenv("HELOISE_PORT", "3")
    settings = read_settings()
    assert (settings.port, settings.host, settings.log_level) == (3, "b.example", "error")
    sources = {name: source for name, _, source in list_settings(settings)}
    assert sources["HELOISE_PORT"] is Source.ENVIRONMENT
    assert sources["HELOISE_HOST"] is Source.DOTENV
    assert sources["HELOISE_LOG_LEVEL"] is Source.SECRETS
    assert sources["HELOISE_DELIVERY"] is Source.DEFAULT


def test_an_empty_variable_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files write `NAME=${NAME:-}`: that is no value."""
    monkeypatch.setenv("HELOISE_EHLO_NAME", "")
    assert read_settings().ehlo_name is None


@pytest.mark.parametrize("separator", [",", "\n", ", ", "\r\n"])
def test_secret_keys_are_separated_by_commas_or_line_ends(
    separator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file takes a key a line, a variable takes commas; the newest comes first."""
    monkeypatch.setenv("HELOISE_SECRET_KEYS", separator.join((KEY, OLD_KEY)) + separator)
    assert read_settings().load_encryption_keys() == (bytes(range(32)), bytes(range(1, 33)))


def test_an_error_says_how_to_make_missing_secret_keys() -> None:
    """The commands that need one ask for it in these words."""
    with pytest.raises(SettingsError, match=r"HELOISE_SECRET_KEYS: not set.*heloise secret-key"):
        read_settings().load_encryption_keys()


@pytest.mark.parametrize(
    ("ports", "port", "allowed"),
    [
        ("25,465,587,2525", 587, True),
        ("25,465,587,2525", 26, False),
        ("1-65535", 1, True),
        ("25, 1000-2000", 2000, True),
        ("25, 1000-2000", 2001, False),
    ],
)
def test_ports_are_allowed_singly_and_by_range(ports: str, port: int, *, allowed: bool) -> None:
    """Both ends of a range belong to it."""
    assert (Settings(allowed_ports=ports).build_guard().port_refusal(port) is None) is allowed


def test_the_name_is_stored_as_it_goes_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """The EHLO name passes the same parser as a profile's."""
    monkeypatch.setenv("HELOISE_EHLO_NAME", "Mail.Example.COM")
    assert read_settings().ehlo_name == "mail.example.com"


def test_an_error_names_the_file_of_an_unreadable_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are no text are a fault of the file, not of the program."""
    (tmp_path / "heloise_admin_key").write_bytes(b"\xff" * 40)
    assert "admin_key" in complaint(monkeypatch, secrets_dir=str(tmp_path))


def test_what_looks_like_a_setting_and_is_none_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the environment, in `.env` and in the secrets folder, each with what was meant."""
    monkeypatch.setenv("HELOISE_PROT", "8000")
    (tmp_path / ".env").write_text("HELOISE_DATABSE_URL=sqlite:///x.db\nOTHER=1\n")
    (tmp_path / "heloise_xyzzy").write_text("1")
    monkeypatch.setenv("HELOISE_SECRETS_DIR", str(tmp_path))
    assert find_unknown_variables() == [
        ("HELOISE_DATABSE_URL", "HELOISE_DATABASE_URL"),
        ("HELOISE_PROT", "HELOISE_PORT"),
        ("HELOISE_XYZZY", None),
    ]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("k" * 32, ["admin"]),
        ("ann:" + "k" * 32, ["ann"]),
        (f"ann:{'k' * 32},bob:{'l' * 32}", ["ann", "bob"]),
        (f"ann:{'k' * 32}\nbob:{'l' * 32}\n", ["ann", "bob"]),
    ],
)
def test_admin_keys_have_names(value: str, names: list[str]) -> None:
    """One alone needs none."""
    keys = Settings(admin_key=value).parse_admin_keys()  # type: ignore[arg-type]
    assert list(keys) == names
    assert keys[names[0]] == "k" * 32


@pytest.mark.parametrize(
    "value",
    [
        "k" * 31,
        "ann:" + "k" * 31,
        f"{'k' * 32},{'l' * 32}",
        f"ann:{'k' * 32},{'l' * 32}",
        f"ann:{'k' * 32},ann:{'l' * 32}",
        ",",
    ],
)
def test_admin_keys_need_distinct_names(value: str) -> None:
    """Several without names are refused, and short ones."""
    with pytest.raises(ValidationError):
        Settings(admin_key=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["10.0.0.1/8", "10.0.0.0/33", "inside", "10.0.0.0/8 ::/0"])
@pytest.mark.parametrize("field", ["allowed_networks", "denied_networks", "trusted_proxies"])
def test_networks_are_checked(field: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is meant by bits beyond the mask nobody knows."""
    assert "networks or addresses such as 10.0.0.0/8" in complaint(monkeypatch, **{field: value})


RULE: Final = {"claim": "groups", "value": "a", "tenant": "acme", "scopes": ["messages:read"]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{", "no JSON"),
        ("{}", "no list of rules"),
        ("[]", "no list of rules"),
        ('["a"]', "rule 1 of 1 has no claim or no value"),
        (json.dumps([RULE, RULE | {"scope": "x"}]), "rule 2 of 2 has the unknown field 'scope'"),
        (json.dumps([RULE | {"tenant": 7}]), "claim, value and tenant are texts"),
        (json.dumps([RULE | {"admin": True}]), "an admin has no tenant and no scopes"),
        (json.dumps([RULE | {"scopes": []}]), 'needs a tenant and a list of scopes, or "admin"'),
        (json.dumps([RULE | {"scopes": ["all"]}]), "'all' is no scope; write some of messages:"),
        ('[{"claim": "a", "value": "b", "admin": false}]', "needs a tenant and a list of scopes"),
    ],
)
def test_a_wrong_rule_for_people_is_named(value: str, expected: str) -> None:
    """By its number, with what is wrong with it."""
    with pytest.raises(ValueError, match=re.escape(expected)):
        parse_oidc_rules(value)


@pytest.mark.parametrize(
    "issuer", ["http://sso.example.com", "sso.example.com", "https://a@b.example", "https://a/?b"]
)
def test_an_issuer_is_an_https_url(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or one of this machine."""
    monkeypatch.setenv("HELOISE_OIDC_ISSUER", issuer)
    with pytest.raises(SettingsError, match=r"HELOISE_OIDC_ISSUER.*https://sso.example.com"):
        read_settings()
    monkeypatch.setenv("HELOISE_OIDC_ISSUER", "http://localhost:9000")
    assert read_settings().oidc_issuer == "http://localhost:9000"


def test_single_sign_on_needs_all_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error names the first one that is missing."""
    assert read_settings().build_openid_client() is None
    monkeypatch.setenv("HELOISE_OIDC_ISSUER", "https://sso.example.com")
    for name, value in (("CLIENT_ID", "heloise"), ("RULES", json.dumps([RULE]))):
        with pytest.raises(SettingsError, match=f"HELOISE_OIDC_{name}: not set"):
            read_settings().build_openid_client()
        monkeypatch.setenv(f"HELOISE_OIDC_{name}", value)
    client = read_settings().build_openid_client()
    assert client is not None
    assert client.provider_name == "sso.example.com"
