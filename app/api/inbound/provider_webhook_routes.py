"""Serve `/provider-webhooks`: URLs for the events of email providers."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Body as JsonBody
from fastapi import Path, Response

from app.api.auth.dependencies import ListQuery, SuppressionManager
from app.api.http.fields import check_nulls
from app.api.http.pagination import read_page
from app.api.inbound.provider_webhook_schemas import (
    CREATE,
    ROTATE,
    UPDATE,
    WEBHOOK,
    ProviderWebhookCreate,
    ProviderWebhookCreated,
    ProviderWebhookPage,
    ProviderWebhookRead,
    ProviderWebhookRotate,
    ProviderWebhookUpdate,
)
from app.api.openapi import describe_location, problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.audit_context import add_secret_names
from app.auth.quotas import check_count
from app.domain.api_keys import hash_secret
from app.domain.errors import InvalidRequest
from app.domain.ids import new_id
from app.domain.inbound.provider import Provider, ProviderWebhook
from app.store.inbound import provider_webhooks
from app.store.secrets.contexts import provider_webhook_secret

router = Router("Suppressions")

MAX_WEBHOOKS: Final = 20
TOKEN_BYTES: Final = 32
NULLABLE: Final = frozenset({"secret"})
# What proves that a post is by its provider: the setting that it takes, and whether it must be set.
PROOFS: Final[Mapping[Provider, tuple[str, bool]]] = {
    Provider.SES: ("topic_arn", True),
    Provider.SENDGRID: ("public_key", True),
    Provider.MAILGUN: ("secret", True),
    Provider.POSTMARK: ("secret", False),
    Provider.BREVO: ("secret", False),
}
REMEDIES: Final = {
    "public_key": "copy the verification key of SendGrid's Signed Event Webhook",
    "topic_arn": "write the ARN of the topic: arn:aws:sns:eu-west-1:123456789012:bounces",
}
InPath = Annotated[str, Path(description="The provider webhook's id.", examples=[WEBHOOK])]


def _check_proof(webhook: ProviderWebhook) -> None:
    """Raise InvalidRequest unless exactly the provider's settings are set, and valid."""
    from app.domain.inbound.provider_signatures import get_sns_host, load_public_key

    values = {
        "secret": webhook.has_secret or None,
        "public_key": webhook.public_key,
        "topic_arn": webhook.topic_arn,
    }
    setting, is_required = PROOFS[webhook.provider]
    for name, value in values.items():
        if name != setting and value is not None:
            raise InvalidRequest.at(name, msg=f"{webhook.provider} does not use it; leave it out")
    if is_required and values[setting] is None:
        raise InvalidRequest.at(
            setting, msg=f"set it: Heloise checks posts of {webhook.provider} by it", type="missing"
        )
    try:
        if webhook.public_key is not None:
            load_public_key(webhook.public_key)
        if webhook.topic_arn is not None:
            get_sns_host(webhook.topic_arn)
    except ValueError:
        raise InvalidRequest.at(setting, msg=REMEDIES[setting]) from None


def _build_path(services: Services, webhook: ProviderWebhook, token: str) -> str:
    return f"{services.root_path}/inbound/{webhook.provider}/{token}"


@router.post(
    "/provider-webhooks",
    status_code=201,
    summary="Create a provider webhook",
    response_description="The provider webhook. Its path is shown only this once.",
    responses=describe_location(f"/provider-webhooks/{WEBHOOK}"),
)
@problems("provider-webhook-exists", "quota-exceeded")
async def create_provider_webhook(
    body: Annotated[ProviderWebhookCreate, JsonBody(openapi_examples=CREATE)],
    caller: SuppressionManager,
    response: Response,
    services: ReadyServices,
) -> ProviderWebhookCreated:
    """Create a URL to which an email provider posts bounces, complaints and deliveries.

    Enter the URL in the provider's console. Each provider needs one setting: SES `topic_arn`,
    SendGrid `public_key`, Mailgun `secret`. Postmark and Brevo do not sign their posts: set
    `secret` as the password or token that they send.
    """
    audit_context = caller.audit_context(services.now())
    token = secrets.token_urlsafe(TOKEN_BYTES)
    webhook = ProviderWebhook(
        id=new_id("pwh"),
        tenant_id=caller.tenant_id,
        **_build_values(body.model_dump()),
        created_at=audit_context.now,
        updated_at=audit_context.now,
    )
    _check_proof(webhook)
    sealed_secret = None
    if body.secret is not None:
        context = provider_webhook_secret(webhook.id)
        sealed_secret = services.vault.seal(body.secret.get_secret_value(), context)
    async with services.database.transaction() as connection:
        await check_count(
            connection, caller.tenant_id, provider_webhooks.count, MAX_WEBHOOKS, "provider webhooks"
        )
        await provider_webhooks.insert(
            connection,
            webhook=webhook,
            token_hash=hash_secret(token),
            sealed_secret=sealed_secret,
        )
        await audit_context.record(
            connection,
            "provider_webhook.create",
            object_id=webhook.id,
            after=provider_webhooks.build_columns(webhook),
        )
    response.headers["Location"] = f"/provider-webhooks/{webhook.id}"
    return ProviderWebhookCreated.of(webhook, path=_build_path(services, webhook, token))


