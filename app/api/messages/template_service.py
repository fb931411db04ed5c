"""Render templates with variables: load what they use, report errors."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.services import Services
from app.domain.errors import FieldError, InvalidRequest
from app.domain.templates import Template, TemplateContent, TemplateVersion
from app.store import templates
from app.templating import TemplateError
from app.templating.child_processes import Rendered

MAX_REFERENCES: Final = 50

Partials = dict[str, Mapping[str, str]]


async def render_template(
    services: Services,
    tenant_id: str,
    template: str,
    *,
    version: int | Literal["published", "last"],
    variables: Mapping[str, Any],
    locale: str | None,
    is_single: bool = True,
) -> tuple[int, Rendered]:
    """Render a version with variables; returns its number and content.

    `is_single`: the request has only this message. Raises NotFound, InvalidRequest for invalid
    templates or variables, or without a published version, or Unavailable.
    """
    async with services.database.reading() as connection:
        template_row = await templates.get(
            connection, tenant_id=tenant_id, template=template, with_hint=is_single
        )
        number = template_row.published if version == "published" else version
        if number is None:
            msg = f"{template_row.name!r} has no published version; publish one"
            raise InvalidRequest.at("template", msg=msg)
        version_row = await templates.get_version(
            connection,
            tenant_id=tenant_id,
            template=template_row,
            number=None if number == "last" else number,
        )
        partials = await _load_partials(connection, tenant_id, version_row.content, locale)
    content = await _render(services, template_row, version_row, partials, variables, locale)
    return version_row.number, content


async def check_template(
    services: Services, tenant_id: str, content: TemplateContent
) -> TemplateContent:
    """Compile a template and set the names that it references; raises InvalidRequest."""
    try:
        names = await services.renderer.check(
            content.sources(), content.variables_schema, tenant_id=tenant_id
        )
    except TemplateError as error:
        raise InvalidRequest.at(error.part, msg=_describe_error(error)) from None
    return replace(content, references=tuple(names))


async def _load_partials(
    connection: AsyncConnection, tenant_id: str, content: TemplateContent, locale: str | None
) -> Partials:
    """Load all published templates that the content references, directly or not."""
    partials, missing_names = Partials(), set(content.references)
    while missing_names:
        if len(partials) + len(missing_names) > MAX_REFERENCES:
            raise InvalidRequest.at(
                "template", msg=f"uses more than {MAX_REFERENCES} other templates; use fewer"
            )
        contents = await templates.load_published(
            connection, tenant_id=tenant_id, names=missing_names
        )
        if unpublished := sorted(missing_names - contents.keys()):
            raise InvalidRequest.at(
                "template",
                msg=f"uses {unpublished[0]!r}, which has no published version; publish it first",
            )
        partials |= {
            name: template_content.in_locale(locale) for name, template_content in contents.items()
        }
        missing_names = {
            name for template_content in contents.values() for name in template_content.references
        } - partials.keys()
    return partials


async def _render(
    services: Services,
    template: Template,
    version: TemplateVersion,
    partials: Partials,
    variables: Mapping[str, Any],
    locale: str | None,
) -> Rendered:
    try:
        return await services.renderer.render(
            version.content.in_locale(locale),
            tenant_id=template.tenant_id,
            variables=variables,
            partials=partials,
            schema=version.content.variables_schema,
            inlines_css=version.content.inlines_css,
            max_characters=services.max_message_bytes,
        )
    except TemplateError as error:
        if error.part == "variables":
            msg, loc = str(error), ("body", "variables")
        else:
            msg, loc = (
                f"{template.name!r}, {error.part}: {_describe_error(error)}",
                ("body", "template"),
            )
        raise InvalidRequest(msg, [FieldError(loc, msg)], "template-failed") from None


def _describe_error(error: TemplateError) -> str:
    return str(error) if error.line is None else f"line {error.line}: {error}"
