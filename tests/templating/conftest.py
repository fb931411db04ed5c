"""What tests of templates share."""

from collections.abc import AsyncIterator

import pytest

from app.templating.child_processes import Renderer


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    """Its processes end with the test."""
    renderer = Renderer()
    yield renderer
    await renderer.close()
