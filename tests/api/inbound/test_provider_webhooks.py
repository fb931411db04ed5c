"""`/provider-webhooks`: made with what proves a post, and a URL that is shown once."""

from typing import Any

import pytest

from app.domain.api_keys import hash_secret
from app.store.inbound import provider_webhooks
from app.store.secrets.contexts import provider_webhook_secret
from tests.support.api_client import PROFILE, Api, Caller
from tests.support.provider_posts import TOPIC, sendgrid_public_key

SES = {"name": "ses", "provider": "ses", "topic_arn": TOPIC}
OPEN = {"name": "open", "provider": "postmark"}
DELIVERY = {"RecordType": "Delivery", "Recipient": "ann@example.org"}


async def takes(api: Api, path: str) -> bool:
    """Whether a URL without a secret takes posts."""
    answer = await api.nobody("POST", path, DELIVERY)
    assert answer.status_code in {200, 401}, answer.text
    return answer.status_code == 200


async def test_it_is_read_without_its_token_and_its_secret(api: Api, acme: Caller) -> None:
    """The token is stored as a hash, the secret sealed for its row alone."""
    body = {"name": "mg", "provider": "mailgun", "secret": "key-canary-8d1f"}
    provider_webhook = await acme.made("/provider-webhooks", body)
    token = provider_webhook.pop("path").removeprefix("/inbound/mailgun/")
    assert len(token) == 43
    assert await acme.read(f"/provider-webhooks/{provider_webhook['id']}") == provider_webhook
    assert (await acme.read("/provider-webhooks"))["items"] == [provider_webhook]
    assert provider_webhook["has_secret"]
    assert "canary" not in str(provider_webhook)
    async with api.services.database.reading() as connection:
        row = await provider_webhooks.find_by_token(
            connection,
            token_hash=hash_secret(token),
            provider=provider_webhooks.Provider.MAILGUN,
            now=api.services.now(),
        )
    assert row is not None
    assert row.sealed_secret is not None
    context = provider_webhook_secret(provider_webhook["id"])
    assert api.services.vault.open(row.sealed_secret, context) == body["secret"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"provider": "ses"}, "topic_arn"),
        ({"provider": "ses", "topic_arn": "arn:aws:sqs:eu-west-1:123456789012:x"}, "topic_arn"),
        ({"provider": "ses", "topic_arn": f"{TOPIC}/../x"}, "topic_arn"),
        ({"provider": "ses", "topic_arn": TOPIC, "secret": "x"}, "secret"),
        ({"provider": "sendgrid"}, "public_key"),
        ({"provider": "sendgrid", "public_key": "no key"}, "public_key"),
        ({"provider": "sendgrid", "public_key": sendgrid_public_key()[:-8]}, "public_key"),
        ({"provider": "mailgun"}, "secret"),
        ({"provider": "mailgun", "secret": ""}, "secret"),
        ({"provider": "mailgun", "secret": "x", "public_key": "y"}, "public_key"),
        ({"provider": "brevo", "topic_arn": TOPIC}, "topic_arn"),
        ({"provider": "postmark", "networks": ["x"]}, "networks"),
        ({"provider": "sparkpost"}, "provider"),
    ],
)
async def test_each_provider_needs_its_own_proof(acme: Caller, body: Any, place: str) -> None:
    """What it does not use is refused as well, so that nobody relies on it."""
    answer = await acme("POST", "/provider-webhooks", {"name": "x", **body})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"][:2] == ["body", place]


@pytest.mark.one_database
async def test_a_key_of_sendgrid_may_be_pem(acme: Caller) -> None:
    """As some tools convert it."""
    pem = f"-----BEGIN PUBLIC KEY-----\n{sendgrid_public_key()}\n-----END PUBLIC KEY-----\n"
    body = {"name": "sg", "provider": "sendgrid", "public_key": pem}
    assert (await acme.made("/provider-webhooks", body))["public_key"] == pem.strip()


