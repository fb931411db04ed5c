"""A stored secret is sent elsewhere only by somebody who gives it again, whoever that is."""

from typing import Any, Final

import pytest

from app.api.inbound.mailbox_schemas import MailboxUpdate
from app.api.profiles.auth_schemas import AuthUpdate
from app.api.profiles.schemas import ProfileUpdate
from app.api.webhooks.schemas import WebhookUpdate
from tests.api.profiles.test_profiles import DIGEST, pair
from tests.support.api_client import PROFILE, Api, Caller
from tests.support.servers.token_server import private_key

pytestmark = pytest.mark.one_database

CERTIFICATE, KEY = pair()
OTHER_CERTIFICATE, _ = pair("other.example.com")
SECRET: Final = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw4cV0bJt1nXk="

# A profile with every secret that one may have at once.
AUTH: Final[dict[str, Any]] = {
    "username": "billing@example.com",
    "password": "canary-password",
    "grant": "refresh_token",
    "token_url": "https://login.example.com/token",
    "client_id": "app-1",
    "client_secret": "canary-client-secret",
    "refresh_token": "canary-refresh-token",
}
FULL: Final = PROFILE | {
    "auth": AUTH,
    "client_certificate": CERTIFICATE,
    "client_key": KEY,
    "allowed_from": [],
}
OF_OAUTH: Final = {"auth.client_secret", "auth.refresh_token"}
OF_AUTH: Final = {"auth.password", *OF_OAUTH}
EVERY: Final = {*OF_AUTH, "client_key"}
AGAIN: Final[dict[str, dict[str, Any]]] = {
    "auth.password": {"auth": {"password": "canary-password"}},
    "auth.client_secret": {"auth": {"client_secret": "canary-client-secret"}},
    "auth.refresh_token": {"auth": {"refresh_token": "canary-refresh-token"}},
    "client_key": {"client_key": KEY, "client_certificate": CERTIFICATE},
}

