"""Serve `/webhooks`: URLs that receive a tenant's events."""

import base64
import os
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Body as JsonBody
from fastapi import Path, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.api_keys.service import profile_ids
from app.api.auth.dependencies import ListQuery, WebhookManager
from app.api.auth.secret_destinations import find_missing_secret
from app.api.http.field_errors import build_invalid_request
from app.api.http.fields import check_nulls
from app.api.http.pagination import read_page
from app.api.messages.examples import MESSAGE
from app.api.messages.message_actions import require_message
from app.api.openapi import describe_location, problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.api.webhooks.schemas import (
    CREATE,
    EXAMPLE,
    MAX_REPLAYED,
    REPLAY,
    ROTATE,
    SECRET_PREFIX,
    UPDATE,
    DeliveryPage,
    DeliveryQuery,
    WebhookCreate,
    WebhookCreated,
    WebhookPage,
    WebhookRead,
    WebhookReplay,
    WebhookReplayed,
    WebhookRotate,
    WebhookUpdate,
)
from app.auth.audit_context import add_secret_names
from app.auth.caller import Caller
from app.auth.quotas import check_count
from app.domain.errors import InvalidRequest
from app.domain.ids import new_id
from app.domain.webhooks import Webhook
from app.store import events
from app.store.secrets.contexts import webhook_secret
from app.store.webhooks import deliveries as webhook_deliveries
from app.store.webhooks import enqueueing
from app.store.webhooks import queries as webhooks

router = Router("Webhooks")

MAX_WEBHOOKS: Final = 50
SECRET_BYTES: Final = 32
DISABLED_BY_API: Final = "disabled by the API"
InPath = Annotated[str, Path(description="The webhook's id.", examples=[EXAMPLE["id"]])]


def _generate_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def _check_url(url: str, services: Services) -> None:
    """Raise InvalidRequest if the URL is forbidden without a DNS lookup."""
    guard, parts = services.guard, urlsplit(url)
    if not guard.allow_private and (parts.scheme, parts.port) != ("https", None):
        raise InvalidRequest.at("url", msg="write an https:// URL without a port")
    if reason := guard.host_refusal(parts.hostname or ""):
        raise InvalidRequest.at("url", msg=reason)


@router.post(
    "/webhooks",
    status_code=201,
    summary="Create a webhook",
    response_description="The new webhook. Its secret is shown only this once.",
    responses=describe_location(f"/webhooks/{EXAMPLE['id']}"),
)
@problems("webhook-exists", "quota-exceeded")
async def create_webhook(
    body: Annotated[WebhookCreate, JsonBody(openapi_examples=CREATE)],
    caller: WebhookManager,
    response: Response,
    services: ReadyServices,
) -> WebhookCreated:
    """Post events to a URL from now on, signed as in Standard Webhooks.

    If the URL does not answer with 2xx within 20 seconds, Heloise posts the event again: up to ten
    posts in three days, always with the same `webhook-id`.
    """
    _check_url(body.url, services)
    audit_context, secret = caller.audit_context(services.now()), _generate_secret()
    async with services.database.transaction() as connection:
        await check_count(connection, caller.tenant_id, webhooks.count, MAX_WEBHOOKS, "webhooks")
        new_webhook = Webhook(
            id=new_id("whk"),
            tenant_id=caller.tenant_id,
            name=body.name,
            url=body.url,
            created_at=audit_context.now,
            updated_at=audit_context.now,
        )
        webhook = await _apply_body(connection, new_webhook, body)
        await webhooks.insert(
            connection,
            webhook=webhook,
            sealed_secret=services.vault.seal(secret, webhook_secret(webhook)),
            start=await events.horizon(connection),
        )
        await audit_context.record(
            connection, "webhook.create", object_id=webhook.id, after=webhook
        )
    response.headers["Location"] = f"/webhooks/{webhook.id}"
    return WebhookCreated.of(webhook, secret=secret)


@router.get("/webhooks", summary="List webhooks")
async def list_webhooks(
    paging: ListQuery, caller: WebhookManager, services: ReadyServices
) -> WebhookPage:
    """List the tenant's webhooks, newest first."""
    load = partial(webhooks.page, tenant_id=caller.tenant_id)
    return await read_page(services.database, paging, "whk", load, WebhookPage, WebhookRead.of)


