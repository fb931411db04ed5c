"""Check and process the posts of email providers."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.http.threads import run_in_thread_if_large
from app.api.requests.json_limits import check_json
from app.api.services import Services
from app.domain.errors import InvalidRequest, Problem, SealError, Unavailable
from app.domain.inbound.provider import Provider, ProviderWebhook
from app.domain.inbound.provider_events import ProviderEvent, parse_events
from app.store.inbound import provider_webhooks, reports
from app.store.inbound.provider_webhooks import AddressedWebhook
from app.store.secrets.contexts import provider_webhook_secret

log = logging.getLogger(__name__)

# SendGrid sends at most 768 KB at once, Brevo 500 events.
MAX_EVENTS: Final = 5000
# A transaction for all events of a post would hold up other writers.
EVENTS_PER_TRANSACTION: Final = 50


# How many events of a post were reports, repeated, without a message, or ignored.
NO_EVENTS: Final = {"events": 0, "repeated": 0, "unmatched": 0, "ignored": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Post:
    """A post by the provider; `nonce` is the hash of a token that is good once."""

    payload: object = field(repr=False)
    post_id: str = ""
    nonce: bytes | None = None


async def receive_post(
    services: Services, addressed: AddressedWebhook, headers: Mapping[str, str], content: bytes
) -> Counter[str]:
    """Check that a post is by the provider, and store its reports; each event counts once.

    Raises Forbidden if it is not, InvalidRequest if it is not JSON, and Unavailable if Heloise
    cannot check it now.
    """
    webhook, counts = addressed.webhook, Counter(NO_EVENTS)
    post = await _check_post(services, addressed, headers, content)
    if isinstance(post.payload, list) and len(post.payload) > MAX_EVENTS:
        detail = f"The post has more than {MAX_EVENTS} events; send less in one post."
        raise InvalidRequest(detail, slug="json-too-large")
    events = await run_in_thread_if_large(
        len(content), parse_events, webhook.provider, post.payload, post_id=post.post_id
    )
    for start in range(0, len(events), EVENTS_PER_TRANSACTION):
        chunk = events[start : start + EVENTS_PER_TRANSACTION]
        work = partial(_store_events, services, webhook, chunk, post.nonce)
        counts.update(await services.database.retry_transaction(work))
    return counts


async def _check_post(
    services: Services, addressed: AddressedWebhook, headers: Mapping[str, str], content: bytes
) -> _Post:
    # Few processes receive posts.
    from app.domain.inbound import provider_signatures as signatures

    webhook, now = addressed.webhook, services.now()
    match webhook.provider:
        case Provider.SES:
            return await _check_sns(services, webhook, await _load_json(content))
        case Provider.SENDGRID:
            public_key = webhook.public_key or ""
            signatures.check_sendgrid(headers, content, public_key, now)
            return _Post(payload=await _load_json(content))
        case Provider.MAILGUN:
            payload = await _load_json(content)
            signature = _get_mapping(payload, "signature")
            token = signatures.check_mailgun(signature, _open_secret(services, addressed), now)
            nonce = sha256(f"{webhook.id} {token}".encode(errors="replace")).digest()
            return _Post(payload=payload, nonce=nonce)
        case Provider.POSTMARK | Provider.BREVO:
            if webhook.has_secret:
                secret = _open_secret(services, addressed)
                signatures.check_password(headers.get("Authorization", ""), secret)
            return _Post(payload=await _load_json(content))


async def _check_sns(services: Services, webhook: ProviderWebhook, message: object) -> _Post:
    """Check a message of SNS, and confirm a subscription to the webhook's topic."""
    from app.domain.inbound import provider_signatures as signatures

    sns, topic_arn = services.sns, webhook.topic_arn or ""
    envelope = message if isinstance(message, dict) else {}
    signatures.check_sns_urls(envelope, topic_arn, allow_port=sns.allows_ports)
    certificate = await sns.load_certificate(envelope["SigningCertURL"])
    signatures.check_sns(envelope, certificate, services.now())
    payload: object = []
    if envelope["Type"] == "SubscriptionConfirmation":
        await sns.confirm_subscription(envelope["SubscribeURL"])
        log.info("confirmed a subscription of SNS", extra={"provider_webhook": webhook.id})
        await _record_post(services, webhook)
    elif envelope["Type"] == "Notification":
        payload = await _load_notification(envelope)
    return _Post(payload=payload, post_id=str(envelope.get("MessageId")))


async def _load_notification(envelope: Mapping[str, Any]) -> object:
    """Load the event in a notification; SES also sends a text, once, to test the topic."""
    try:
        return await _load_json(str(envelope.get("Message")).encode(errors="replace"))
    except Problem:
        return {}


async def _load_json(content: bytes) -> object:
    """Parse JSON within the limits of request bodies; raise InvalidRequest."""
    await run_in_thread_if_large(len(content), check_json, content)
    try:
        payload: object = await run_in_thread_if_large(len(content), json.loads, content)
    except (ValueError, RecursionError) as error:
        detail = f"The body is not JSON: {str(error).partition(':')[0]}."
        raise InvalidRequest(detail, slug="invalid-json") from None
    return payload


def _get_mapping(payload: object, name: str) -> Mapping[str, Any]:
    value = payload.get(name) if isinstance(payload, dict) else None
    return value if isinstance(value, dict) else {}


def _open_secret(services: Services, addressed: AddressedWebhook) -> str:
    """Open the webhook's secret; raise Unavailable, so that the provider tries again."""
    context = provider_webhook_secret(addressed.webhook.id)
    try:
        return services.vault.open(addressed.sealed_secret or b"", context)
    except SealError as error:
        log.warning("cannot check the post of a provider: %s", error)
        detail = f"{error} Add the key, or set the secret of the provider webhook again."
        raise Unavailable("not-ready", detail) from None


async def _store_events(
    services: Services,
    webhook: ProviderWebhook,
    events: Sequence[ProviderEvent],
    nonce: bytes | None,
    connection: AsyncConnection,
) -> dict[str, int]:
    """Store new reports in one transaction, and add to the webhook's counts."""
    now, tenant_id = services.now(), webhook.tenant_id
    record = partial(reports.record_digests, connection, tenant_id=tenant_id, now=now)
    is_new_post = nonce is None or bool(await record(digests=[nonce]))
    reporting = [event for event in events if event.report is not None]
    new = await record(digests=[event.digest for event in reporting]) if is_new_post else set()
    new_reports = {event.digest: event.report for event in reporting if event.digest in new}
    received = await reports.receive_all(
        connection,
        tenant_id=tenant_id,
        reports=[report for report in new_reports.values() if report is not None],
        now=now,
    )
    counts = {
        "events": len(received),
        "unmatched": sum(all(match.message_id is None for match in group) for group in received),
        "ignored": len(events) - len(reporting),
    }
    await provider_webhooks.record_post(
        connection,
        tenant_id=tenant_id,
        webhook_id=webhook.id,
        counts=counts,
        now=now,
    )
    return {**counts, "repeated": len(reporting) - len(received)}


async def _record_post(services: Services, webhook: ProviderWebhook) -> None:
    async with services.database.transaction() as connection:
        await provider_webhooks.record_post(
            connection,
            tenant_id=webhook.tenant_id,
            webhook_id=webhook.id,
            counts={},
            now=services.now(),
        )