# For every field a change, and the secrets that it needs again.
CHANGES: Final[dict[str, tuple[dict[str, Any], set[str]]]] = {
    "name": ({"name": "renamed"}, set()),
    "transport": ({"transport": "sandbox"}, set()),
    "host": ({"host": "evil.example.net"}, EVERY),
    "port": ({"port": 2525}, EVERY),
    "tls": ({"tls": "opportunistic"}, EVERY),
    "tls_ca": ({"tls_ca": OTHER_CERTIFICATE}, EVERY),
    "client_certificate": ({"client_certificate": OTHER_CERTIFICATE}, set()),
    "client_key": ({"client_key": KEY}, set()),
    "tls_min_version": ({"tls_min_version": "1.0"}, EVERY),
    "tls_server_name": ({"tls_server_name": "evil.example.net"}, EVERY),
    "tls_pins": ({"tls_pins": [f"sha256/{DIGEST}"]}, EVERY),
    "ehlo_name": ({"ehlo_name": "other.example.com"}, set()),
    "source_address": ({"source_address": "192.0.2.1"}, set()),
    "default_from": ({"default_from": "ann@example.com"}, set()),
    "allowed_from": ({"allowed_from": ["*@example.com"]}, set()),
    "max_connections": ({"max_connections": 1}, set()),
    "max_messages_per_connection": ({"max_messages_per_connection": 1}, set()),
    "rate_limit": ({"rate_limit": {"messages": 1, "per_seconds": 1}}, set()),
    "ramp": ({"ramp": {"start": 1, "factor": 2, "every": "day", "until": 9}}, set()),
    "destinations": (
        {"destinations": [{"match": ["example.com"], "max_connections": 1}]},
        set(),
    ),
    "timeouts": ({"timeouts": {"connect": 1.0}}, set()),
    "retry": ({"retry": {"first_seconds": 1.0}}, set()),
    "fallback_profile": ({"fallback_profile": "other"}, set()),
    "fallback_after_seconds": ({"fallback_after_seconds": 1}, set()),
    "is_default": ({"is_default": True}, set()),
}
AUTH_CHANGES: Final[dict[str, tuple[dict[str, Any], set[str]]]] = {
    "mechanism": ({"mechanism": "oauth2", "password": None}, set()),
    "username": ({"username": "other@example.com"}, OF_AUTH),
    "password": ({"password": "another"}, set()),
    "allow_plaintext_auth": ({"allow_plaintext_auth": True}, OF_AUTH),
    "grant": ({"grant": "client_credentials", "refresh_token": None}, set()),
    "token_url": ({"token_url": "https://evil.example.net/token"}, OF_OAUTH),
    "client_id": ({"client_id": "app-2"}, set()),
    "client_secret": ({"client_secret": "another"}, set()),
    "private_key": (
        {
            "grant": "jwt_bearer",
            "private_key": private_key(),
            "client_secret": None,
            "refresh_token": None,
        },
        set(),
    ),
    "refresh_token": ({"refresh_token": "another"}, set()),
    "scope": ({"scope": "mail.send"}, set()),
    "subject": (
        {
            "grant": "jwt_bearer",
            "private_key": private_key(),
            "subject": "ann@example.com",
            "client_secret": None,
            "refresh_token": None,
        },
        set(),
    ),
    "preset": ({"preset": "google"}, OF_OAUTH),
    "tenant": ({"preset": "microsoft", "tenant": "contoso.example"}, OF_OAUTH),
}
MAILBOX: Final[dict[str, Any]] = {
    "name": "in",
    "host": "imap.example.com",
    "username": "u",
    "password": "canary-password",
}
MAILBOX_CHANGES: Final[dict[str, tuple[Any, bool]]] = {
    "name": ("renamed", False),
    "host": ("evil.example.net", True),
    "port": (143, True),
    "tls": ("starttls", True),
    "tls_ca": (OTHER_CERTIFICATE, True),
    "username": ("other", True),
    "password": ("another", False),
    "folder": ("Other", False),
    "poll_seconds": (61, False),
    "delete_reports": (True, False),
    "enabled": (False, False),
}
WEBHOOK: Final = {"name": "log", "url": "https://log.example.com/events"}
WEBHOOK_CHANGES: Final[dict[str, tuple[Any, bool]]] = {
    "name": ("renamed", False),
    "url": ("https://log.example.com/another", True),
    "secret": (SECRET, False),
    "events": (["message.*"], False),
    "profiles": ([], False),
    "tags": (["receipt"], False),
    "first_deferral_only": (True, False),
    "format": ("resend", False),
    "ordered": (True, False),
    "enabled": (False, False),
}


def test_every_field_is_tried() -> None:
    """A new one fails here until it is known whether it leads a secret elsewhere."""
    assert {*CHANGES, "auth"} == ProfileUpdate.model_fields.keys()
    assert AUTH_CHANGES.keys() == AuthUpdate.model_fields.keys()
    assert MAILBOX_CHANGES.keys() == MailboxUpdate.model_fields.keys()
    assert WEBHOOK_CHANGES.keys() == WebhookUpdate.model_fields.keys()


def cases() -> list[Any]:
    """Every change of a profile, with the secrets that it needs again."""
    nested = {f"auth.{name}": ({"auth": c}, again) for name, (c, again) in AUTH_CHANGES.items()}
    return [pytest.param(*case, id=name) for name, case in (CHANGES | nested).items()]


def join_secrets(change: dict[str, Any], again: set[str]) -> dict[str, Any]:
    """The change with these secrets."""
    both = dict(change)
    for name in again:
        for key, value in AGAIN[name].items():
            both[key] = both.get(key, {}) | value if isinstance(value, dict) else value
    return both


@pytest.mark.parametrize(("change", "again"), cases())
async def test_a_profile_is_not_pointed_elsewhere_without_its_secrets(
    api: Api, acme: Caller, change: dict[str, Any], again: set[str]
) -> None:
    """Not by the tenant, nor by an admin; with all of them in the request it is."""
    await acme.made("/profiles", FULL | {"name": "other"})
    before = await acme.made("/profiles", FULL)
    for caller in (acme, api.admin_for("acme")) if again else ():
        refusal = await caller("PATCH", "/profiles/transactional", change)
        assert refusal.status_code == 422, refusal.text
        errors = {".".join(error["loc"][1:]): error["msg"] for error in refusal.json()["errors"]}
        assert errors.keys() == again
        assert all(f"set {name} again" in errors[name] for name in again)
        assert await acme.read("/profiles/transactional") == before
    answer = await acme("PATCH", "/profiles/transactional", join_secrets(change, again))
    assert answer.status_code == 200, answer.text


