"""What a template, its variables or a page costs grows with its size, and not with its square."""

import json
import subprocess
import sys
from typing import Any, Final

import pytest

from tests.security.template_costs import GROWTH, WAYS

# One process measures them all. Its processor time is bounded; no clock on the wall is looked at.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GENEROUS: Final = 2  # these machines are shared; what is quadratic is beyond it by far
# What the clock and the allocator do not tell apart.
LEAST_SECONDS: Final = 0.06
LEAST_BYTES: Final = 500_000


@pytest.fixture(scope="module")
def costs() -> dict[str, dict[str, Any]]:
    """What each kind of job cost a process; one that ended it has no line, nor those after."""
    command = [sys.executable, "-m", "tests.security.template_costs"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {line["name"]: line for line in lines} | {"error": {"text": result.stderr[-2000:]}}


@pytest.mark.parametrize("name", WAYS)
def test_a_larger_job_costs_as_much_more(costs: dict[str, dict[str, Any]], name: str) -> None:
    """Of the processor and of memory."""
    assert name in costs, costs["error"]["text"]
    for unit, least in (("seconds", LEAST_SECONDS), ("bytes", LEAST_BYTES)):
        small, large = costs[name][unit]
        assert large <= GENEROUS * GROWTH * small + least, (unit, small, large)
