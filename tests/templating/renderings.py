"""Templates rendered as the API has them rendered, with the usual limits."""

from typing import Any, Final

import pytest

from app.templating import TemplateError
from app.templating.child_processes import Rendered, Renderer

TENANT: Final = "ten_0198c5a2d3f07b6e8a4c1d2e3f405162"
USUAL: Final[dict[str, Any]] = {
    "tenant_id": TENANT,
    "variables": {},
    "partials": {},
    "schema": None,
    "inlines_css": True,
    "max_characters": 100_000,
}


async def render(renderer: Renderer, parts: dict[str, str], **options: Any) -> Rendered:
    """What parts make of variables."""
    return await renderer.render(parts, **USUAL | options)


async def error_of(renderer: Renderer, parts: dict[str, str], **options: Any) -> TemplateError:
    """What is wrong with them."""
    with pytest.raises(TemplateError) as excinfo:
        await render(renderer, parts, **options)
    return excinfo.value