async def test_the_same_values_need_no_secret(acme: Caller) -> None:
    """Whole profiles are sent back by those who manage them as files."""
    profile = await acme.made("/profiles", FULL)
    same = {name: profile[name] for name in ("host", "port", "tls", "tls_ca", "tls_pins")}
    same["auth"] = {name: profile["auth"][name] for name in ("username", "token_url", "grant")}
    answer = await acme("PATCH", "/profiles/transactional", same | {"host": "SMTP.Example.COM."})
    assert answer.status_code == 200, answer.text


async def test_what_is_taken_away_is_not_asked_for(acme: Caller) -> None:
    """A profile that logs in no more may go anywhere."""
    await acme.made("/profiles", PROFILE)
    change = {"host": "other.example.net", "auth": None}
    assert (await acme("PATCH", "/profiles/transactional", change)).status_code == 200


async def test_the_refusal_names_what_changed(acme: Caller) -> None:
    """And what to write instead."""
    await acme.made("/profiles", PROFILE)
    change = {"host": "other.example.net", "port": 465, "tls": "implicit"}
    answer = await acme("PATCH", "/profiles/transactional", change)
    assert answer.json()["detail"] == (
        "body.auth.password: set auth.password again, or set it to null: the stored one is bound"
        " to its destination, and this request changes host, port, tls"
    )


@pytest.mark.parametrize(("name", "case"), MAILBOX_CHANGES.items())
async def test_a_mailbox_is_not_pointed_elsewhere_without_its_password(
    api: Api, acme: Caller, name: str, case: tuple[Any, bool]
) -> None:
    """Not by an admin either."""
    value, needs_secret = case
    path = f"/mailboxes/{(await acme.made('/mailboxes', MAILBOX))['id']}"
    for caller in (acme, api.admin_for("acme")) if needs_secret else ():
        refusal = await caller("PATCH", path, {name: value})
        assert (
            "set password again: the stored one is bound to its destination, and this request"
            in (refusal.json()["detail"])
        )
        assert refusal.json()["detail"].endswith(f"changes {name}")
    secret = {"password": "canary-password"} if needs_secret else {}
    assert (await acme("PATCH", path, {name: value} | secret)).status_code == 200


@pytest.mark.parametrize(("name", "case"), WEBHOOK_CHANGES.items())
async def test_a_webhook_is_not_pointed_elsewhere_without_its_secret(
    api: Api, acme: Caller, name: str, case: tuple[Any, bool]
) -> None:
    """With it, or with another one, it is; a former one counts no more."""
    value, needs_secret = case
    webhook = await acme.made("/webhooks", WEBHOOK)
    path = f"/webhooks/{webhook['id']}"
    await acme("POST", f"{path}/rotate")
    for caller in (acme, api.admin_for("acme")) if needs_secret else ():
        refusal = await caller("PATCH", path, {name: value})
        assert "set secret again" in refusal.json()["detail"]
    secret = {"secret": webhook["secret"]} if needs_secret else {}
    answer = await acme("PATCH", path, {name: value} | secret)
    assert answer.status_code == 200, answer.text
    gives_secret = needs_secret or name == "secret"
    assert (answer.json()["previous_secret_expires_at"] is None) is gives_secret


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw4cV0bJt1nXk=", "whsec_c2hvcnQ="]
)
async def test_a_secret_that_signs_nothing_is_refused(acme: Caller, secret: str) -> None:
    """Before an event is posted with it."""
    webhook = await acme.made("/webhooks", WEBHOOK)
    answer = await acme("PATCH", f"/webhooks/{webhook['id']}", {"secret": secret})
    [error] = answer.json()["errors"]
    assert error["msg"] == "write whsec_ and 24 to 64 random bytes in base64"
