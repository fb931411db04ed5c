"""Define what each encrypted secret is bound to: row, field and destination.

All code that encrypts, decrypts or changes a secret gets the destination here.
"""

from dataclasses import fields
from typing import Any, Final

from app.domain.inbound.mailbox import Mailbox
from app.domain.types import Profile, SmtpServer
from app.domain.webhooks import Webhook
from app.store.secrets.encryption import Destination, SealContext

# The key is never sent, but proves the profile's identity to any server.
CLIENT_KEY: Final = "client_key"
# The credentials of token requests, and the token, which the SMTP server gets.
OAUTH: Final = frozenset(
    {"oauth_client_secret", "oauth_private_key", "oauth_refresh_token", "access_token"}
)


def profile_secret(profile: Profile, field: str) -> SealContext:
    """Build the context of a profile's secret."""
    destination = _server(profile)
    if field != CLIENT_KEY:
        destination |= {
            "auth.username": profile.username,
            "auth.allow_plaintext_auth": profile.allow_plaintext_auth,
        }
    if field in OAUTH:
        destination["auth.token_url"] = profile.oauth and profile.oauth.token_url
    return SealContext(profile.id, field, destination)


def _server(profile: Profile) -> dict[str, Any]:
    """Return the SMTP server and how it is authenticated."""
    server = {field.name: getattr(profile, field.name) for field in fields(SmtpServer)}
    return server | {"tls": profile.tls.value, "tls_pins": sorted(profile.tls_pins)}


def mailbox_password(mailbox: Mailbox) -> SealContext:
    """Build the context of a mailbox's password."""
    return SealContext(
        mailbox.id,
        "password",
        {
            "host": mailbox.host,
            "port": mailbox.port,
            "tls": mailbox.tls.value,
            "tls_ca": mailbox.tls_ca,
            "username": mailbox.username,
        },
    )


def webhook_secret(webhook: Webhook) -> SealContext:
    """Build the context of a webhook's secret: the whole URL, as hosts have many owners."""
    return SealContext(webhook.id, "secret", {"url": webhook.url})


def provider_webhook_secret(webhook_id: str) -> SealContext:
    """Build the context of a provider webhook's secret, which is never sent."""
    return SealContext(webhook_id, "secret", None)


def dkim_private_key(key_id: str) -> SealContext:
    """Build the context of a DKIM key, which is never sent."""
    return SealContext(key_id, "private_key", None)


def request_fingerprint(row: str) -> SealContext:
    """Build the context of the fingerprint of a request with an Idempotency-Key."""
    return SealContext(row, "fingerprint", None)


def console_sign_in() -> SealContext:
    """Build the context of a sign-in that has begun, which the browser keeps."""
    return SealContext("console", "sign_in", None)


def changed_settings(before: SealContext, after: SealContext) -> list[str]:
    """Return the settings that change the secret's destination or its protection."""
    old: Destination = before.destination or {}
    new: Destination = after.destination or {}
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]
