"""A secret opens only where it was sealed to be sent; no setting that redirects it is left out."""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, Final

import pytest

from app.domain.errors import SealError
from app.domain.events import EventFilter
from app.domain.inbound.mailbox import Mailbox, MailboxTls
from app.domain.types import (
    AuthMechanism,
    Destination,
    OAuth,
    OAuthGrant,
    Profile,
    Ramp,
    RampPeriod,
    RateLimit,
    RetryPolicy,
    Timeouts,
    TlsMode,
    Transport,
)
from app.domain.types import NamedAddress as Sender
from app.domain.webhooks import Webhook, WebhookFormat
from app.inbound.imap_account import ImapAccount
from app.smtp.identity import Identity
from app.store.profiles.rows import SEALED_COLUMNS, secret_field
from app.store.secrets.contexts import OAUTH, mailbox_password, profile_secret, webhook_secret
from app.store.secrets.encryption import SealContext, Vault
from app.store.tables.core import profiles as profile_rows
from app.store.tables.events import webhooks as webhook_rows
from app.store.tables.inbound import mailboxes as mailbox_rows
from app.store.tables.metadata import metadata
from tests.support.rows import NOW, a_mailbox, a_webhook

VAULT: Final = Vault([bytes(32)])
TOKENS: Final = OAuth(
    grant=OAuthGrant.REFRESH_TOKEN,
    token_url="https://login.example.com/token",
    client_id="app-1",
)
PROFILE: Final = Profile(
    id="prf_1",
    tenant_id="ten_1",
    name="main",
    host="smtp.example.com",
    username="billing",
    oauth=TOKENS,
    created_at=NOW,
    updated_at=NOW,
)
MAILBOX: Final = a_mailbox("ten_1", id="mbx_1")
WEBHOOK: Final = a_webhook("ten_1", id="whk_1")
LATER: Final = NOW + timedelta(minutes=1)

# Another value for every field. The row itself is bound by its id.
OF_PROFILE: Final[dict[str, Any]] = {
    "id": "prf_2",
    "tenant_id": "ten_2",
    "name": "other",
    "is_default": True,
    "transport": Transport.SANDBOX,
    "host": "evil.example.net",
    "port": 2525,
    "tls": TlsMode.OPPORTUNISTIC,
    "tls_ca": "another authority",
    "client_certificate": "another certificate",
    "has_client_key": True,
    "tls_min_version": "1.0",
    "tls_server_name": "evil.example.net",
    "tls_pins": ("sha256/another",),
    "ehlo_name": "other.example.com",
    "source_address": "192.0.2.1",
    "auth_mechanism": AuthMechanism.LOGIN,
    "username": "somebody-else",
    "has_password": True,
    "allow_plaintext_auth": True,
    "oauth": None,
    "has_oauth_client_secret": True,
    "has_oauth_private_key": True,
    "has_oauth_refresh_token": True,
    "default_from": Sender("other@example.com"),
    "allowed_from": ("*@example.com",),
    "max_connections": 1,
    "max_messages_per_connection": 1,
    "rate_limit": RateLimit(1, 1),
    "ramp": Ramp(start=1, factor=2.0, every=RampPeriod.DAY, until=9, started_at=NOW),
    "destinations": (Destination(number=1, match=("example.com",), max_connections=1),),
    "timeouts": Timeouts(connect=1.0),
    "retry": RetryPolicy(first_seconds=1.0),
    "fallback_profile_id": "prf_3",
    "fallback_after_seconds": 1,
    "paused_at": LATER,
    "revision": 2,
    "created_at": LATER,
    "updated_at": LATER,
}
OF_MAILBOX: Final[dict[str, Any]] = {
    "id": "mbx_2",
    "tenant_id": "ten_2",
    "name": "other",
    "host": "evil.example.net",
    "port": 143,
    "tls": MailboxTls.STARTTLS,
    "tls_ca": "another authority",
    "username": "somebody-else",
    "folder": "Other",
    "poll_seconds": 61,
    "deletes_reports": True,
    "disabled_at": LATER,
    "uid_validity": 1,
    "last_uid": 1,
    "next_poll_at": LATER,
    "polled_at": LATER,
    "failing_since": LATER,
    "reason": "it is down",
    "reports": 1,
    "others": 1,
    "created_at": LATER,
    "updated_at": LATER,
}
OF_WEBHOOK: Final[dict[str, Any]] = {
    "id": "whk_2",
    "tenant_id": "ten_2",
    "name": "other",
    "url": "https://log.example.com/another",
    "event_filter": EventFilter(tags=("receipt",)),
    "is_ordered": True,
    "format": WebhookFormat.RESEND,
    "former_secret_until": LATER,
    "disabled_at": LATER,
    "disabled_reason": "switched off",
    "failing_since": LATER,
    "last_error": "the URL answered 500",
    "last_error_at": LATER,
    "waiting_since": LATER,
    "created_at": LATER,
    "updated_at": LATER,
}
OF_OAUTH: Final[dict[str, Any]] = {
    "grant": OAuthGrant.CLIENT_CREDENTIALS,
    "token_url": "https://evil.example.net/token",
    "client_id": "app-2",
    "scope": "mail.send",
    "subject": "ann@example.com",
}
# What a connection is made by that neither leads it elsewhere nor protects it less: who greets,
# from where, how long is waited, in which form the secret is said, and the secrets themselves.
NO_DESTINATION: Final = {
    "profile_id",
    "client_certificate",
    "client_key",
    "ehlo_names",
    "source_address",
    "mechanism",
    "password",
    "token_revision",
    "timeouts",
}
# The addresses are those of the host, and the folder is opened after the login.
NO_IMAP_DESTINATION: Final = {"addresses", "password", "folder"}


