"""/profiles: SMTP identities, their secrets kept, their EHLO name shown."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import trustme
from sqlalchemy import select

from app.api.profiles.responses import ProfileRead
from app.domain.ehlo import EffectiveEhlo, EhloNames, EhloSource
from app.domain.types import LaneHealth
from app.store.profiles import queries as store
from app.store.tables.core import profiles
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

CANARY = "canary-8d1f"
SANDBOX = {"name": "sandbox", "transport": "sandbox"}
DIGEST = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def pair(name: str = "client.example.com") -> tuple[str, str]:
    """A certificate and its key, in PEM."""
    issued = trustme.CA().issue_cert(name)
    certificate = issued.cert_chain_pems[0].bytes().decode()
    return certificate, issued.private_key_pem.bytes().decode()


async def load_sealed(api: Api, profile_id: str) -> Mapping[str, Any]:
    """What the database keeps of a profile's secrets."""
    query = select(profiles.c.sealed_password, profiles.c.sealed_client_key)
    async with api.services.database.reading() as connection:
        rows = await connection.execute(query.where(profiles.c.id == profile_id))
        return rows.one()._asdict()


async def test_a_profile_is_created_and_read_by_id_and_name(acme: Caller) -> None:
    """201, Location, and the same thing at both paths, its defaults filled in."""
    answer = await acme("POST", "/profiles", PROFILE)
    profile = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/profiles/{profile['id']}"
    assert await acme.read("/profiles/transactional") == profile
    assert await acme.read(f"/profiles/{profile['id']}") == profile
    expected = {
        "name": "transactional",
        "transport": "smtp",
        "host": "smtp.example.com",
        "port": 587,
        "tls": "starttls",
        "tls_ca": None,
        "client_certificate": None,
        "has_client_key": False,
        "tls_min_version": "1.2",
        "tls_server_name": None,
        "tls_pins": [],
        "ehlo_name": "mail.example.com",
        "effective_ehlo": {"name": "mail.example.com", "source": "profile", "warnings": []},
        "source_address": None,
        "auth": {
            "mechanism": "auto",
            "username": "billing",
            "has_password": True,
            "allow_plaintext_auth": False,
            **dict.fromkeys(("grant", "token_url", "client_id", "scope", "subject")),
            **dict.fromkeys(("has_client_secret", "has_private_key", "has_refresh_token"), False),
        },
        "default_from": "Billing <billing@example.com>",
        "allowed_from": ["*@example.com"],
        "max_connections": 10,
        "max_messages_per_connection": 1000,
        "concurrency": 10,
        "rate_limit": None,
        "available": None,
        "ramp": None,
        "destinations": [],
        "timeouts": {"connect": 30.0, "command": 120.0, "data": 600.0},
        "retry": {
            "first_seconds": 60.0,
            "factor": 2.0,
            "cap_seconds": 14400.0,
            "max_age_seconds": None,
            "max_unknown_outcomes": 3,
        },
        "fallback_profile": None,
        "fallback_after_seconds": 600,
        "is_default": True,
        "state": "active",
        "paused_at": None,
        "failing_since": None,
        "stalled_since": None,
        "failing_code": None,
        "reason": None,
        "next_probe_at": None,
        "recommended_ehlo_name": None,
    }
    assert {name: profile[name] for name in expected} == expected
    assert set(profile) - set(expected) == {"id", "created_at", "updated_at"}


async def test_a_password_is_sealed_and_never_read_back(api: Api, acme: Caller) -> None:
    """No answer has it, the database has it encrypted, bound to its row (invariant 9)."""
    answer = await acme("POST", "/profiles", PROFILE)
    profile_id = answer.json()["id"]
    sealed_password = (await load_sealed(api, profile_id))["sealed_password"]
    assert CANARY not in answer.text
    assert CANARY not in (await acme("GET", "/profiles")).text
    assert CANARY.encode() not in sealed_password
    assert await api.open_secret(profile_id, "password") == CANARY


