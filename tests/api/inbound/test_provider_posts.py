"""`POST /inbound/{provider}/{token}`: what a provider posts acts as a bounce mail does, once."""

import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert

from app.store.secrets.encryption import Vault
from app.store.tables.core import attempts
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller
from tests.support.provider_posts import (
    CONFIRM,
    MAILGUN_KEY,
    SNS_HOST,
    TOPIC,
    Sns,
    authority,
    days_ago,
    sendgrid_headers,
    sendgrid_public_key,
    sign_mailgun,
)
from tests.support.rows import NOW
from tests.support.servers.dns_server import DnsServer

CORPUS = Path(__file__).parents[2] / "unit" / "inbound" / "providers"
WRITTEN = "0198c5a2d3f07b6e8a4c1d2e3f405162"
SES_ID = "0102018f3a6b1c2d-5e4f3a2b-1c0d-4e9f-8a7b-6c5d4e3f2a1b-000000"
PASSWORD = "canary-5e2c"
PROOFS: dict[str, dict[str, str]] = {
    "ses": {"topic_arn": TOPIC},
    "sendgrid": {"public_key": sendgrid_public_key()},
    "mailgun": {"secret": MAILGUN_KEY},
    "postmark": {"secret": PASSWORD},
    "brevo": {"secret": PASSWORD},
}


def post_of(name: str, message: Any) -> Any:
    """A post of the corpus that is about this message."""
    text = (CORPUS / f"{name}.json").read_text()
    uuid = message["id"].partition("_")[2]
    text = text.replace(f"{UUID(WRITTEN)}@example.com", message["message_id_header"].strip("<>"))
    return json.loads(text.replace(WRITTEN, uuid))


def basic(password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'heloise:{password}'.encode()).decode()}"}


async def make_webhook(caller: Caller, provider: str, **fields: Any) -> str:
    """The path of a new provider webhook."""
    body = {"name": provider, "provider": provider, **PROOFS[provider], **fields}
    path: str = (await caller.made("/provider-webhooks", body))["path"]
    return path


async def post(api: Api, path: str, payload: Any, **headers: str) -> httpx.Response:
    """A post without any key, as a provider makes it."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return await api.nobody("POST", path, content=content, headers=headers)


async def post_signed(api: Api, sns: Sns, path: str, payload: Any) -> httpx.Response:
    """A post with the provider's proof that it is by it."""
    match path.split("/")[2]:
        case "ses":
            content = json.dumps(sns.notification(payload)).encode()
            return await post(api, path, content, **{"Content-Type": "text/plain; charset=UTF-8"})
        case "sendgrid":
            content = json.dumps(payload).encode()
            return await post(api, path, content, **sendgrid_headers(content))
        case "mailgun":
            return await post(api, path, sign_mailgun(payload))
        case _:
            return await post(api, path, payload, **basic(PASSWORD))


def counts(answer: httpx.Response) -> tuple[int, int, int, int]:
    """How many events were new reports, repeated, without a message, ignored."""
    assert answer.status_code == 200, answer.text
    counts = answer.json()
    return counts["events"], counts["repeated"], counts["unmatched"], counts["ignored"]


async def list_outcomes(caller: Caller, message: Any) -> list[str]:
    """The events of a message's recipients."""
    events = (await caller.read(f"/events?message={message['id']}"))["items"]
    return [event["type"] for event in events if event["data"]["recipient"] is not None]


@pytest.fixture
async def sent_message(acme: Caller) -> Any:
    """A message to one."""
    await acme.made("/profiles", PROFILE | {"is_default": True})
    return await acme.made("/messages", MESSAGE)


