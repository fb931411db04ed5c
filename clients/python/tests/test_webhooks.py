"""A webhook's request is verified as Standard Webhooks says."""

import base64
import json
from datetime import UTC, datetime
from typing import Final

import pytest
from standardwebhooks.webhooks import Webhook

from app.webhooks.signed_post import _build_headers
from heloise_client import WebhookError, verify_webhook

SECRET: Final = "whsec_" + base64.b64encode(b"secret-of-a-webhook").decode()
FORMER: Final = "whsec_" + base64.b64encode(b"former-secret").decode()
NOW: Final = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
EVENT: Final = {"id": "evt_1", "type": "recipient.bounced", "data": {"code": None}}
BODY: Final = json.dumps(EVENT).encode()


def _headers(*secrets: str) -> dict[str, str]:
    """The headers of Heloise's own request."""
    return dict(_build_headers("evt_1", BODY, secrets, NOW))


def test_the_request_of_heloise_is_verified() -> None:
    """With bytes or text, and with headers in any case."""
    headers = {name.title(): value for name, value in _headers(SECRET).items()}
    for body in (BODY, BODY.decode()):
        assert verify_webhook(body, headers, SECRET, now=NOW.timestamp()) == EVENT


def test_either_secret_of_a_rotation_verifies() -> None:
    """Heloise signs with both."""
    headers = _headers(FORMER, SECRET)
    for secret in (FORMER, SECRET):
        assert verify_webhook(BODY, headers, secret, now=NOW.timestamp()) == EVENT


def test_the_library_of_standard_webhooks_signs_alike() -> None:
    """Its signature, at this moment."""
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("evt_1", now, BODY.decode()),
    }
    assert verify_webhook(BODY, headers, SECRET) == EVENT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"webhook-id": "evt_2"}, "No signature"),
        ({"webhook-timestamp": "1768469401"}, "No signature"),
        ({"webhook-signature": "v1,AAAA"}, "No signature"),
        ({"webhook-signature": "v1,ü v2,x nonsense ,"}, "No signature"),
        ({"webhook-signature": ""}, "No signature"),
    ],
)
def test_a_forged_request_is_refused(change: dict[str, str], message: str) -> None:
    """Each part is signed."""
    with pytest.raises(WebhookError, match=message):
        verify_webhook(BODY, _headers(SECRET) | change, SECRET, now=NOW.timestamp())


def test_what_cannot_be_verified_is_refused() -> None:
    """A changed body, a missing header, an old request, a secret that is none."""
    headers, now = _headers(SECRET), NOW.timestamp()
    with pytest.raises(WebhookError, match="No signature"):
        verify_webhook(BODY + b" ", headers, SECRET, now=now)
    with pytest.raises(WebhookError, match="no header webhook-id"):
        verify_webhook(BODY, {}, SECRET, now=now)
    for skew in (301, -301):
        with pytest.raises(WebhookError, match="another time"):
            verify_webhook(BODY, headers, SECRET, now=now + skew)
    with pytest.raises(WebhookError, match="no base64"):
        verify_webhook(BODY, headers, "whsec_?", now=now)
    for empty in ("", "whsec_"):  # a variable that is not set; anybody can sign with it
        with pytest.raises(WebhookError, match="is empty"):
            verify_webhook(BODY, headers, empty, now=now)
