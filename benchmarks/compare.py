"""`python -m benchmarks.compare A.json B.json`: how much faster or slower the second run is.

A change counts where the rounds of the two runs do not overlap: the least of one is above the
greatest of the other. Look at the processor time a message: unlike the rate, it depends little on
what else the machine does.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.markdown import format_number
from benchmarks.results import Results, Row, read

PER_SECOND: Final = "/s"  # of all else less is better


def main() -> None:
    """Print the comparison of two files as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    arguments = parser.parse_args()
    print("\n".join(compare_results(read(arguments.before), read(arguments.after))))


def compare_results(before: Results, after: Results) -> Iterator[str]:
    """A line for each contestant that both runs have."""
    yield f"| | {before.machine['commit']} | {after.machine['commit']} | change | |"
    yield "|---|---:|---:|---:|---|"
    for row in after.rows:
        former = before.find(row.measure, row.contestant)
        if former is not None and former.median:
            change = row.median / former.median - 1
            name = f"{row.measure}: {row.contestant}"
            medians = (
                f"{format_number(former.median)} {row.unit} | "
                f"{format_number(row.median)} {row.unit}"
            )
            yield f"| {name} | {medians} | {change:+.0%} | {_verdict(former, row)} |"


def _verdict(before: Row, after: Row) -> str:
    is_up = min(after.values) > max(before.values)
    is_down = max(after.values) < min(before.values)
    if not is_up and not is_down:
        return "within the noise"
    return "better" if is_up is (after.unit == PER_SECOND) else "**worse**"


if __name__ == "__main__":
    main()