@router.get("/webhooks/{webhook}", summary="Get a webhook")
@problems("webhook-not-found")
async def get_webhook(
    webhook: InPath, caller: WebhookManager, services: ReadyServices
) -> WebhookRead:
    """Get a webhook."""
    return WebhookRead.of(await _get_webhook(services, caller, webhook))


async def _get_webhook(services: Services, caller: Caller, webhook: str) -> Webhook:
    async with services.database.reading() as connection:
        return await webhooks.get(connection, tenant_id=caller.tenant_id, webhook_id=webhook)


@router.patch("/webhooks/{webhook}", summary="Update a webhook")
@problems("webhook-not-found", "webhook-exists")
async def update_webhook(
    webhook: InPath,
    body: Annotated[WebhookUpdate, JsonBody(openapi_examples=UPDATE)],
    caller: WebhookManager,
    services: ReadyServices,
) -> WebhookRead:
    """Update the given fields. Waiting events go to the new URL.

    The secret is bound to the URL: with a new `url`, set `secret` to the current or a new one. A
    new `secret` replaces all previous secrets at once.
    """
    check_nulls(body)
    if body.url is not None:
        _check_url(body.url, services)
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        before = await webhooks.get(
            connection, tenant_id=caller.tenant_id, webhook_id=webhook, for_update=True
        )
        changed = replace(before, updated_at=audit_context.now)
        after = await _apply_body(connection, changed, body)
        changes = webhooks.build_columns(after)
        if body.secret is not None:
            after = replace(after, former_secret_until=None)
            sealed_secret = services.vault.seal(
                body.secret.get_secret_value(), webhook_secret(after)
            )
            changes |= webhooks.build_secret_columns(sealed_secret)
        elif error := find_missing_secret(webhook_secret(before), webhook_secret(after), "secret"):
            raise build_invalid_request([error])
        await webhooks.update(
            connection,
            tenant_id=caller.tenant_id,
            webhook_id=webhook,
            changes=changes,
            now=audit_context.now,
        )
        await audit_context.record(
            connection,
            "webhook.update",
            object_id=webhook,
            before=add_secret_names(before),
            after=add_secret_names(after, *({"secret"} & body.model_fields_set)),
        )
        row = await webhooks.get(connection, tenant_id=caller.tenant_id, webhook_id=webhook)
    return WebhookRead.of(row)


async def _apply_body(
    connection: AsyncConnection, before: Webhook, body: WebhookCreate | WebhookUpdate
) -> Webhook:
    """Set the fields that a body sets, as of the webhook's `updated_at`."""
    profiles = body.profiles
    event_filter = replace(
        before.event_filter,
        **_drop_unset(
            types=body.events,
            profiles=profiles and await profile_ids(connection, before.tenant_id, profiles),
            tags=body.tags,
            first_deferral_only=body.first_deferral_only,
        ),
    )
    values = _drop_unset(name=body.name, url=body.url, is_ordered=body.ordered, format=body.format)
    after = replace(before, event_filter=event_filter, **values)
    if after.url != before.url:  # the error is of the former URL
        after = replace(after, last_error=None, last_error_at=None)
    if body.enabled is None or body.enabled is (before.disabled_at is None):
        return after
    if body.enabled:
        return replace(after, disabled_at=None, disabled_reason=None, failing_since=None)
    return replace(after, disabled_at=after.updated_at, disabled_reason=DISABLED_BY_API)


