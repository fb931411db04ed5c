"""Define what each encrypted secret is bound to: row, field and destination.

All code that encrypts, decrypts or changes a secret asks here, so that the destination is always
the same.
"""

from dataclasses import fields
from typing import Any, Final

from app.domain.inbound.mailbox import Mailbox
from app.domain.types import Profile, SmtpServer
from app.domain.webhooks import Webhook
from app.store.secrets.encryption import Destination, SealContext

# It is never sent, but proves who the profile is to whichever server it is pointed at.
CLIENT_KEY: Final = "client_key"
# What access tokens are asked for with, and the token: it logs in to the SMTP server then.
OAUTH: Final = frozenset(
    {"oauth_client_secret", "oauth_private_key", "oauth_refresh_token", "access_token"}
)


def profile_secret(profile: Profile, field: str) -> SealContext:
    """What a secret of a profile is bound to."""
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
    """The SMTP server, and how it proves that it is the one."""
    server = {field.name: getattr(profile, field.name) for field in fields(SmtpServer)}
    return server | {"tls": profile.tls.value, "tls_pins": sorted(profile.tls_pins)}


def mailbox_password(mailbox: Mailbox) -> SealContext:
    """What the password of a mailbox is bound to."""
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
    """What the secret of a webhook is bound to: the whole URL, for a host may have many owners."""
    return SealContext(webhook.id, "secret", {"url": webhook.url})


def dkim_private_key(key_id: str) -> SealContext:
    """What a key that signs messages is bound to; it is sent to nobody."""
    return SealContext(key_id, "private_key", None)


def request_fingerprint(row: str) -> SealContext:
    """What the fingerprint of a request with an Idempotency-Key is bound to."""
    return SealContext(row, "fingerprint", None)


def changed_settings(before: SealContext, after: SealContext) -> list[str]:
    """The settings that send the secret elsewhere, or protect it in another way."""
    old: Destination = before.destination or {}
    new: Destination = after.destination or {}
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]
