"""Count in plain numbers, and render them as Prometheus' counters, histograms and gauges.

A message is counted about ten times on its way. The classes of `prometheus_client` lock at each
count and cost six times as much; the counts of a process all happen on its event loop, so these
need no lock.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, cast

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

Labels = tuple[str, ...]
# The numbers of each label set: one value, or a histogram's buckets and sum.
Rows = dict[Labels, list[float]]

SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200)


class Series:
    """A metric: its name, its labels and its numbers.

    With `is_grouped`, its label sets end with those of the message's profile and tenant.
    """

    make_family: Callable[..., Any]

    def __init__(self, name: str, description: str, *labels: str, is_grouped: bool = False) -> None:
        self.name = name
        self.description = description
        self.labels = labels
        self.is_grouped = is_grouped
        self.rows: Rows = {}

    def build_family(self, rows: Rows, group_labels: Labels) -> Metric:
        """Render rows, which may be those of several processes."""
        labels = self.labels + group_labels if self.is_grouped else self.labels
        family: Any = self.make_family(self.name, self.description, labels=labels)
        for label_set, row in sorted(rows.items()):
            family.add_metric(label_set, *self._list_values(row))
        return cast("Metric", family)

    def _list_values(self, row: list[float]) -> Sequence[Any]:
        return row


class Counter(Series):
    """A number that only grows; its name ends with `_total`."""

    make_family = CounterMetricFamily

    def __init__(self, name: str, description: str, *labels: str, is_grouped: bool = False) -> None:
        super().__init__(name, description, *labels, is_grouped=is_grouped)
        if not labels and not is_grouped:
            self.rows[()] = [0.0]  # visible before the first event

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Count an event, or several."""
        row = self.rows.get(labels)
        if row is None:
            self.rows[labels] = [amount]
        else:
            row[0] += amount


class Histogram(Series):
    """A distribution of values, counted by upper bounds."""

    make_family = HistogramMetricFamily

    def __init__(
        self,
        name: str,
        description: str,
        *labels: str,
        bounds: Sequence[float] = SECONDS,
        is_grouped: bool = False,
    ) -> None:
        super().__init__(name, description, *labels, is_grouped=is_grouped)
        self._bounds = bounds
        self._names = [*map(str, map(float, bounds)), "+Inf"]

    def observe(self, value: float, labels: Labels = (), count: int = 1) -> None:
        """Count a value, or several that are equal."""
        row = self.rows.get(labels)
        if row is None:
            row = self.rows[labels] = [0.0] * (len(self._bounds) + 2)
        row[bisect_left(self._bounds, value)] += count
        row[-1] += value * count

    def _list_values(self, row: list[float]) -> Sequence[Any]:
        *counts, total = row
        return [*zip(self._names, accumulate(counts), strict=True)], total


class Gauge(Series):
    """A value that is read when somebody asks; it keeps no rows."""

    make_family = GaugeMetricFamily


def add_rows(total: Rows, rows: Mapping[Labels, Sequence[float]]) -> None:
    """Add the numbers of equal label sets."""
    for labels, row in rows.items():
        if (sums := total.get(labels)) is None:
            total[labels] = list(row)
        else:
            sums[:] = map(sum, zip(sums, row, strict=True))


class Families:
    """Metrics as `generate_latest` collects them."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        """Yield each metric."""
        yield from self._families
