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

MISCONFIGURATIONS: Final[dict[str, Misconfiguration]] = {}


def misconfiguration(what: str) -> Callable[[Misconfiguration], Misconfiguration]:
    """Register a misconfiguration under its words on the page."""

    def register(made: Misconfiguration) -> Misconfiguration:
        assert what not in MISCONFIGURATIONS
        MISCONFIGURATIONS[what] = made
        return made

    return register