@pytest.fixture
async def sns(
    dns: DnsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sns]:
    """An SNS whose name leads to loopback, and whose authority the machine trusts."""
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    dns.add(SNS_HOST, "A", "127.0.0.1")
    async with Sns() as server:
        yield server


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("name", "types", "suppressed"),
    [
        ("ses_bounce", ["bounced_later"], "hard_bounce"),
        ("ses_complaint", ["complained"], "complaint"),
        ("ses_delay", ["delayed"], None),
        ("ses_delivery", ["delivered"], None),
        ("ses_open", [], None),
        ("sendgrid_batch", ["delayed", "delivered"], None),
        ("sendgrid_bounce", ["bounced_later"], "hard_bounce"),
        ("sendgrid_spamreport", ["complained"], "complaint"),
        ("mailgun_failed", ["bounced_later"], "hard_bounce"),
        ("mailgun_delayed", ["delayed"], None),
        ("mailgun_complained", ["complained"], "complaint"),
        ("mailgun_unsubscribed", ["unsubscribed"], "unsubscribe"),
        ("postmark_hard_bounce", ["bounced_later"], "hard_bounce"),
        ("postmark_delivery", ["delivered"], None),
        ("postmark_spam_complaint", ["complained"], "complaint"),
        ("brevo_hard_bounce", ["bounced_later"], "hard_bounce"),
        ("brevo_batch", ["delayed", "delivered"], None),
        ("brevo_complaint", ["complained"], "complaint"),
    ],
)
async def test_a_post_has_the_effect_of_a_bounce_mail(
    api: Api, acme: Caller, sent_message: Any, sns: Sns, name: str, types: Any, suppressed: Any
) -> None:
    """Reports, events and suppressions; posted again, it has none."""
    await api.admin("PATCH", f"/tenants/{acme.tenant_id}", {"suppresses_hard_bounces": True})
    path, payload = await make_webhook(acme, name.partition("_")[0]), post_of(name, sent_message)
    events, repeated, unmatched, ignored = counts(await post_signed(api, sns, path, payload))
    assert (events, repeated, unmatched) == (len(types), 0, 0)
    assert await list_outcomes(acme, sent_message) == [f"recipient.{kind}" for kind in types]
    [recipient] = (await acme.read(f"/messages/{sent_message['id']}"))["recipients"]
    assert (recipient["report"] or {}).get("kind") == (types[-1] if types else None)
    assert recipient["status"] == "queued"
    reasons = [row["reason"] for row in (await acme.read("/suppressions"))["items"]]
    assert reasons == ([suppressed] if suppressed else [])
    second = counts(await post_signed(api, sns, path, payload))
    assert second == (0, len(types), 0, ignored)
    assert await list_outcomes(acme, sent_message) == [f"recipient.{kind}" for kind in types]
    [webhook] = (await acme.read("/provider-webhooks"))["items"]
    assert (webhook["events"], webhook["unmatched"]) == (len(types), 0)
    assert webhook["ignored"] == 2 * ignored
    assert webhook["received_at"] is not None


@pytest.mark.parametrize("name", ["ses_bounce", "sendgrid_bounce", "brevo_hard_bounce"])
async def test_the_id_of_the_reply_finds_the_message(
    api: Api, acme: Caller, sent_message: Any, sns: Sns, name: str
) -> None:
    """Where the provider has replaced the Message-ID; a message of another tenant is not found."""
    ids = {"ses": SES_ID, "sendgrid": "pR3v1dErAssIgn5-Th1s_A", "brevo": "1@smtp-relay.mailin.fr"}
    provider = name.partition("_")[0]
    profile = (await acme.read("/profiles"))["items"][0]
    row = {
        "id": "att_1",
        "tenant_id": acme.tenant_id,
        "message_id": sent_message["id"],
        "profile_id": profile["id"],
        "worker": "wrk_1",
        "started_at": NOW,
        "duration_ms": 1.0,
        "stage": "dot",
        "verdict": "delivered",
        "classification": "delivered",
        "outcome_unknown": False,
        "recipients": [],
        "provider_message_id": ids[provider],
    }
    async with api.services.database.transaction() as connection:
        await connection.execute(insert(attempts).values(row))
    text = (CORPUS / f"{name}.json").read_text()
    for mine in (f"<{UUID(WRITTEN)}@example.com>", f"{UUID(WRITTEN)}@example.com"):
        text = text.replace(mine, ids["brevo"] if provider == "brevo" else "")
    other = await api.tenant("other")
    path = await make_webhook(other, provider)
    assert counts(await post_signed(api, sns, path, json.loads(text))) == (1, 0, 1, 0)
    assert await list_outcomes(acme, sent_message) == []
    path = await make_webhook(acme, provider)
    assert counts(await post_signed(api, sns, path, json.loads(text))) == (1, 0, 0, 0)
    assert await list_outcomes(acme, sent_message) == ["recipient.bounced_later"]
    assert (await other.read("/events"))["items"] == []


