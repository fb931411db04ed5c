"""Count in plain numbers, and render them as Prometheus' counters, histograms and gauges.

A message is counted about ten times on its way. The classes of `prometheus_client` lock at each
count and cost six times as much; the counts of a process all happen on its event loop, so these
need no lock.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

Labels = tuple[str, ...]
# The numbers of each label set: a counter's value, or a histogram's buckets and sum.
Rows = dict[Labels, list[float]]

SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200)


class Series:
    """A counter or histogram: its name, its labels and its numbers.

    With `is_grouped`, its label sets end with those of the message's profile and tenant.
    """

    def __init__(self, name: str, description: str, *labels: str, is_grouped: bool = False) -> None:
        self.name = name
        self.description = description
        self.labels = labels
        self.is_grouped = is_grouped
        self.rows: Rows = {}

    def build_family(self, rows: Rows, group_labels: Labels) -> Metric:
        """Render rows, which may be those of several processes."""
        raise NotImplementedError


class Counter(Series):
    """A number that only grows; its name ends with `_total`."""

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

    def build_family(self, rows: Rows, group_labels: Labels) -> Metric:
        family = CounterMetricFamily(
            self.name, self.description, labels=_label_names(self, group_labels)
        )
        for labels, (value,) in sorted(rows.items()):
            family.add_metric(labels, value)
        return family


class Histogram(Series):
    """A distribution of values, counted by upper bounds."""

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

    def build_family(self, rows: Rows, group_labels: Labels) -> Metric:
        family = HistogramMetricFamily(
            self.name, self.description, labels=_label_names(self, group_labels)
        )
        for labels, (*counts, total) in sorted(rows.items()):
            buckets = list(zip(self._names, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, total)
        return family


class Gauge:
    """A value that is read when somebody asks."""

    def __init__(self, name: str, description: str, *labels: str, is_grouped: bool = False) -> None:
        self.name = name
        self.description = description
        self.labels = labels
        self.is_grouped = is_grouped

    def build_family(self, values: Mapping[Labels, float], group_labels: Labels = ()) -> Metric:
        """Render values, which may be the sums over several processes."""
        family = GaugeMetricFamily(
            self.name, self.description, labels=_label_names(self, group_labels)
        )
        for label_values, value in sorted(values.items()):
            family.add_metric(label_values, value)
        return family


def _label_names(series: Series | Gauge, group_labels: Labels) -> Labels:
    return series.labels + group_labels if series.is_grouped else series.labels


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
