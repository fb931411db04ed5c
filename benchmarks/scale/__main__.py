"""`python -m benchmarks.scale`: what a number of messages a day takes.

Prints the plan from the costs in measured.json. `--measure` measures them again, checks the model
at two points and writes the file; `--docs` writes the page.
"""

import argparse
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.markdown import write_between_marks
from benchmarks.scale.measure import Point, measure
from benchmarks.scale.model import Costs
from benchmarks.scale.page import PAGE, build_page

MEASURED: Final = Path(__file__).with_name("measured.json")
COMMAND: Final = "python -m benchmarks.scale"


def main() -> None:
    """Measure if wanted; print the page, and write it if wanted."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the costs again")
    parser.add_argument("--docs", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--postgresql", metavar="URL", help="a server of this machine")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and stop all that was started
    if arguments.measure:
        with tempfile.TemporaryDirectory(prefix="heloise-bench-") as folder:
            machine, costs, points = measure(Path(folder), arguments.postgresql)
        document = {
            "machine": machine,
            "costs": asdict(costs),
            "points": [asdict(point) for point in points],
        }
        MEASURED.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    text = load_page()
    print(text)
    if arguments.docs:
        write_between_marks(PAGE, text, by=COMMAND)


def load_page() -> str:
    """Build the page from what was measured last."""
    document = json.loads(MEASURED.read_text())
    points = [Point(**point) for point in document["points"]]
    return build_page(document["machine"], Costs(**document["costs"]), points)


if __name__ == "__main__":
    main()