async def test_an_unknown_message_is_counted(api: Api, acme: Caller, sns: Sns) -> None:
    """And answered with 200, so that the provider does not post it for days."""
    unknown = {"id": f"msg_{'0' * 32}", "message_id_header": "<nothing@example.com>"}
    for name in ("ses_bounce", "sendgrid_bounce", "mailgun_failed", "postmark_soft_bounce"):
        path = await make_webhook(acme, name.partition("_")[0])
        assert counts(await post_signed(api, sns, path, post_of(name, unknown))) == (1, 0, 1, 0)
    webhooks = (await acme.read("/provider-webhooks"))["items"]
    assert [webhook["unmatched"] for webhook in webhooks] == [1, 1, 1, 1]


async def test_a_batch_is_stored_in_several_transactions(
    api: Api, acme: Caller, sent_message: Any, sns: Sns
) -> None:
    """Each event of it once, also where the provider repeats it in another batch."""
    [event] = post_of("sendgrid_batch", sent_message)[1:2]
    batch = [event | {"sg_event_id": f"event-{number}"} for number in range(120)]
    path = await make_webhook(acme, "sendgrid")
    assert counts(await post_signed(api, sns, path, batch[:70])) == (70, 0, 0, 0)
    assert counts(await post_signed(api, sns, path, batch)) == (50, 70, 0, 0)
    [webhook] = (await acme.read("/provider-webhooks"))["items"]
    assert webhook["events"] == 120


@pytest.mark.one_database
async def test_a_post_beyond_a_bound_is_refused(api: Api, acme: Caller) -> None:
    """Too many events, values or bytes, too deep, or no JSON; before anything is stored."""
    path = await make_webhook(acme, "brevo")
    for content, status, slug in (
        (b"[" + b"{}," * 5000 + b"{}]", 422, "json-too-large"),
        (b"[" + b"1," * 100_000 + b"1]", 422, "json-too-large"),
        (b"[" * 200 + b"]" * 200, 422, "json-too-large"),
        (b'"' + b"x" * 1_100_000 + b'"', 413, "body-too-large"),
        (b"{", 422, "invalid-json"),
        (b"", 422, "invalid-json"),
        ('{"event": "sp\u00e4m"}'.encode("utf-16"), 415, "unsupported-media-type"),
    ):
        answer = await post(api, path, content, **basic(PASSWORD))
        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    [webhook] = (await acme.read("/provider-webhooks"))["items"]
    assert (webhook["events"], webhook["received_at"]) == (0, None)


def assert_refused(answer: httpx.Response, words: str) -> None:
    """The answer is 403, says why, and names no token."""
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/signature-invalid")
    assert words in answer.json()["detail"]
    assert answer.json()["instance"].endswith("/…")