async def test_a_client_certificate_keeps_its_key_sealed(api: Api, acme: Caller) -> None:
    """`has_client_key` is all that is read."""
    certificate, key = pair()
    body = PROFILE | {"client_certificate": certificate, "client_key": key, "tls_ca": certificate}
    profile = await acme.made("/profiles", body)
    assert profile["has_client_key"] is True
    assert "PRIVATE KEY" not in str(await acme.read("/profiles/transactional"))
    assert await api.open_secret(profile["id"], "client_key") == key


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("change", "loc", "message"),
    [
        ({"name": None}, ["name"], ""),
        ({"name": "a/b"}, ["name"], ""),
        ({"name": "a" * 101}, ["name"], "100"),
        ({"name": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162"}, ["name"], "looks like an id"),
        ({"host": None}, ["host"], "sandbox"),
        ({"host": ""}, ["host"], ""),
        ({"host": "https://smtp.example.com"}, ["host"], "only the host name"),
        ({"host": "smtp.example.com:587"}, ["host"], "only the host name"),
        ({"host": "smtp example.com"}, ["host"], "not a host name"),
        ({"host": "127.1"}, ["host"], "usual form"),
        ({"host": "0x7f000001"}, ["host"], "usual form"),
        ({"host": "127.0.0.1"}, ["host"], "HELOISE_ALLOW_PRIVATE_HOSTS"),
        ({"host": "10.1.2.3"}, ["host"], "HELOISE_ALLOW_PRIVATE_HOSTS"),
        ({"host": "[::1]"}, ["host"], "HELOISE_ALLOW_PRIVATE_HOSTS"),
        ({"host": "::ffff:127.0.0.1"}, ["host"], "HELOISE_ALLOW_PRIVATE_HOSTS"),
        ({"host": "169.254.169.254"}, ["host"], "HELOISE_ALLOW_PRIVATE_HOSTS"),
        ({"host": "localhost"}, ["host"], "HELOISE_ALLOW_PRIVATE_HOSTS"),
        ({"port": 0}, ["port"], ""),
        ({"port": 65536}, ["port"], ""),
        ({"port": 22}, ["port"], "HELOISE_ALLOWED_PORTS"),
        ({"tls": "ssl"}, ["tls"], "implicit"),
        ({"ehlo_name": "localhost"}, ["ehlo_name"], ""),
        ({"ehlo_name": "mail_1.example.com"}, ["ehlo_name"], ""),
        ({"ehlo_name": "192.0.2.1"}, ["ehlo_name"], "[192.0.2.1]"),
        ({"source_address": "mail.example.com"}, ["source_address"], "IP address"),
        ({"source_address": "0.0.0.0"}, ["source_address"], ""),  # noqa: S104 - refused
        ({"auth": {"password": "p"}}, ["auth", "username"], "user name"),
        ({"auth": {"mechanism": "plain"}}, ["auth", "username"], "user name"),
        ({"auth": {"username": "u"}}, ["auth", "password"], "set the password"),
        ({"auth": {"mechanism": "oauth"}}, ["auth", "mechanism"], "cram-md5"),
        ({"auth": {"username": "a\nb"}}, ["auth", "username"], "control"),
        (
            {"tls": "none", "auth": {"mechanism": "plain", "username": "u", "password": "p"}},
            ["auth", "allow_plaintext_auth"],
            "tls=starttls",
        ),
        ({"default_from": "eve@example.net"}, ["default_from"], "allowed_from"),
        ({"default_from": "eve"}, ["default_from"], ""),
        ({"allowed_from": ["example.com"]}, ["allowed_from", 0], ""),
        ({"max_connections": 0}, ["max_connections"], ""),
        ({"max_connections": 101}, ["max_connections"], "100"),
        ({"max_connections": True}, ["max_connections"], ""),
        ({"timeouts": {"connect": "5"}}, ["timeouts", "connect"], ""),
        ({"is_default": 1}, ["is_default"], ""),
        ({"max_messages_per_connection": 100_001}, ["max_messages_per_connection"], ""),
        ({"rate_limit": {"messages": 0, "per_seconds": 1}}, ["rate_limit", "messages"], ""),
        ({"rate_limit": {"messages": 1}}, ["rate_limit", "per_seconds"], "required"),
        ({"rate_limit": {"messages": 1, "per_seconds": 86401}}, ["rate_limit", "per_seconds"], ""),
        ({"timeouts": {"connect": 0.5}}, ["timeouts", "connect"], ""),
        ({"timeouts": {"data": 3601}}, ["timeouts", "data"], ""),
        ({"tls_ca": "x"}, ["tls_ca"], "BEGIN CERTIFICATE"),
        ({"tls_min_version": "1.4"}, ["tls_min_version"], "'1.3'"),
        ({"tls_min_version": 1.2}, ["tls_min_version"], "'1.2'"),
        ({"tls_server_name": "smtp.example.com:465"}, ["tls_server_name"], "only the host name"),
        ({"tls_server_name": ""}, ["tls_server_name"], ""),
        ({"tls_pins": f"sha256/{DIGEST}"}, ["tls_pins"], "list"),
        ({"tls_pins": [DIGEST]}, ["tls_pins", 0], "sha256/"),
        ({"tls_pins": [f"sha1/{DIGEST}"]}, ["tls_pins", 0], "sha256/"),
        ({"tls_pins": [f"sha256/{DIGEST[4:]}"]}, ["tls_pins", 0], "44 characters"),
        ({"tls_pins": [f"sha256/{DIGEST[:-2]}V="]}, ["tls_pins", 0], "44 characters"),
        ({"tls_pins": [f"sha256/{DIGEST}"], "tls": "none"}, ["tls_pins"], "tls=none"),
        ({"client_certificate": pair()[0]}, ["client_key"], "private key"),
        ({"client_key": pair()[1]}, ["client_certificate"], "certificate"),
        ({"client_key": "x"}, ["client_key"], "PEM private key"),
        ({"client_certificate": pair()[0], "client_key": pair()[1]}, [], "does not match"),
    ],
)
async def test_a_wrong_profile_is_refused(
    acme: Caller, change: dict[str, Any], loc: list[str | int], message: str
) -> None:
    """422 names the field and says what to write instead."""
    answer = await acme("POST", "/profiles", PROFILE | change)
    [error] = answer.json()["errors"]
    assert answer.status_code == 422
    assert error["loc"] == ["body", *loc]
    assert message in error["msg"]


async def test_timeouts_must_be_numbers(acme: Caller) -> None:
    """JSON knows no NaN, Python's reader does."""
    content = b'{"name": "a", "transport": "sandbox", "timeouts": {"connect": NaN}}'
    headers = {"Content-Type": "application/json"}
    answer = await acme("POST", "/profiles", content=content, headers=headers)
    assert answer.json()["errors"][0]["loc"] == ["body", "timeouts", "connect"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("SMTP.Example.COM.", "smtp.example.com"),
        ("smtp.bücher.example", "smtp.xn--bcher-kva.example"),
        ("8.8.8.8", "8.8.8.8"),
        ("[2001:4860:4860::8888]", "2001:4860:4860::8888"),
        ("mailpit", "mailpit"),
    ],
)
async def test_a_host_has_one_form(acme: Caller, host: str, expected: str) -> None:
    """Names as A-labels in lower case, addresses without brackets."""
    assert (await acme.made("/profiles", PROFILE | {"host": host}))["host"] == expected


