"""Verify the requests that Heloise posts to your webhooks (Standard Webhooks)."""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Mapping
from typing import Final, cast

from heloise_client.errors import WebhookError
from heloise_client.types import EventRead

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix of all secrets
VERSION: Final = "v1"
TOLERANCE_SECONDS: Final = 300.0


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> EventRead:
    """Return the event of a request to your webhook; raise WebhookError if it is forged.

    `body` is the request's body as it arrived, before any JSON parser. `now` is in Unix time. An
    event may arrive twice: skip an `id` that you have seen.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    try:
        event_id, timestamp = fields["webhook-id"], fields["webhook-timestamp"]
        signatures = fields["webhook-signature"].split()
    except KeyError as missing:
        raise WebhookError(f"The request has no header {missing.args[0]}.") from None
    content = body.encode() if isinstance(body, str) else body
    signed = b".".join([event_id.encode(), timestamp.encode(), content])
    expected = base64.b64encode(hmac.digest(_decode_secret(secret), signed, "sha256")).decode()
    # During a rotation there is one for each secret.
    versions = [signature.partition(",") for signature in signatures]
    if not any(
        version == VERSION and hmac.compare_digest(value.encode(), expected.encode())
        for version, _, value in versions
    ):
        raise WebhookError("No signature of the request is made with this secret.")
    _check_time(timestamp, time.time() if now is None else now, tolerance_seconds)
    return cast("EventRead", json.loads(content))


def _decode_secret(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise WebhookError(f"The secret is no base64; copy it whole: {SECRET_PREFIX}…") from None
    if not key:  # anybody could sign with it
        raise WebhookError(f"The secret is empty; copy it whole: {SECRET_PREFIX}…")
    return key


def _check_time(timestamp: str, now: float, tolerance_seconds: float) -> None:
    """Refuse old requests, which somebody may have recorded."""
    is_number = timestamp.isascii() and timestamp.isdigit()
    if not is_number or abs(now - int(timestamp)) > tolerance_seconds:
        raise WebhookError(f"The request is from another time: {timestamp}.")