def opens(sealed: SealContext, now: SealContext) -> bool:
    """Whether what was sealed for one context opens in another."""
    try:
        return VAULT.open(VAULT.seal("canary", sealed), now) == "canary"
    except SealError:
        return False


def settings(context: SealContext) -> set[str]:
    """The names of what it is bound to besides its row and field."""
    return {name.removeprefix("auth.") for name in context.destination or {}}


def test_all_that_a_connection_is_made_by_is_bound_or_known_to_be_harmless() -> None:
    """A new setting of a connection is one or the other, or this fails."""
    by_smtp = {field.name for field in fields(Identity)} - NO_DESTINATION
    assert settings(profile_secret(PROFILE, "password")) == by_smtp
    assert settings(profile_secret(PROFILE, "access_token")) == {*by_smtp, "token_url"}
    by_imap = {field.name for field in fields(ImapAccount)} - NO_IMAP_DESTINATION
    assert settings(mailbox_password(MAILBOX)) == by_imap


@pytest.mark.parametrize("name", sorted(OF_PROFILE))
@pytest.mark.parametrize("secret", [*map(secret_field, SEALED_COLUMNS), "access_token"])
def test_a_profiles_secret_opens_for_its_destination_alone(secret: str, name: str) -> None:
    """Whichever field of the profile is another one in the row."""
    after = replace(PROFILE, **{name: OF_PROFILE[name]})
    bound = {"id"} | settings(profile_secret(PROFILE, secret)) | ({"oauth"} & _oauth(secret))
    assert opens(profile_secret(PROFILE, secret), profile_secret(after, secret)) is (
        name not in bound
    )


def _oauth(secret: str) -> set[str]:
    return {"oauth"} if secret in OAUTH else set()


@pytest.mark.parametrize("name", sorted(OF_OAUTH))
@pytest.mark.parametrize("secret", sorted(OAUTH))
def test_what_tokens_are_asked_for_with_opens_for_its_token_server_alone(
    secret: str, name: str
) -> None:
    """And so does the token that was had from there."""
    after = replace(PROFILE, oauth=replace(TOKENS, **{name: OF_OAUTH[name]}))
    is_same = opens(profile_secret(PROFILE, secret), profile_secret(after, secret))
    assert is_same is (name != "token_url")


@pytest.mark.parametrize("name", sorted(OF_MAILBOX))
def test_a_mailboxs_password_opens_for_its_server_alone(name: str) -> None:
    """Whichever field of the mailbox is another one in the row."""
    context, after = mailbox_password(MAILBOX), replace(MAILBOX, **{name: OF_MAILBOX[name]})
    assert opens(context, mailbox_password(after)) is (name not in {"id"} | settings(context))


@pytest.mark.parametrize("name", sorted(OF_WEBHOOK))
def test_a_webhooks_secret_opens_for_its_url_alone(name: str) -> None:
    """The whole of it: another path on the host may be another tenant's there."""
    after = replace(WEBHOOK, **{name: OF_WEBHOOK[name]})
    is_same = opens(webhook_secret(WEBHOOK), webhook_secret(after))
    assert is_same is (name not in {"id", "url"})


@pytest.mark.parametrize(
    ("kind", "others"),
    [(Profile, OF_PROFILE), (OAuth, OF_OAUTH), (Mailbox, OF_MAILBOX), (Webhook, OF_WEBHOOK)],
)
def test_every_field_is_tried(kind: type[Any], others: dict[str, Any]) -> None:
    """A new one fails here until it is."""
    assert others.keys() == {field.name for field in fields(kind)}


def test_every_sealed_column_is_known() -> None:
    """A new kind of secret has to say here where it goes, or that it goes nowhere."""
    sent = {
        *(profile_rows.c[name] for name in SEALED_COLUMNS),
        metadata.tables["oauth_tokens"].c.sealed_access_token,
        mailbox_rows.c.sealed_password,
        webhook_rows.c.sealed_secret,
        webhook_rows.c.sealed_former_secret,
    }
    exceptions = {"sealed_private_key", "sealed_key", "sealed_fingerprint"}
    checked = metadata.tables["provider_webhooks"].c.sealed_secret  # by it, posts are
    every = {
        column
        for table in metadata.tables.values()
        for column in table.c
        if column.name.startswith("sealed_") and column.name not in exceptions
    } - {checked}
    assert every == sent