async def test_private_hosts_where_the_operator_allows_them(api: Api, acme: Caller) -> None:
    """HELOISE_ALLOW_PRIVATE_HOSTS."""
    api.app.state.services = replace(
        api.services, guard=replace(api.services.guard, allow_private=True)
    )
    assert (await acme.made("/profiles", PROFILE | {"host": "127.0.0.1"}))["host"] == "127.0.0.1"


async def test_a_name_is_taken_once_in_a_tenant(api: Api, acme: Caller) -> None:
    """409 at creation and at renaming; another tenant may have the same."""
    await acme.made("/profiles", PROFILE)
    second = await acme("POST", "/profiles", PROFILE)
    assert (second.status_code, second.json()["type"]) == (409, "/problems/profile-exists")
    await acme.made("/profiles", SANDBOX)
    renamed = await acme("PATCH", "/profiles/sandbox", {"name": "transactional"})
    assert (renamed.status_code, renamed.json()["type"]) == (409, "/problems/profile-exists")
    await (await api.tenant("other")).made("/profiles", PROFILE)


async def test_the_first_profile_is_the_default_until_another_is(acme: Caller) -> None:
    """One default at most."""
    first = await acme.made("/profiles", PROFILE)
    second = await acme.made("/profiles", SANDBOX)
    assert (first["is_default"], second["is_default"]) == (True, False)
    await acme("PATCH", "/profiles/sandbox", {"is_default": True})
    items = (await acme.read("/profiles"))["items"]
    assert [(profile["name"], profile["is_default"]) for profile in items] == [
        ("transactional", False),
        ("sandbox", True),
    ]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("profile", "tenant", "service", "hostname", "expected"),
    [
        ("p.example.com", "t.example.com", "s.example.com", "h.example.com", "profile"),
        (None, "t.example.com", "s.example.com", "h.example.com", "tenant"),
        (None, None, "s.example.com", "h.example.com", "service"),
        (None, None, None, "h.example.com", "hostname"),
        (None, None, None, "4f2a9c1b77de", "address_literal"),
        (None, None, None, "localhost", "address_literal"),
    ],
)
async def test_the_effective_ehlo_follows_the_ladder(
    api: Api,
    profile: str | None,
    tenant: str | None,
    service: str | None,
    hostname: str,
    expected: str,
) -> None:
    """Profile, tenant, service, hostname, address literal; never localhost."""
    api.app.state.services = replace(
        api.services, ehlo_names=EhloNames(service=service, hostname=hostname)
    )
    caller = await api.tenant("acme")
    await api.admin("PATCH", "/tenants/acme", {"ehlo_name": tenant})
    created_profile = await caller.made("/profiles", PROFILE | {"ehlo_name": profile})
    names = {
        "profile": profile,
        "tenant": tenant,
        "service": service,
        "hostname": hostname,
        "address_literal": "[127.0.0.1]",
    }
    assert created_profile["effective_ehlo"]["source"] == expected
    assert created_profile["effective_ehlo"]["name"] == names[expected]
    assert await caller.read("/profiles/transactional") == created_profile


