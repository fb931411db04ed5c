"""The misconfigurations of the page on troubleshooting: each made, then mended by its hint."""

from collections.abc import AsyncGenerator, Callable
from typing import Final

from app.diagnostics.report import Report
from app.diagnostics.verify import Subject
from tests.diagnostics.small_internet import SmallInternet

# First the wrong subject; then, once it is told what verify said of it, the mended one. What is
# mended at a server or in the operator's settings is mended in between.
Attempts = AsyncGenerator[Subject, Report]
Misconfiguration = Callable[[SmallInternet], Attempts]

WRONG: Final[dict[str, Misconfiguration]] = {}


def wrong(what: str) -> Callable[[Misconfiguration], Misconfiguration]:
    """Keep it under the words that the page has for it."""

    def kept(made: Misconfiguration) -> Misconfiguration:
        assert what not in WRONG
        WRONG[what] = made
        return made

    return kept
