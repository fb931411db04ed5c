"""What was measured, as values that are written to JSON and read back."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant in one measure: a value a round, and the medians of the details."""

    measure: str
    contestant: str
    unit: str
    values: Sequence[float]
    details: Mapping[str, float]

    @property
    def median(self) -> float:
        """What is compared."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Results:
    """One run: the machine, who was absent and why, and a row for everybody else."""

    machine: Mapping[str, str]
    absent: Mapping[str, str]
    rows: Sequence[Row]

    def find(self, measure: str, contestant: str) -> Row | None:
        """The row of a contestant, if it was measured."""
        named = (row for row in self.rows if (row.measure, row.contestant) == (measure, contestant))
        return next(named, None)

    def of(self, measure: str) -> list[Row]:
        """The rows of a measure."""
        return [row for row in self.rows if row.measure == measure]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """The results in a file that `Results.write` wrote."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return Results(
        document["machine"], document["absent"], [Row(**row) for row in document["rows"]]
    )