async def test_a_post_without_a_signature_changes_nothing(
    api: Api, acme: Caller, sent_message: Any
) -> None:
    """403 says what to compare, and the audit log names the webhook and the source."""
    paths = {provider: await make_webhook(acme, provider) for provider in PROOFS}
    bounce = post_of("sendgrid_bounce", sent_message)
    content = json.dumps(bounce).encode()
    headers = sendgrid_headers(content)
    for changed in (
        await post(api, paths["sendgrid"], content),
        await post(api, paths["sendgrid"], content + b" ", **headers),
        await post(
            api,
            paths["sendgrid"],
            content,
            **headers | {"X-Twilio-Email-Event-Webhook-Timestamp": "1"},
        ),
        await post(
            api,
            paths["sendgrid"],
            content,
            **headers | {"X-Twilio-Email-Event-Webhook-Signature": "no base64"},
        ),
    ):
        assert_refused(changed, "verification key")
    failed = post_of("mailgun_failed", sent_message)
    for payload in (failed, sign_mailgun(failed, "another-key"), failed["event-data"], [], 1):
        answer = await post(api, paths["mailgun"], payload)
        assert_refused(answer, "HTTP webhook signing key")
    for provider in ("postmark", "brevo"):
        payload = post_of(f"{provider}_hard_bounce", sent_message)
        for header in (
            {},
            basic("wrong"),
            {"Authorization": "Basic %%%"},
            {"Authorization": f"Digest {PASSWORD}"},
            {"Authorization": "Bearer wrong"},
        ):
            assert_refused(await post(api, paths[provider], payload, **header), "basic")
    assert await list_outcomes(acme, sent_message) == []
    entries = (await acme.read("/audit-log?action=receive_provider_events"))["items"]
    assert len(entries) == 4 + 5 + 10
    assert {entry["refused_as"] for entry in entries} == {"signature-invalid"}
    assert {entry["object_id"] for entry in entries} <= {f"/inbound/{name}/…" for name in paths}
    assert {entry["actor"]["name"] for entry in entries} == paths.keys() - {"ses"}


async def test_a_bearer_token_is_a_proof_too(api: Api, acme: Caller, sent_message: Any) -> None:
    """As Brevo sends it; without a secret, the token in the URL is enough."""
    path = await make_webhook(acme, "brevo")
    bounce = post_of("brevo_soft_bounce", sent_message)
    answer = await post(api, path, bounce, Authorization=f"Bearer {PASSWORD}")
    assert counts(answer) == (1, 0, 0, 0)
    open_path = await make_webhook(acme, "postmark", secret=None)
    assert counts(await post(api, open_path, post_of("postmark_delivery", sent_message))) == (
        1,
        0,
        0,
        0,
    )


async def test_a_signature_is_good_for_two_days(api: Api, acme: Caller, sent_message: Any) -> None:
    """Longer than providers try, shorter than events are remembered."""
    path, failed = await make_webhook(acme, "mailgun"), post_of("mailgun_failed", sent_message)
    for at in (days_ago(2.1), datetime.now(UTC) + timedelta(hours=1)):
        assert_refused(await post(api, path, sign_mailgun(failed, at=at)), "2 days ago")
    content = json.dumps(post_of("sendgrid_bounce", sent_message)).encode()
    hook = await make_webhook(acme, "sendgrid")
    late = await post(api, hook, content, **sendgrid_headers(content, days_ago(2.1)))
    assert_refused(late, "2 days ago")
    assert counts(await post(api, path, sign_mailgun(failed, at=days_ago(1.9)))) == (1, 0, 0, 0)


async def test_a_signature_of_mailgun_is_good_once(
    api: Api, acme: Caller, sent_message: Any
) -> None:
    """It does not cover the event: with another one it has no effect."""
    path, failed = await make_webhook(acme, "mailgun"), post_of("mailgun_failed", sent_message)
    payload = sign_mailgun(failed)
    assert counts(await post(api, path, payload)) == (1, 0, 0, 0)
    forged = post_of("mailgun_complained", sent_message) | {"signature": payload["signature"]}
    assert counts(await post(api, path, forged)) == (0, 1, 0, 0)
    assert await list_outcomes(acme, sent_message) == ["recipient.bounced_later"]
    assert (await acme.read("/suppressions"))["items"] == []


@pytest.mark.parametrize("version", ["1", "2"])
async def test_both_signatures_of_sns_are_read(
    api: Api, acme: Caller, sent_message: Any, sns: Sns, version: str
) -> None:
    """The certificate is fetched once."""
    path = await make_webhook(acme, "ses")
    for number, name in enumerate(("ses_delay", "ses_bounce")):
        fields = {"SignatureVersion": version, "MessageId": f"number {number}"}
        message = sns.notification(post_of(name, sent_message), **fields)
        assert counts(await post(api, path, message)) == (1, 0, 0, 0)
    assert sns.requests == ["/SimpleNotificationService-0123456789abcdef.pem"]
    text = sns.notification("Successfully validated SNS topic for Amazon SES event publishing.")
    assert counts(await post(api, path, text)) == (0, 0, 0, 1)


