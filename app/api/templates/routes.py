"""Serve `/templates`: versioned templates for messages."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Body as JsonBody
from fastapi import Path, Query, Request, Response

from app.api.auth.dependencies import ListQuery, TemplateManager
from app.api.http.pagination import read_page
from app.api.messages.examples import QUEUED
from app.api.messages.idempotency import respond_once
from app.api.messages.openapi import ACCEPT_PROBLEMS, accept_responses
from app.api.messages.responses import MessageRead
from app.api.messages.schemas import MessageCreate
from app.api.messages.service import prepare_send
from app.api.messages.template_service import check_template, render_template
from app.api.openapi import describe_location, problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.api.templates.schemas import (
    CREATE,
    PREVIEW,
    PUBLISH,
    PUBLISHED,
    TEST,
    UPDATE,
    TemplateCreate,
    TemplatePage,
    TemplatePreview,
    TemplatePublish,
    TemplateRead,
    TemplateRendered,
    TemplateTest,
    TemplateUpdate,
    TemplateVersionRead,
    TemplateVersions,
)
from app.auth.caller import Caller
from app.auth.quotas import check_count
from app.domain.errors import InvalidRequest
from app.domain.ids import new_id
from app.domain.templates import PARTS, Template, TemplateContent
from app.domain.types import Scope
from app.store import templates
from app.templating.child_processes import Rendered

router = Router("Templates")

MAX_TEMPLATES: Final = 1000
MAX_VERSIONS: Final = 200
InPath = Annotated[
    str, Path(description="The template's id or name.", examples=[PUBLISHED["name"]])
]


@router.post(
    "/templates",
    status_code=201,
    summary="Create a template",
    response_description="The new template with a draft. Publish it to send it.",
    responses=describe_location(f"/templates/{PUBLISHED['id']}"),
)
@problems("template-exists", "quota-exceeded")
async def create_template(
    body: Annotated[TemplateCreate, JsonBody(openapi_examples=CREATE)],
    caller: TemplateManager,
    response: Response,
    services: ReadyServices,
) -> TemplateRead:
    """Create a template as a draft. `POST /templates/{template}/publish` publishes it.

    The parts are Jinja templates. `{% extends "layout" %}` and `{% include "footer" %}` use the
    same part of other published templates of the tenant.
    """
    audit_context = caller.audit_context(services.now())
    content = _apply_body(TemplateContent(parts={}), body)
    content = await check_template(services, caller.tenant_id, content)
    row = Template(
        id=new_id("tpl"),
        tenant_id=caller.tenant_id,
        name=body.name,
        published=None,
        created_at=audit_context.now,
        updated_at=audit_context.now,
    )
    async with services.database.transaction() as connection:
        await check_count(connection, caller.tenant_id, templates.count, MAX_TEMPLATES, "templates")
        await templates.insert(connection, template=row, content=content)
        await audit_context.record(
            connection, "template.create", object_id=row.id, after={"name": row.name}
        )
    response.headers["Location"] = f"/templates/{row.id}"
    return TemplateRead.model_validate(row)


@router.get("/templates", summary="List templates")
async def list_templates(
    paging: ListQuery, caller: TemplateManager, services: ReadyServices
) -> TemplatePage:
    """List the tenant's templates, newest first."""
    load = partial(templates.page, tenant_id=caller.tenant_id)
    return await read_page(services.database, paging, "tpl", load, TemplatePage)


@router.get("/templates/{template}", summary="Get a template")
@problems("template-not-found")
async def get_template(
    template: InPath, caller: TemplateManager, services: ReadyServices
) -> TemplateRead:
    """Get a template's name and published version."""
    async with services.database.reading() as connection:
        row = await templates.get(connection, tenant_id=caller.tenant_id, template=template)
    return TemplateRead.model_validate(row)


@router.get("/templates/{template}/versions", summary="List a template's versions")
@problems("template-not-found")
async def list_template_versions(
    template: InPath,
    caller: TemplateManager,
    services: ReadyServices,
    limit: Annotated[
        int, Query(ge=1, le=MAX_VERSIONS, description="How many versions to return.")
    ] = MAX_VERSIONS,
) -> TemplateVersions:
    """List a template's last versions, newest first. The first may be a draft."""
    async with services.database.reading() as connection:
        template_row = await templates.get(
            connection, tenant_id=caller.tenant_id, template=template
        )
        rows = await templates.list_versions(
            connection, tenant_id=caller.tenant_id, template=template_row, limit=limit
        )
    return TemplateVersions(items=[TemplateVersionRead.of(row) for row in rows])


@router.patch("/templates/{template}", summary="Update a template's draft")
@problems("template-not-found", "template-exists")
async def update_template(
    template: InPath,
    body: Annotated[TemplateUpdate, JsonBody(openapi_examples=UPDATE)],
    caller: TemplateManager,
    services: ReadyServices,
) -> TemplateVersionRead:
    """Update the draft. Without a draft, create one from the latest version.

    The published version does not change. A new name applies at once.
    """
    audit_context = caller.audit_context(services.now())
    async with services.database.reading() as connection:
        row_before = await templates.get(connection, tenant_id=caller.tenant_id, template=template)
        latest = await templates.get_version(
            connection, tenant_id=caller.tenant_id, template=row_before
        )
    content = _apply_body(latest.content, body)
    if content != latest.content:
        content = await check_template(services, caller.tenant_id, content)
    async with services.database.transaction() as connection:
        row = await templates.get(
            connection, tenant_id=caller.tenant_id, template=row_before.id, for_update=True
        )
        if body.name is not None and body.name != row.name:
            await templates.rename(
                connection,
                tenant_id=caller.tenant_id,
                template=row,
                name=body.name,
                now=audit_context.now,
            )
        if content != latest.content:
            await templates.write_draft(
                connection,
                tenant_id=caller.tenant_id,
                template=row,
                content=content,
                now=audit_context.now,
            )
        draft = await templates.get_version(connection, tenant_id=caller.tenant_id, template=row)
        await audit_context.record(
            connection,
            "template.update",
            object_id=row.id,
            before={"name": row.name, "version": latest.number},
            after={"name": body.name or row.name, "version": draft.number},
        )
    return TemplateVersionRead.of(draft)


