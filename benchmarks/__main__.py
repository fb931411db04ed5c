"""`python -m benchmarks`: Heloise beside its floors, its ceilings and its peers, in one run.

The databases' files go where TMPDIR says: set it to a folder on the disk to measure.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import machine, markdown, measures
from benchmarks.chart import chart
from benchmarks.databases import new_databases
from benchmarks.results import Results, Row
from benchmarks.rounds import FAILED, Absent, Measure, measure_rows
from benchmarks.setting import FULL, QUICK, Setting, Size

VARIABLE: Final = "HELOISE_BENCH_POSTGRESQL_URL"
COMMAND: Final = "make bench"
CHARTS: Final = markdown.PAGE.with_suffix("")
DRAWN: Final = ("accept", "smtp", "round_trip_20_ms", "end_to_end")


def main() -> None:
    """Measure, print a page of Markdown, and write what else was asked for."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and stop all that was started
    results = _run(
        _chosen(arguments.only, is_quick=arguments.quick), _size(arguments), arguments.postgresql
    )
    page = markdown.page(results)
    print(page)
    if arguments.json is not None:
        results.write(arguments.json)
    if arguments.docs:
        markdown.write_between_marks(markdown.PAGE, page, by=COMMAND)
        _draw(results)
    if any(reason.startswith(FAILED) for reason in results.absent.values()):
        sys.exit("some contestants failed")


def _run(chosen: Sequence[Measure], size: Size, postgresql: str | None) -> Results:
    rows: list[Row] = []
    absent: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="heloise-bench-") as name,
        new_databases(postgresql) as new,
    ):
        facts, before = machine.facts(Path(name)), machine.watch_noise(Path(name))
        for measure in chosen:
            folder = Path(name) / measure.name  # what one leaves behind is of no use to the next
            folder.mkdir()
            for result in measure_rows(
                measure, Setting(folder=folder, size=size, new_postgresql=new)
            ):
                if isinstance(result, Absent):
                    absent[f"{measure.name}, {result.name}"] = result.reason
                else:
                    rows.append(result)
        noise = machine.describe_noise(before, machine.watch_noise(Path(name)))
    if noise is not None:
        facts[machine.WARNING] = noise
    return Results(facts, absent, rows)


def _chosen(only: Sequence[str], *, is_quick: bool) -> list[Measure]:
    return [
        measure
        for measure in measures.ALL
        if (measure.name in only if only else measure.is_short or not is_quick)
    ]


def _size(arguments: argparse.Namespace) -> Size:
    size = QUICK if arguments.quick else FULL
    changes = {
        "rounds": arguments.rounds,
        "backlog": arguments.backlog,
        "histories": tuple(arguments.history) if arguments.history else None,
    }
    return replace(size, **{name: value for name, value in changes.items() if value is not None})


def _draw(results: Results) -> None:
    CHARTS.mkdir(exist_ok=True)
    titles = {measure.name: measure.title for measure in measures.ALL}
    for name in DRAWN:
        if rows := results.of(name):
            (CHARTS / f"{name}.svg").write_text(chart(titles[name], rows), encoding="utf-8")


def _names() -> Iterator[str]:
    return (measure.name for measure in measures.ALL)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="the short form, within a minute")
    add("--only", action="append", default=[], choices=tuple(_names()), help="this measure alone")
    add("--rounds", type=int, help="how often each contestant is measured")
    add("--backlog", type=int, help="how many messages the large backlog has")
    add("--history", type=int, action="append", help="how many messages were sent before")
    add("--json", type=Path, metavar="FILE", help="where to write the results, too")
    add("--docs", action="store_true", help="write the page and the charts of docs/, too")
    add(
        "--postgresql",
        metavar="URL",
        default=os.environ.get(VARIABLE),
        help=f"a server to measure on, in new databases ({VARIABLE}; else the tests' own server)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
