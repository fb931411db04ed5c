"""What mail of any shape costs grows with its size, and no faster.

`reports.parse` is what `POST /inbound/bounces` and mailboxes read with, `raw_message.parse` what
`POST /messages/raw` does; a record is what the DNS has of a domain that is checked, and a line of
the log has the path of a request.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.security.mail_costs import PATHS, RECORDS, SHAPES, SIZES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Quadratic would be 64 times as much for 8 times the size.
GROWTH = SIZES[-1] // SIZES[0]
SLACK = 3
LEAST_SECONDS = 0.01  # what is less is noise
LEAST_BYTES = 200_000


@pytest.fixture(scope="module")
def costs() -> dict[tuple[str, str], Any]:
    """What each shape costs in each way, at each size, as a process with limits measured it."""
    command = [sys.executable, "-m", "tests.security.mail_costs"]
    result = subprocess.run(  # noqa: S603 - our own words
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, (result.returncode, lines[-1:], result.stderr)
    return {(way, shape): cost for way, shape, cost in lines}


@pytest.mark.parametrize("way", ["raw", "inbound", "record", "log"])
def test_the_cost_of_reading_mail_grows_with_its_size(
    costs: dict[tuple[str, str], Any], way: str
) -> None:
    """Processor time and memory, for headers and bodies of every shape that readers trip over."""
    for shape in {"record": RECORDS, "log": PATHS}.get(way, SHAPES):
        (first_seconds, first_bytes), *_, (last_seconds, last_bytes) = costs[way, shape]
        seconds = max(first_seconds, LEAST_SECONDS)
        assert last_seconds <= GROWTH * SLACK * seconds, (shape, costs[way, shape])
        peak = max(first_bytes, LEAST_BYTES)
        assert last_bytes <= GROWTH * SLACK * peak, (shape, costs[way, shape])