async def test_a_change_leaves_alone_what_it_does_not_name(api: Api, acme: Caller) -> None:
    """RFC 7396: of nested objects too; and the password stays."""
    body = PROFILE | {"rate_limit": {"messages": 100, "per_seconds": 60}}
    before = await acme.made("/profiles", body)
    change = {
        "ehlo_name": "mx.example.com",
        "auth": {"mechanism": "login"},
        "timeouts": {"connect": 5},
        "rate_limit": {"messages": 7},
    }
    answer = await acme("PATCH", "/profiles/transactional", change)
    after = answer.json()
    assert answer.status_code == 200
    assert after["updated_at"] > before["updated_at"]
    assert after == before | {
        "ehlo_name": "mx.example.com",
        "effective_ehlo": {"name": "mx.example.com", "source": "profile", "warnings": []},
        "auth": before["auth"] | {"mechanism": "login"},
        "timeouts": {"connect": 5.0, "command": 120.0, "data": 600.0},
        "rate_limit": {"messages": 7, "recipients": None, "per_seconds": 60, "burst": None},
        "available": 7,
        "updated_at": after["updated_at"],
    }
    assert before["available"] == 100
    assert await api.open_secret(before["id"], "password") == CANARY


async def test_null_takes_a_value_away(acme: Caller) -> None:
    """To its default, or to nothing."""
    change = PROFILE | {
        "port": 2525,
        "rate_limit": {"messages": 1, "per_seconds": 1},
        "timeouts": {"connect": 5},
    }
    await acme.made("/profiles", change)
    nulls = dict.fromkeys(
        ["port", "ehlo_name", "rate_limit", "timeouts", "default_from", "allowed_from", "auth"]
    )
    after = (await acme("PATCH", "/profiles/transactional", nulls)).json()
    assert after["port"] == 587
    assert after["ehlo_name"] is after["rate_limit"] is after["default_from"] is None
    assert after["timeouts"]["connect"] == 30
    assert after["allowed_from"] == []
    assert after["auth"]["username"] is None
    assert after["auth"]["has_password"] is False


