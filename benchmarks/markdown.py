"""Results as Markdown: the targets first, then a table a measure."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks import measures
from benchmarks.machine import ROOT, WARNING
from benchmarks.results import Results, Row
from benchmarks.targets import Target, judge_results

PAGE: Final = ROOT / "docs" / "operations" / "performance.md"
BEGIN: Final = "<!-- begin: written by {} -->"
END: Final = "<!-- end: written by {} -->"


def page(results: Results) -> str:
    """All of a run."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    if WARNING in results.machine:
        yield f"**The machine was not quiet**: {results.machine[WARNING]}. Trust only ratios.\n"
    yield from _table(("what has to hold", "measured", "target", ""), _verdicts(results))
    for measure in measures.ALL:
        rows = results.of(measure.name)
        if rows:
            yield f"\n### {measure.title}\n"
            yield from _rows(rows)
    if results.absent:
        yield "\nNot measured:\n"
        yield from (f"- {name}: {reason}" for name, reason in results.absent.items())
    yield "\nMeasured on:\n"
    yield from (f"- {name}: {value}" for name, value in results.machine.items() if name != WARNING)


def _verdicts(results: Results) -> Iterator[tuple[str, ...]]:
    for verdict in judge_results(results):
        target, met = verdict.target, "met" if verdict.is_met else "**not met**"
        yield target.sentence, f"{format_number(verdict.value)} {target.unit}", _bound(target), met


def _bound(target: Target) -> str:
    if target.at_least is not None:
        return f"≥ {target.at_least:g} {target.unit}"
    return f"≤ {target.at_most:g} {target.unit}"


def _rows(rows: Sequence[Row]) -> Iterator[str]:
    unit = rows[0].unit.strip("/")
    heading = "a second" if unit == "s" else unit
    details = list(dict.fromkeys(name for row in rows for name in row.details))
    names = [name.replace("_per_second", " a second").replace("_", " ") for name in details]
    first = rows[0].median
    yield from _table(
        ("", heading, "ratio", "rounds", *names),
        (
            (
                row.contestant,
                format_number(row.median),
                f"{row.median / first:.2f}",
                f"{format_number(min(row.values))}-{format_number(max(row.values))}",
                *(
                    format_number(row.details[name]) if name in row.details else ""
                    for name in details
                ),
            )
            for row in rows
        ),
    )


def _table(heading: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield "|---|" + "---:|" * (len(heading) - 1)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def format_number(value: float) -> str:
    """A figure with no more digits than it is good for."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write_between_marks(path: Path, text: str, *, by: str) -> None:
    """Put a text in the place of what stands between a command's marks on a page.

    Raises ValueError where the page has none.
    """
    begin, end = BEGIN.format(by), END.format(by)
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"{path} has no marks to write between")
    path.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")