async def test_a_subscription_to_the_topic_is_confirmed(api: Api, acme: Caller, sns: Sns) -> None:
    """By a GET of its URL; if SNS fails, the post fails, and SNS makes it again."""
    path = await make_webhook(acme, "ses")
    assert counts(await post(api, path, sns.confirmation())) == (0, 0, 0, 0)
    assert sns.requests[1:] == [CONFIRM]
    [webhook] = (await acme.read("/provider-webhooks"))["items"]
    assert webhook["received_at"] is not None
    sns.status = "403 Forbidden"
    answer = await post(api, path, sns.confirmation())
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/provider-unreachable")
    ended = sns.sign(sns.confirmation() | {"Type": "UnsubscribeConfirmation"})
    del sns.requests[:]
    assert counts(await post(api, path, ended)) == (0, 0, 0, 0)
    assert sns.requests == []


@pytest.mark.one_database
async def test_what_is_not_by_the_topics_sns_is_refused(
    api: Api, acme: Caller, sent_message: Any, sns: Sns
) -> None:
    """Another topic, an altered text, a URL that leads elsewhere: nothing is fetched from there."""
    path, event = await make_webhook(acme, "ses"), post_of("ses_complaint", sent_message)
    message = sns.notification(event)
    pem = "/SimpleNotificationService-0123456789abcdef.pem"
    for changed, words in (
        (sns.notification(event, TopicArn=TOPIC + "2"), "of the topic"),
        (message | {"TopicArn": None}, "of the topic"),
        (message | {"SigningCertURL": None}, "does not lead to"),
        *(
            (message | {"SigningCertURL": url}, "does not lead to")
            for url in (
                f"http://{SNS_HOST}{pem}",
                f"https://{SNS_HOST}.example.com{pem}",
                f"https://sns.eu-west-1.amazonaws.com.{pem}",
                f"https://sns.us-east-1.amazonaws.com{pem}",
                f"https://bucket.s3.amazonaws.com{pem}",
                f"https://example.com/{SNS_HOST}{pem}",
                f"https://{SNS_HOST}@example.com{pem}",
                f"https://ann@{SNS_HOST}{pem}",
                f"https://127.0.0.1{pem}",
                f"{SNS_HOST}{pem}",
            )
        ),
        (message | {"SigningCertURL": f"https://{SNS_HOST}:x{pem}"}, "not a URL"),
        (message | {"SigningCertURL": f"{sns.url}/other.pem"}, "certificate of SNS"),
        (message | {"SigningCertURL": f"{sns.url}{pem}/../x"}, "certificate of SNS"),
        (message | {"Message": "{}"}, "not valid"),
        (message | {"MessageId": "2"}, "not valid"),
        (message | {"Signature": "AAAA"}, "not valid"),
        (message | {"Signature": None}, "not valid"),
        (message | {"SignatureVersion": "3"}, "not valid"),
        (message | {"SignatureVersion": ["2"]}, "not valid"),
        (message | {"Type": "SubscriptionConfirmation"}, "does not lead to"),
        (message | {"Type": "Other"}, "not valid"),
        (sns.confirmation() | {"SubscribeURL": "https://example.com/"}, "does not lead to"),
        (sns.notification(event, Timestamp="2026-01-01T00:00:00.000Z"), "days ago"),
        (event, "of the topic"),
        ([], "of the topic"),
    ):
        assert_refused(await post(api, path, changed), words)
    assert {request for request in sns.requests if ".pem" not in request} == set()
    assert await list_outcomes(acme, sent_message) == []


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("server", "status"),
    [
        (Sns(name="mail.example.com"), 403),
        (Sns(name="sns.example.com"), 403),
        (Sns(name="snsx.amazonaws.com"), 403),
        (Sns(until=days_ago(0.01)), 403),
        (Sns(host="sns.example.com"), 503),
        (Sns(status="404 Not Found"), 503),
        (Sns(name="sns-signing.eu-south-1.amazonaws.com"), 200),
    ],
    ids=["stranger", "subdomain", "prefix", "expired", "another host", "missing", "region"],
)
@pytest.mark.usefixtures("sns")
async def test_the_certificate_is_one_of_sns(
    api: Api, acme: Caller, sent_message: Any, server: Sns, status: int
) -> None:
    """It is valid, of a name of SNS, and from a host whose certificate the machine trusts."""
    path = await make_webhook(acme, "ses")
    async with server:
        message = server.notification(post_of("ses_bounce", sent_message))
        assert (await post(api, path, message)).status_code == status


