"""The tables of docs/reference that the code makes: `python -m tests.project.reference`."""

import html
from collections.abc import Iterator
from typing import Final

from app.api.http.problem_types import PROBLEMS
from app.domain.outcome.failure_table import (
    FAULT_CLASSIFICATIONS,
    GENERIC_FAULTS,
    REPLY_RULES,
    Rule,
)
from app.domain.outcome.outcome import Stage, Verdict
from benchmarks.markdown import write_between_marks
from tests.support.terminal import ROOT

FOLDER: Final = ROOT / "docs" / "reference"
COMMAND: Final = "python -m tests.project.reference"
THEN: Final = {
    Verdict.DEFER: "try again",
    Verdict.BOUNCE: "bounce",
    Verdict.AGAIN: "send in another transaction at once",
}


def problems() -> Iterator[str]:
    """A row for each type."""
    yield from heading("slug", "status", "title", "what to do")
    for slug, problem in PROBLEMS.items():
        yield row(f"`{slug}`", str(problem.status), problem.title, problem.remedy)


def replies() -> Iterator[str]:
    """A row for each rule."""
    yield from heading("stage", "code", "enhanced code", "text", "scope", "then", "classification")
    for rule in REPLY_RULES:
        login = "without a login" if rule.anonymous else ""
        yield row(
            stages_of(rule),
            code(rule.code),
            code(rule.enhanced),
            f"{code(rule.text)} {login}".strip(),
            rule.scope.value,
            THEN[rule.verdict],
            f"`{rule.classification}`",
        )


def faults() -> Iterator[str]:
    """A row for each fault that has a name of its own at a stage, then for the others."""
    yield from heading("stage", "fault", "classification")
    for (stage, fault), classification in FAULT_CLASSIFICATIONS.items():
        yield row(stage.value, f"`{fault.value}`", f"`{classification}`")
    for fault, classification in GENERIC_FAULTS.items():
        yield row("any", f"`{fault.value}`", f"`{classification}`")


def stages_of(rule: Rule) -> str:
    """The stages of a rule, in the order of a dialogue."""
    return ", ".join(stage.value for stage in Stage if stage in rule.stages)


def code(pattern: str) -> str:
    """A regular expression, its bars no ends of cells."""
    escaped = html.escape(pattern, quote=False).replace("|", "&#124;")
    return f"<code>{escaped}</code>" if pattern else ""


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def heading(*cells: str) -> Iterator[str]:
    """The first two lines of a table."""
    yield row(*cells)
    yield "|---" * len(cells) + "|"


TABLES: Final = {
    "problems": ("problems.md", problems),
    "replies": ("failures.md", replies),
    "faults": ("failures.md", faults),
}


def text(name: str) -> str:
    """A table, line by line."""
    return "\n".join(TABLES[name][1]()) + "\n"


if __name__ == "__main__":
    for name, (page, _) in TABLES.items():
        write_between_marks(FOLDER / page, text(name), by=f"{COMMAND} {name}")