def _apply_body(before: TemplateContent, body: TemplateCreate | TemplateUpdate) -> TemplateContent:
    set_fields = body.model_fields_set
    parts = {name: source for name, source in before.parts.items() if name not in set_fields}
    parts |= body.to_parts()
    if {"html", "mjml"} <= parts.keys():
        raise InvalidRequest.at(
            "mjml", msg="a template has html or mjml: set the other one to null in this request"
        )
    changes: dict[str, Any] = {"parts": {name: parts[name] for name in PARTS if name in parts}}
    if "locales" in set_fields:
        locales = body.locales or {}
        changes["locales"] = {
            name: locale_parts.to_parts() for name, locale_parts in locales.items()
        }
    if "variables_schema" in set_fields:
        changes["variables_schema"] = body.variables_schema
    if body.inline_css is not None:
        changes["inlines_css"] = body.inline_css
    return replace(before, **changes)


@router.delete(
    "/templates/{template}",
    status_code=204,
    summary="Delete a template",
    response_description="The template is deleted. Messages made from it stay.",
)
@problems("template-not-found")
async def delete_template(
    template: InPath, caller: TemplateManager, services: ReadyServices
) -> None:
    """Delete a template and all its versions."""
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        row = await templates.get(
            connection, tenant_id=caller.tenant_id, template=template, for_update=True
        )
        await templates.delete(connection, tenant_id=caller.tenant_id, template=row)
        await audit_context.record(
            connection, "template.delete", object_id=row.id, before={"name": row.name}
        )


@router.post(
    "/templates/{template}/publish",
    summary="Publish a template version",
    response_description="New messages use this version from now on.",
)
@problems("template-not-found", "template-version-not-found")
async def publish_template(
    template: InPath,
    caller: TemplateManager,
    services: ReadyServices,
    body: Annotated[TemplatePublish | None, JsonBody(openapi_examples=PUBLISH)] = None,
) -> TemplateRead:
    """Publish the latest version, or an earlier one again. Accepted messages do not change."""
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        row = await templates.get(
            connection, tenant_id=caller.tenant_id, template=template, for_update=True
        )
        version = await templates.get_version(
            connection,
            tenant_id=caller.tenant_id,
            template=row,
            number=(body or TemplatePublish()).version,
        )
        await templates.publish(
            connection,
            tenant_id=caller.tenant_id,
            template=row,
            number=version.number,
            now=audit_context.now,
        )
        await audit_context.record(
            connection,
            "template.publish",
            object_id=row.id,
            before={"published": row.published},
            after={"published": version.number},
        )
    return TemplateRead.model_validate(
        replace(row, published=version.number, updated_at=audit_context.now)
    )


@router.post(
    "/templates/{template}/preview",
    summary="Render a template",
    response_description="The subject, text and HTML of a message.",
)
@problems("template-not-found", "template-version-not-found", "template-failed")
async def preview_template(
    template: InPath,
    body: Annotated[TemplatePreview, JsonBody(openapi_examples=PREVIEW)],
    caller: TemplateManager,
    services: ReadyServices,
) -> TemplateRendered:
    """Render a version with your variables. Default: the latest version, which may be a draft."""
    number, content = await _render(services, caller, template, body)
    return TemplateRendered(
        version=number, subject=content.subject, text=content.text, html=content.html
    )


async def _render(
    services: Services, caller: Caller, template: str, body: TemplatePreview
) -> tuple[int, Rendered]:
    return await render_template(
        services,
        caller.tenant_id,
        template,
        version=body.version or "last",
        variables=body.variables,
        locale=body.locale,
    )


@router.post(
    "/templates/{template}/test",
    status_code=202,
    response_model=MessageRead,
    summary="Send a test message",
    response_description="The message is stored durably. Heloise will send it.",
    responses=accept_responses(QUEUED, is_keyed=False),
)
@problems(*ACCEPT_PROBLEMS, "template-not-found", "template-version-not-found", "template-failed")
async def test_template(
    template: InPath,
    body: Annotated[TemplateTest, JsonBody(openapi_examples=TEST)],
    caller: TemplateManager,
    services: ReadyServices,
    request: Request,
) -> Response:
    """Send a version to at most ten recipients. Default: the latest version, which may be a draft.

    The key also needs the scope `messages:send`.
    """
    caller.require_scope(Scope.MESSAGES_SEND)
    _, content = await _render(services, caller, template, body)
    message = MessageCreate.model_validate(
        {
            "from": body.sender,
            "to": body.to,
            "profile": body.profile,
            "subject": content.subject or "",
            "text": content.text,
            "html": content.html,
            "tags": ["template-test"],
        }
    )
    make = partial(prepare_send, services, caller, message)
    return await respond_once(request, services, caller, None, make)