@pytest.mark.one_database
async def test_a_certificate_of_an_unknown_authority_is_not_fetched(
    api: Api, acme: Caller, sent_message: Any, sns: Sns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503: SNS tries again, and an operator reads why."""
    monkeypatch.delenv("SSL_CERT_FILE")
    path = await make_webhook(acme, "ses")
    answer = await post(api, path, sns.notification(post_of("ses_bounce", sent_message)))
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/provider-unreachable")
    assert "certificate" in answer.json()["detail"].lower()


async def test_a_token_opens_its_own_webhook_alone(
    api: Api, acme: Caller, sent_message: Any
) -> None:
    """Another provider's path, another token, or a key in its place is 401."""
    path = await make_webhook(acme, "postmark", secret=None)
    key = acme.headers["Authorization"].partition(" ")[2]
    payload = post_of("postmark_delivery", sent_message)
    for other_path in (
        path.replace("postmark", "brevo"),
        path[:-1],
        f"/inbound/postmark/{key}",
        "/inbound/ses/none",
    ):
        answer = await post(api, other_path, payload)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated")
        assert other_path not in answer.text
        api.monotonic.seconds += 60
    answer = await post(api, "/inbound/acme/x", payload)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/provider-not-found")
    answer = await acme("GET", path)
    assert answer.status_code == 405
    assert path not in answer.text


@pytest.mark.one_database
async def test_guesses_of_tokens_are_slowed(api: Api) -> None:
    """As who guesses keys is."""
    answers = [await post(api, "/inbound/ses/none", {}) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429]


async def test_a_token_is_stored_and_logged_nowhere(
    api: Api, acme: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """Its hash is stored; a refused post, whose path is logged and audited, does not show it."""
    path = await make_webhook(acme, "brevo")
    token = path.rpartition("/")[2]
    with caplog.at_level(logging.DEBUG):
        answer = await post(api, path, b"{", **basic("wrong"))
    assert answer.status_code == 403
    assert any("/inbound/brevo/…" in str(vars(record)) for record in caplog.records)
    shown = "".join(str(vars(r)) for r in caplog.records if not r.name.startswith("httpc"))
    assert token not in shown.replace(f"http://127.0.0.1:{api.http.base_url.port}{path}", "")
    assert token not in (await acme("GET", "/audit-log")).text
    assert token not in (await acme("GET", "/provider-webhooks")).text


async def test_posts_come_from_the_providers_networks(
    api: Api, acme: Caller, sent_message: Any
) -> None:
    """Where the webhook names them."""
    payload = post_of("brevo_soft_bounce", sent_message)
    for networks, status in ((["192.0.2.0/24"], 403), (["127.0.0.0/8", "192.0.2.1"], 200)):
        path = await make_webhook(acme, "brevo", networks=networks, name=str(status))
        answer = await post(api, path, payload, **basic(PASSWORD))
        assert answer.status_code == status, answer.text
        assert (status == 200) or "network-not-allowed" in answer.text


@pytest.mark.one_database
async def test_a_secret_that_does_not_open_is_the_operators_to_mend(api: Api, acme: Caller) -> None:
    """503, so that the provider posts again."""
    path = await make_webhook(acme, "brevo")
    api.services = api.app.state.services = replace(api.services, vault=Vault([bytes(32)]))
    answer = await post(api, path, {}, **basic(PASSWORD))
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
    assert "HELOISE_SECRET_KEYS" in answer.json()["detail"]