async def test_what_is_asked_of_tls_is_kept_and_taken_away(acme: Caller) -> None:
    """Null goes back to TLS 1.2, the host's own name and any key; so does an empty list."""
    tls_fields = {
        "tls_min_version": "1.3",
        "tls_server_name": "MX.Example.Org.",
        "tls_pins": [f"sha256/{DIGEST}"],
    }
    profile = await acme.made("/profiles", PROFILE | {"auth": {}} | tls_fields)
    expected = tls_fields | {"tls_server_name": "mx.example.org"}
    assert {name: profile[name] for name in tls_fields} == expected
    nulls = dict.fromkeys(tls_fields)
    after = (await acme("PATCH", "/profiles/transactional", nulls)).json()
    cleared = {"tls_min_version": "1.2", "tls_server_name": None, "tls_pins": []}
    assert {name: after[name] for name in tls_fields} == cleared
    await acme("PATCH", "/profiles/transactional", tls_fields)
    empty = (await acme("PATCH", "/profiles/transactional", {"tls_pins": []})).json()
    assert {name: empty[name] for name in tls_fields} == expected | {"tls_pins": []}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        ([f"sha256//{DIGEST}"], [f"sha256/{DIGEST}"]),
        ([f"sha256/{DIGEST}", f"sha256//{DIGEST}"], [f"sha256/{DIGEST}"]),
        ([f"sha256//{DIGEST[1:]}"], [f"sha256//{DIGEST[1:]}"]),
    ],
)
async def test_a_pin_has_one_form(acme: Caller, pins: list[str], expected: list[str]) -> None:
    """Curl writes two strokes; but the second may be the digest's own first character."""
    assert (await acme.made("/profiles", PROFILE | {"tls_pins": pins}))["tls_pins"] == expected


async def test_a_password_is_replaced_and_erased(api: Api, acme: Caller) -> None:
    """A new one is sealed anew, null leaves nothing behind."""
    profile = await acme.made("/profiles", PROFILE)
    await acme("PATCH", "/profiles/transactional", {"auth": {"password": "new-one"}})
    assert await api.open_secret(profile["id"], "password") == "new-one"
    erasure = {"auth": {"username": None, "password": None}}
    after = (await acme("PATCH", "/profiles/transactional", erasure)).json()
    assert after["auth"]["has_password"] is False
    assert (await load_sealed(api, profile["id"]))["sealed_password"] is None