@router.get("/provider-webhooks", summary="List provider webhooks")
async def list_provider_webhooks(
    paging: ListQuery, caller: SuppressionManager, services: ReadyServices
) -> ProviderWebhookPage:
    """List the tenant's provider webhooks, newest first."""
    load = partial(provider_webhooks.page, tenant_id=caller.tenant_id)
    return await read_page(
        services.database, paging, "pwh", load, ProviderWebhookPage, ProviderWebhookRead.of
    )


@router.get("/provider-webhooks/{provider_webhook}", summary="Get a provider webhook")
@problems("provider-webhook-not-found")
async def get_provider_webhook(
    provider_webhook: InPath, caller: SuppressionManager, services: ReadyServices
) -> ProviderWebhookRead:
    """Get a provider webhook with its last post and its counts."""
    async with services.database.reading() as connection:
        webhook = await provider_webhooks.get(
            connection, tenant_id=caller.tenant_id, webhook_id=provider_webhook
        )
    return ProviderWebhookRead.of(webhook)


@router.patch("/provider-webhooks/{provider_webhook}", summary="Update a provider webhook")
@problems("provider-webhook-not-found", "provider-webhook-exists")
async def update_provider_webhook(
    provider_webhook: InPath,
    body: Annotated[ProviderWebhookUpdate, JsonBody(openapi_examples=UPDATE)],
    caller: SuppressionManager,
    services: ReadyServices,
) -> ProviderWebhookRead:
    """Update the given fields; the URL stays. `secret: null` removes the secret.

    The provider cannot change.
    """
    check_nulls(body, NULLABLE)
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        before = await provider_webhooks.get(
            connection, tenant_id=caller.tenant_id, webhook_id=provider_webhook, for_update=True
        )
        if body.provider not in {None, before.provider}:
            msg = "the provider cannot change; create another provider webhook"
            raise InvalidRequest.at("provider", msg=msg)
        fields = body.model_dump(exclude_unset=True, exclude={"provider"})
        after = replace(before, **_build_values(fields), updated_at=audit_context.now)
        _check_proof(after)
        changes = provider_webhooks.build_columns(after)
        if "secret" in body.model_fields_set:
            secret, context = body.secret, provider_webhook_secret(before.id)
            changes["sealed_secret"] = (
                None if secret is None else services.vault.seal(secret.get_secret_value(), context)
            )
        await provider_webhooks.update(
            connection,
            tenant_id=caller.tenant_id,
            webhook_id=provider_webhook,
            changes=changes,
            now=audit_context.now,
        )
        await audit_context.record(
            connection,
            "provider_webhook.update",
            object_id=provider_webhook,
            before=add_secret_names(provider_webhooks.build_columns(before)),
            after=add_secret_names(
                provider_webhooks.build_columns(after), *({"secret"} & body.model_fields_set)
            ),
        )
    return ProviderWebhookRead.of(after)


def _build_values(fields: dict[str, Any]) -> dict[str, Any]:
    """Turn the fields of a body into those of a provider webhook."""
    if "networks" in fields:
        fields["networks"] = tuple(fields["networks"])
    if "secret" in fields:
        fields["has_secret"] = fields.pop("secret") is not None
    return fields


@router.post(
    "/provider-webhooks/{provider_webhook}/rotate",
    summary="Rotate a provider webhook's URL",
    response_description="The provider webhook with its new path, shown only this once.",
)
@problems("provider-webhook-not-found")
async def rotate_provider_webhook(
    provider_webhook: InPath,
    caller: SuppressionManager,
    services: ReadyServices,
    body: Annotated[ProviderWebhookRotate | None, JsonBody(openapi_examples=ROTATE)] = None,
) -> ProviderWebhookCreated:
    """Create a new URL. The previous one works for a day, or for `overlap_seconds`."""
    audit_context = caller.audit_context(services.now())
    token = secrets.token_urlsafe(TOKEN_BYTES)
    overlap = timedelta(seconds=(body or ProviderWebhookRotate()).overlap_seconds)
    async with services.database.transaction() as connection:
        before = await provider_webhooks.get(
            connection, tenant_id=caller.tenant_id, webhook_id=provider_webhook, for_update=True
        )
        until = audit_context.now + overlap
        after = replace(before, former_token_until=until, updated_at=audit_context.now)
        await provider_webhooks.rotate(
            connection,
            tenant_id=caller.tenant_id,
            webhook_id=provider_webhook,
            token_hash=hash_secret(token),
            former_until=until,
            now=audit_context.now,
        )
        await audit_context.record(
            connection,
            "provider_webhook.rotate",
            object_id=provider_webhook,
            before={"former_token_until": before.former_token_until},
            after={"former_token_until": until},
        )
    return ProviderWebhookCreated.of(after, path=_build_path(services, after, token))


@router.delete(
    "/provider-webhooks/{provider_webhook}",
    status_code=204,
    summary="Delete a provider webhook",
    response_description="The provider webhook is deleted. Its URL does not work any more.",
)
@problems("provider-webhook-not-found")
async def delete_provider_webhook(
    provider_webhook: InPath, caller: SuppressionManager, services: ReadyServices
) -> None:
    """Delete a provider webhook and its secret."""
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        webhook = await provider_webhooks.delete(
            connection, tenant_id=caller.tenant_id, webhook_id=provider_webhook
        )
        await audit_context.record(
            connection,
            "provider_webhook.delete",
            object_id=webhook.id,
            before=provider_webhooks.build_columns(webhook),
        )
