"""docs/operations/troubleshooting.md: verify names the cause, and what its hint says mends it."""

import re
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from app.diagnostics.report import Report, Step
from app.diagnostics.verify import Subject, verify
from tests.diagnostics import (
    login_misconfigurations,
    network_misconfigurations,
    tls_misconfigurations,
)
from tests.diagnostics.misconfigurations import MISCONFIGURATIONS
from tests.diagnostics.small_internet import SmallInternet

PAGE: Final = Path(__file__, "../../../docs/operations/troubleshooting.md").resolve()
MODULES: Final = (
    network_misconfigurations,
    tls_misconfigurations,
    login_misconfigurations,
)  # importing them fills MISCONFIGURATIONS
AT_LEAST: Final = 20
# What a profile calls it, where that is not the identity's own word.
CALLED: Final = {
    "ehlo_names": "ehlo_name",
    "username": "auth",
    "password": "auth",
    "mechanism": "auth",
    "allow_plaintext_auth": "auth",
}


@dataclass(frozen=True)
class Row:
    """One of the page: `stage` and `code` as verify gives them."""

    mistake: str
    stage: str
    code: str
    fix: str


def rows() -> Iterator[Row]:
    """Of the page's tables."""
    for line in PAGE.read_text().splitlines():
        match = re.fullmatch(r"\| (.+?) \| `(\w+)` \| `(\w+)` \| (.+) \|", line)
        if match is not None:
            yield Row(*match.groups())


def changed_settings(before: Subject, after: Subject) -> set[str]:
    """The profile's settings that differ."""
    names = [field.name for field in fields(before.identity)]
    return {
        CALLED.get(name, name)
        for name in names
        if getattr(before.identity, name) != getattr(after.identity, name)
    }


def test_the_page_and_the_tests_know_the_same_misconfigurations() -> None:
    """None is told of without being tried, and none is tried without being told of."""
    mistakes = [row.mistake for row in rows()]
    assert sorted(mistakes) == sorted(MISCONFIGURATIONS)
    assert len(mistakes) >= AT_LEAST


async def run_verify(subject: Subject, net: SmallInternet) -> Report:
    """What verify says of it."""
    return await verify(subject, net.network, now=datetime.now(UTC))


@pytest.mark.parametrize("row", tuple(rows()), ids=lambda row: row.mistake)
async def test_the_code_names_the_cause_and_the_hint_mends_it(row: Row, net: SmallInternet) -> None:
    """Nothing is changed in the profile but what the hint names, and then all is well."""
    async with aclosing(MISCONFIGURATIONS[row.mistake](net)) as attempts:
        before = await anext(attempts)
        report = await run_verify(before, net)
        assert report.failed_stage is not None
        assert (report.failed_stage.stage, report.failed_stage.code) == (Step(row.stage), row.code)
        hint = report.failed_stage.hint or ""
        after = await attempts.asend(report)
        assert {name for name in changed_settings(before, after) if f"`{name}" not in hint} == set()
        report_after = await run_verify(after, net)
        assert report_after.is_ok, report_after.failed_stage