async def test_it_is_changed(api: Api, acme: Caller) -> None:
    """Its URL stays; its provider too; the audit log names a secret, and does not show it."""
    provider_webhook = await acme.made("/provider-webhooks", OPEN)
    path = f"/provider-webhooks/{provider_webhook['id']}"
    changes = {"name": "other", "secret": "canary-5e2c", "networks": ["127.0.0.1"]}
    changed = (await acme("PATCH", path, changes)).json()
    assert (changed["name"], changed["has_secret"]) == ("other", True)
    assert changed["networks"] == ["127.0.0.1/32"]
    assert (await api.nobody("POST", provider_webhook["path"], DELIVERY)).status_code == 403
    log = (await acme("GET", "/audit-log?action=provider_webhook.update")).text
    assert '"secrets_set":[[],["secret"]]' in log.replace(" ", "") or "secrets_set" in log
    assert "canary" not in log
    for body, place in (
        ({"provider": "ses"}, "provider"),
        ({"topic_arn": TOPIC}, "topic_arn"),
        ({"name": None}, "name"),
    ):
        answer = await acme("PATCH", path, body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", place]
    assert (await acme("PATCH", path, {"secret": None})).json()["has_secret"] is False
    assert await takes(api, provider_webhook["path"])


async def test_a_name_is_used_once(api: Api, acme: Caller) -> None:
    """In a tenant, when it is made and when it is changed."""
    await acme.made("/provider-webhooks", SES)
    other = await acme.made("/provider-webhooks", OPEN)
    for method, path, body in (
        ("POST", "/provider-webhooks", SES),
        ("PATCH", f"/provider-webhooks/{other['id']}", {"name": "ses"}),
    ):
        answer = await acme(method, path, body)
        assert answer.status_code == 409
        assert answer.json()["type"] == "/problems/provider-webhook-exists"
    await (await api.tenant("other")).made("/provider-webhooks", SES)


async def test_a_rotated_url_works_for_a_while(api: Api, acme: Caller) -> None:
    """Both do, then the new one alone; without an overlap at once, and after the next rotation."""
    provider_webhook = await acme.made("/provider-webhooks", OPEN)
    rotate = f"/provider-webhooks/{provider_webhook['id']}/rotate"
    second = (await acme("POST", rotate)).json()
    assert second["previous_token_expires_at"] is not None
    assert await takes(api, provider_webhook["path"])
    assert await takes(api, second["path"])
    third = (await acme("POST", rotate, {"overlap_seconds": 0})).json()
    accepts = [await takes(api, webhook["path"]) for webhook in (provider_webhook, second, third)]
    assert accepts == [False, False, True]


async def test_a_deleted_one_takes_nothing(api: Api, acme: Caller) -> None:
    """401, as if it had never been."""
    provider_webhook = await acme.made("/provider-webhooks", OPEN)
    path = f"/provider-webhooks/{provider_webhook['id']}"
    assert (await acme("DELETE", path)).status_code == 204
    assert not await takes(api, provider_webhook["path"])
    assert (await acme("GET", path)).status_code == 404


@pytest.mark.one_database
async def test_a_tenant_has_at_most_twenty(acme: Caller) -> None:
    """More would be a mistake."""
    for number in range(20):
        await acme.made("/provider-webhooks", OPEN | {"name": str(number)})
    answer = await acme("POST", "/provider-webhooks", OPEN)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/quota-exceeded")


@pytest.mark.one_database
@pytest.mark.parametrize("is_raw", [False, True])
@pytest.mark.parametrize(("host", "has_field"), [("smtp.postmarkapp.com", True), (None, False)])
async def test_a_message_by_postmark_says_its_id(
    acme: Caller,
    host: str | None,
    has_field: bool,  # noqa: FBT001 - a column of the table
    is_raw: bool,  # noqa: FBT001 - as above
) -> None:
    """In metadata, since nothing else of ours is in Postmark's webhooks."""
    await acme.made("/profiles", PROFILE | ({"host": host} if host else {}))
    if is_raw:
        content = b"From: billing@example.com\r\nSubject: Hi\r\n\r\nHi.\r\n"
        headers = {"Content-Type": "message/rfc822"}
        path = "/messages/raw?to=ann@example.org"
        message = (await acme("POST", path, content=content, headers=headers)).json()
    else:
        message = await acme.made("/messages", {"to": ["ann@example.org"], "text": "Hi."})
    text = (await acme("GET", f"/messages/{message['id']}/raw")).text
    assert (f"X-PM-Metadata-heloise-id: {message['id']}\r\n" in text) is has_field