async def test_a_client_key_is_erased_with_its_certificate(api: Api, acme: Caller) -> None:
    """One without the other is refused."""
    certificate, key = pair()
    body = PROFILE | {"client_certificate": certificate, "client_key": key}
    profile = await acme.made("/profiles", body)
    half = await acme("PATCH", "/profiles/transactional", {"client_key": None})
    assert half.json()["errors"][0]["loc"] == ["body", "client_key"]
    both = {"client_key": None, "client_certificate": None}
    after = (await acme("PATCH", "/profiles/transactional", both)).json()
    assert after["has_client_key"] is False
    assert (await load_sealed(api, profile["id"]))["sealed_client_key"] is None


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"name": None}, ["name"]),
        ({"host": None}, ["host"]),
        ({"port": 22}, ["port"]),
        ({"host": "10.0.0.1"}, ["host"]),
        ({"auth": {"username": None}}, ["auth", "username"]),
        ({"auth": {"password": None}}, ["auth", "password"]),
        ({"tls": "none", "auth": {"mechanism": "login"}}, ["auth", "allow_plaintext_auth"]),
        ({"tls": "none", "tls_pins": [f"sha256/{DIGEST}"]}, ["tls_pins"]),
        ({"allowed_from": ["*@example.net"]}, ["default_from"]),
        ({"rate_limit": {"messages": 5}}, ["rate_limit", "per_seconds"]),
        ({"auth": {"passwrd": "x"}}, ["auth", "passwrd"]),
        ({"state": "paused"}, ["state"]),
    ],
)
async def test_a_change_is_checked_as_a_whole(
    acme: Caller, change: dict[str, Any], loc: list[str]
) -> None:
    """What would be refused at creation is refused, and nothing changes."""
    before = await acme.made("/profiles", PROFILE)
    answer = await acme("PATCH", "/profiles/transactional", change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", *loc]
    assert await acme.read("/profiles/transactional") == before


async def test_an_empty_change_changes_nothing(acme: Caller) -> None:
    """Connections are not retired for it."""
    before = await acme.made("/profiles", PROFILE)
    assert (await acme("PATCH", "/profiles/transactional", {})).json() == before
    assert (await acme("PATCH", "/profiles/transactional", {"port": 587})).json() == before


async def test_a_sandbox_needs_no_host(acme: Caller) -> None:
    """It becomes a real profile once it has one."""
    await acme.made("/profiles", SANDBOX)
    real = await acme("PATCH", "/profiles/sandbox", {"transport": "smtp"})
    assert real.json()["errors"][0]["loc"] == ["body", "host"]
    change = {"transport": "smtp", "host": "smtp.example.com"}
    assert (await acme("PATCH", "/profiles/sandbox", change)).json()["transport"] == "smtp"


async def test_pause_and_resume(acme: Caller) -> None:
    """The state says so; both may be repeated."""
    await acme.made("/profiles", PROFILE)
    for _ in range(2):
        paused = (await acme("POST", "/profiles/transactional/pause")).json()
        assert paused["state"] == "paused"
        assert paused["paused_at"] is not None
    for _ in range(2):
        resumed = (await acme("POST", "/profiles/transactional/resume")).json()
        assert (resumed["state"], resumed["paused_at"]) == ("active", None)


async def test_a_change_keeps_the_pause(acme: Caller) -> None:
    """Only resume ends it."""
    await acme.made("/profiles", PROFILE)
    await acme("POST", "/profiles/transactional/pause")
    after = await acme("PATCH", "/profiles/transactional", {"max_connections": 3})
    assert after.json()["state"] == "paused"


async def test_deleting_with_pending_messages_is_409(acme: Caller) -> None:
    """Until they are done, or with cancel_pending; what was accepted stays readable."""
    await acme.made("/profiles", PROFILE)
    message = await acme.made("/messages", MESSAGE)
    refusal = await acme("DELETE", "/profiles/transactional")
    assert refusal.status_code == 409
    assert refusal.json()["type"] == "/problems/profile-has-pending-messages"
    assert "cancel_pending=true" in refusal.json()["detail"]
    deleted = await acme("DELETE", "/profiles/transactional?cancel_pending=true")
    assert deleted.status_code == 204
    assert (await acme("GET", "/profiles/transactional")).status_code == 404
    after = await acme.read(f"/messages/{message['id']}")
    assert (after["status"], after["profile"]) == ("cancelled", "transactional")


async def test_a_deleted_profiles_name_is_free_and_its_secrets_are_gone(
    api: Api, acme: Caller
) -> None:
    """Nothing sealed stays behind."""
    profile = await acme.made("/profiles", PROFILE)
    assert (await acme("DELETE", f"/profiles/{profile['id']}")).status_code == 204
    assert await load_sealed(api, profile["id"]) == {
        "sealed_password": None,
        "sealed_client_key": None,
    }
    second = await acme.made("/profiles", PROFILE)
    assert second["id"] != profile["id"]
    assert [item["id"] for item in (await acme.read("/profiles"))["items"]] == [second["id"]]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_an_unknown_profile_is_404(acme: Caller, method: str) -> None:
    """By whatever method."""
    answer = await acme(method, "/profiles/none", {} if method == "PATCH" else None)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/profile-not-found")


async def test_profiles_are_listed_in_pages(acme: Caller) -> None:
    """Oldest first."""
    for number in range(3):
        await acme.made("/profiles", SANDBOX | {"name": f"p{number}"})
    first = await acme.read("/profiles?limit=2")
    second = await acme.read(f"/profiles?limit=2&cursor={first['next_cursor']}")
    names = [profile["name"] for profile in first["items"] + second["items"]]
    assert names == ["p0", "p1", "p2"]


async def test_a_failing_profile_says_why(api: Api, acme: Caller) -> None:
    """With the server's words, and when it is tried again."""
    created_profile = await acme.made("/profiles", PROFILE)
    async with api.services.database.reading() as connection:
        profile = await store.get(
            connection, tenant_id=acme.tenant_id, profile=created_profile["id"]
        )
    health = LaneHealth(
        failing_since=profile.created_at,
        code="ehlo_refused",
        reason="504 5.5.2 need fully-qualified hostname",
        next_probe_at=profile.updated_at,
        faults=1,
    )
    ehlo = EffectiveEhlo("mail.example.com", EhloSource.PROFILE)
    read = ProfileRead.of(profile, health, {}, profile.updated_at, ehlo)
    assert read.state == "failing"
    assert read.reason == health.reason
