"""Serve `/resend/webhooks`: webhooks with Resend's event bodies."""

import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from fastapi import Path, Response
from pydantic import AfterValidator, Field

from app.api.auth.dependencies import WebhookManager
from app.api.http.fields import Line, RequestModel, Text
from app.api.requests.json_limits import Router
from app.api.resend.lists import ListQuery, ListRead, build_list, select_rows
from app.api.services import ReadyServices
from app.api.webhooks import routes as native
from app.api.webhooks.schemas import (
    Url,
    WebhookCreate,
    WebhookRead,
    WebhookRotate,
    WebhookSecret,
    WebhookUpdate,
)
from app.domain.events import find_matching_types
from app.domain.resend_events import RESEND_TYPES, find_types, list_names
from app.domain.webhooks import WebhookFormat
from app.store.webhooks import queries as webhooks

MAX_EVENTS: Final = 100
MAX_HOST_CHARACTERS: Final = 80
ENABLED, DISABLED = "enabled", "disabled"

router = Router("Webhooks", prefix="/resend/webhooks")
InPath = Annotated[str, Path(description="The webhook's id.")]


def _check_names(names: list[str]) -> list[str]:
    find_types(names)
    return names


Names = Annotated[list[Line], Field(max_length=MAX_EVENTS), AfterValidator(_check_names)]


class ResendWebhookCreate(RequestModel):
    """A URL and the events to post to it."""

    endpoint: Url
    events: Names


class ResendWebhookUpdate(RequestModel):
    """Changes to a webhook. Python's SDK repeats the id."""

    webhook_id: Text | None = None
    endpoint: Url | None = None
    events: Names | None = None
    status: Literal["enabled", "disabled"] | None = None
    signing_secret: WebhookSecret | None = None


@router.post("", operation_id="resend_create_webhook")
async def create_webhook(
    body: ResendWebhookCreate, caller: WebhookManager, services: ReadyServices
) -> dict[str, Any]:
    """Post events to a URL from now on, in Resend's form. The answer shows the secret once."""
    host = (urlsplit(body.endpoint).hostname or "")[:MAX_HOST_CHARACTERS]
    webhook = WebhookCreate(
        name=f"{host} {secrets.token_hex(4)}",  # Resend's webhooks have no name
        url=body.endpoint,
        events=_to_patterns(body.events),
        format=WebhookFormat.RESEND,
    )
    created = await native.create_webhook(webhook, caller, Response(), services)
    return {"object": "webhook", "id": created.id, "signing_secret": created.secret}


@router.get("", operation_id="resend_list_webhooks")
async def list_webhooks(
    params: ListQuery, caller: WebhookManager, services: ReadyServices
) -> ListRead:
    """List webhooks, newest first, those in Heloise's own form too."""
    params.check("whk")
    async with services.database.reading() as connection:
        rows = await webhooks.page(
            connection, tenant_id=caller.tenant_id, limit=native.MAX_WEBHOOKS
        )
    return build_list(select_rows(rows, params), params, lambda row: _describe(WebhookRead.of(row)))


@router.get("/{webhook}", operation_id="resend_get_webhook")
async def get_webhook(
    webhook: InPath, caller: WebhookManager, services: ReadyServices
) -> dict[str, Any]:
    """Get a webhook, without its secret."""
    read = await native.get_webhook(webhook, caller, services)
    return {"object": "webhook", **_describe(read)}


@router.patch("/{webhook}", operation_id="resend_update_webhook")
async def update_webhook(
    webhook: InPath, body: ResendWebhookUpdate, caller: WebhookManager, services: ReadyServices
) -> dict[str, Any]:
    """Change a webhook. A new `endpoint` requires `signing_secret`, which is bound to the URL."""
    values = {
        "url": body.endpoint,
        "secret": body.signing_secret,
        "events": None if body.events is None else _to_patterns(body.events),
        "enabled": None if body.status is None else body.status == ENABLED,
    }
    changes: Any = {name: value for name, value in values.items() if value is not None}
    updated = await native.update_webhook(webhook, WebhookUpdate(**changes), caller, services)
    return {"object": "webhook", "id": updated.id}


@router.delete("/{webhook}", operation_id="resend_delete_webhook")
async def delete_webhook(
    webhook: InPath, caller: WebhookManager, services: ReadyServices
) -> dict[str, Any]:
    """Delete a webhook and the events that wait for it."""
    await native.delete_webhook(webhook, caller, services)
    return {"object": "webhook", "id": webhook, "deleted": True}


@router.post("/{webhook}/signing-secret/rotate", operation_id="resend_rotate_webhook_secret")
async def rotate_secret(
    webhook: InPath, caller: WebhookManager, services: ReadyServices
) -> dict[str, Any]:
    """Create a new secret. Heloise signs with both for a day."""
    rotated = await native.rotate_webhook_secret(webhook, caller, services, WebhookRotate())
    return {"object": "webhook", "id": rotated.id, "signing_secret": rotated.secret}


def _to_patterns(names: Sequence[str]) -> list[str]:
    return [event_type.value for event_type in find_types(names)]


def _describe(webhook: WebhookRead) -> dict[str, Any]:
    types = find_matching_types(webhook.events) if webhook.events else list(RESEND_TYPES)
    return {
        "id": webhook.id,
        "created_at": webhook.created_at,
        "status": ENABLED if webhook.enabled else DISABLED,
        "endpoint": webhook.url,
        "events": list_names(types),
    }