def _drop_unset(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields' types
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


@router.delete(
    "/webhooks/{webhook}",
    status_code=204,
    summary="Delete a webhook",
    response_description="The webhook is deleted.",
)
@problems("webhook-not-found")
async def delete_webhook(webhook: InPath, caller: WebhookManager, services: ReadyServices) -> None:
    """Delete a webhook, its waiting events and its log."""
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        row = await webhooks.delete(connection, tenant_id=caller.tenant_id, webhook_id=webhook)
        await audit_context.record(connection, "webhook.delete", object_id=row.id, before=row)


@router.post(
    "/webhooks/{webhook}/rotate",
    summary="Rotate a webhook's secret",
    response_description="The webhook with its new secret, shown only this once.",
)
@problems("webhook-not-found")
async def rotate_webhook_secret(
    webhook: InPath,
    caller: WebhookManager,
    services: ReadyServices,
    body: Annotated[
        WebhookRotate | None,
        JsonBody(openapi_examples=ROTATE),
    ] = None,
) -> WebhookCreated:
    """Create a new secret. Heloise signs with both for a day, or for `overlap_seconds`."""
    audit_context, secret = caller.audit_context(services.now()), _generate_secret()
    overlap = timedelta(seconds=(body or WebhookRotate()).overlap_seconds)
    async with services.database.transaction() as connection:
        before = await webhooks.get(
            connection, tenant_id=caller.tenant_id, webhook_id=webhook, for_update=True
        )
        after = replace(
            before, former_secret_until=audit_context.now + overlap, updated_at=audit_context.now
        )
        await webhooks.rotate(
            connection,
            tenant_id=caller.tenant_id,
            webhook_id=webhook,
            sealed_secret=services.vault.seal(secret, webhook_secret(after)),
            former_until=audit_context.now + overlap,
            now=audit_context.now,
        )
        await audit_context.record(
            connection, "webhook.rotate", object_id=webhook, before=before, after=after
        )
        row = await webhooks.get(connection, tenant_id=caller.tenant_id, webhook_id=webhook)
    return WebhookCreated.of(row, secret=secret)


async def _read_deliveries(
    services: Services,
    caller: Caller,
    query: DeliveryQuery,
    *,
    webhook_id: str | None = None,
    message_id: str | None = None,
) -> DeliveryPage:
    load = partial(
        webhook_deliveries.page,
        tenant_id=caller.tenant_id,
        statuses=query.status,
        event_id=query.event,
        webhook_id=webhook_id,
        message_id=message_id,
    )
    return await read_page(services.database, query, "whd", load, DeliveryPage)


@router.get("/webhooks/{webhook}/deliveries", summary="List a webhook's deliveries")
@problems("webhook-not-found")
async def list_webhook_deliveries(
    webhook: InPath,
    query: Annotated[DeliveryQuery, Query()],
    caller: WebhookManager,
    services: ReadyServices,
) -> DeliveryPage:
    """List the events for a webhook, newest first, with the response to each post.

    Heloise keeps them as long as the events.
    """
    await _get_webhook(services, caller, webhook)
    return await _read_deliveries(services, caller, query, webhook_id=webhook)


@router.get("/messages/{message}/webhook-deliveries", summary="List a message's webhook deliveries")
@problems("message-not-found")
async def list_message_deliveries(
    message: Annotated[str, Path(description="The message's id.", examples=[MESSAGE["id"]])],
    query: Annotated[DeliveryQuery, Query()],
    caller: WebhookManager,
    services: ReadyServices,
) -> DeliveryPage:
    """List the posts of a message's events to all webhooks, newest first, with their responses.

    Heloise keeps them as long as the events.
    """
    async with services.database.reading() as connection:
        await require_message(connection, caller, message)
    return await _read_deliveries(services, caller, query, message_id=message)


@router.post(
    "/webhooks/{webhook}/replay",
    summary="Replay events",
    response_description="The number of events that Heloise posts again.",
)
@problems("webhook-not-found")
async def replay_webhook(
    webhook: InPath,
    body: Annotated[WebhookReplay, JsonBody(openapi_examples=REPLAY)],
    caller: WebhookManager,
    services: ReadyServices,
) -> WebhookReplayed:
    """Post events again, delivered ones included, with their original ids.

    A request replays at most 1000 events. If `next_cursor` is not null, repeat the request with it
    as `cursor`.
    """
    if body.model_copy(update={"cursor": None}) == WebhookReplay():
        raise InvalidRequest.at(
            "events", msg="set at least one: events, status, created_after or created_before"
        )
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        webhook_row = await webhooks.get(
            connection, tenant_id=caller.tenant_id, webhook_id=webhook, for_update=True
        )
        count, next_cursor = await enqueueing.replay(
            connection,
            tenant_id=caller.tenant_id,
            webhook=webhook_row,
            now=audit_context.now,
            limit=MAX_REPLAYED,
            event_ids=body.events,
            after=body.cursor,
            created_after=body.created_after,
            created_before=body.created_before,
            status=body.status,
        )
        await audit_context.record(
            connection, "webhook.replay", object_id=webhook, after={"replayed": count}
        )
    return WebhookReplayed(replayed=count, next_cursor=next_cursor)
