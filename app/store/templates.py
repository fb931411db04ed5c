"""Store templates and their versions."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, select
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.ids import is_id
from app.domain.templates import Template, TemplateContent, TemplateVersion
from app.store.db import similar_names as spelling
from app.store.db.keyset import newest_first
from app.store.db.rows import from_row, to_row
from app.store.db.uniqueness import unique_name
from app.store.tables.templates import template_versions, templates


async def insert(
    connection: AsyncConnection, *, template: Template, content: TemplateContent
) -> None:
    """Insert a template with its first draft; raise Conflict if its name exists."""
    async with unique_name(connection, "template", template.name):
        await connection.execute(insert_into(templates).values(to_row(template, templates)))
    await _insert_version(connection, template.id, 1, content, template.created_at)


async def _insert_version(
    connection: AsyncConnection,
    template_id: str,
    number: int,
    content: TemplateContent,
    now: datetime,
) -> None:
    await connection.execute(
        insert_into(template_versions).values(
            template_id=template_id,
            number=number,
            content=content,
            published_at=None,
            created_at=now,
            updated_at=now,
        )
    )


async def count(connection: AsyncConnection, *, tenant_id: str) -> int:
    """Count the tenant's templates."""
    query = select(func.count()).where(templates.c.tenant_id == tenant_id)
    return int((await connection.execute(query)).scalar_one())


async def page(
    connection: AsyncConnection, *, tenant_id: str, limit: int, after: str | None = None
) -> list[Template]:
    """Return a page of the tenant's templates, newest first."""
    query = select(templates).where(templates.c.tenant_id == tenant_id)
    query = newest_first(query, templates.c.id, limit=limit, after=after)
    return [Template(**row) for row in (await connection.execute(query)).mappings()]


async def get(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    template: str,
    for_update: bool = False,
    with_hint: bool = True,
) -> Template:
    """Return a template by id or name, locked with `for_update`.

    Raises NotFound, which with `with_hint` suggests a similar name.
    """
    column = templates.c.id if is_id(template, "tpl") else templates.c.name
    query = select(templates).where(templates.c.tenant_id == tenant_id, column == template)
    if for_update:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        of_tenant = templates.c.tenant_id == tenant_id
        hint = (
            await spelling.suggest_name(connection, templates.c.name, template, of_tenant)
            if with_hint
            else ""
        )
        raise NotFound("template", template, hint=hint)
    return Template(**row)


async def get_version(
    connection: AsyncConnection, *, tenant_id: str, template: Template, number: int | None = None
) -> TemplateVersion:
    """Return a version of a template, by default the last; raise NotFound."""
    matches = await list_versions(
        connection, tenant_id=tenant_id, template=template, limit=1, number=number
    )
    if not matches:
        raise NotFound("template-version", f"{template.name} {number}")
    return matches[0]


async def list_versions(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    template: Template,
    limit: int,
    number: int | None = None,
) -> list[TemplateVersion]:
    """Return up to `limit` versions, last first, or the one with this number."""
    query = (
        select(template_versions)
        .join(templates, templates.c.id == template_versions.c.template_id)
        .where(templates.c.tenant_id == tenant_id, template_versions.c.template_id == template.id)
        .order_by(template_versions.c.number.desc())
        .limit(limit)
    )
    if number is not None:
        query = query.where(template_versions.c.number == number)
    return [_version(row) for row in (await connection.execute(query)).mappings()]


async def load_published(
    connection: AsyncConnection, *, tenant_id: str, names: Collection[str]
) -> dict[str, TemplateContent]:
    """Load the published content of these templates, by name; leave out unpublished ones."""
    query = (
        select(templates.c.name, template_versions.c.content)
        .join(
            template_versions,
            (template_versions.c.template_id == templates.c.id)
            & (template_versions.c.number == templates.c.published),
        )
        .where(templates.c.tenant_id == tenant_id, templates.c.name.in_(names))
    )
    rows = await connection.execute(query)
    return {row.name: _content(row.content) for row in rows}


async def rename(
    connection: AsyncConnection, *, tenant_id: str, template: Template, name: str, now: datetime
) -> None:
    """Rename a template; raise Conflict if the name exists."""
    async with unique_name(connection, "template", name):
        await connection.execute(
            update_rows(templates)
            .where(templates.c.tenant_id == tenant_id, templates.c.id == template.id)
            .values(name=name, updated_at=now)
        )


async def write_draft(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    template: Template,
    content: TemplateContent,
    now: datetime,
) -> None:
    """Replace the draft, or add one as the next version."""
    last_version = await get_version(connection, tenant_id=tenant_id, template=template)
    if last_version.published_at is not None:
        await _insert_version(connection, template.id, last_version.number + 1, content, now)
        return
    await connection.execute(
        update_rows(template_versions)
        .where(
            template_versions.c.template_id == template.id,
            template_versions.c.number == last_version.number,
        )
        .values(content=content, updated_at=now)
    )


async def publish(
    connection: AsyncConnection, *, tenant_id: str, template: Template, number: int, now: datetime
) -> None:
    """Publish a version; its first publication freezes it."""
    await connection.execute(
        update_rows(template_versions)
        .where(
            template_versions.c.template_id == template.id,
            template_versions.c.number == number,
            template_versions.c.published_at.is_(None),
        )
        .values(published_at=now)
    )
    await connection.execute(
        update_rows(templates)
        .where(templates.c.tenant_id == tenant_id, templates.c.id == template.id)
        .values(published=number, updated_at=now)
    )


async def delete(connection: AsyncConnection, *, tenant_id: str, template: Template) -> None:
    """Delete a template with all its versions."""
    await connection.execute(
        delete_from(templates).where(
            templates.c.tenant_id == tenant_id, templates.c.id == template.id
        )
    )


def _version(row: RowMapping) -> TemplateVersion:
    return from_row(TemplateVersion, row, content=_content(row["content"]))


def _content(data: dict[str, Any]) -> TemplateContent:
    return TemplateContent(**data | {"references": tuple(data["references"])})
