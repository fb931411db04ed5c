"""Counters and histograms in plain numbers, as Prometheus reads them."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.metrics.grouping import Grouping
from app.metrics.series import Counter, Families, Histogram, add_rows


def read(*series: Counter | Histogram) -> dict[str, float]:
    """The samples that Prometheus' own parser finds, by name and labels."""
    families = [one.build_family(one.rows, ()) for one in series]
    text = generate_latest(Families(families)).decode()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_counter_counts_by_labels() -> None:
    """Each label set for itself."""
    counter = Counter("fruit_total", "Fruit.", "kind")
    counter.add(("apple",))
    counter.add(("apple",), 2)
    counter.add(("pear",))
    assert read(counter) == {
        "fruit_total[('kind', 'apple')]": 3,
        "fruit_total[('kind', 'pear')]": 1,
    }


def test_a_counter_without_labels_is_there_from_the_start() -> None:
    """So that its rate is known from the first event on."""
    assert read(Counter("fruit_total", "Fruit.")) == {"fruit_total[]": 0}


def test_a_histogram_counts_up_to_each_bound() -> None:
    """A value that equals a bound is within it, and buckets are cumulative."""
    histogram = Histogram("wait_seconds", "Wait.", bounds=(1, 5))
    for value in (0.5, 1, 3):
        histogram.observe(value)
    histogram.observe(9, count=2)
    assert read(histogram) == {
        "wait_seconds_bucket[('le', '1.0')]": 2,
        "wait_seconds_bucket[('le', '5.0')]": 3,
        "wait_seconds_bucket[('le', '+Inf')]": 5,
        "wait_seconds_count[]": 5,
        "wait_seconds_sum[]": 22.5,
    }


def test_rows_of_several_processes_add_up() -> None:
    """By label set."""
    total = {("apple",): [1.0]}
    add_rows(total, {("apple",): [2.0], ("pear",): [5.0]})
    assert total == {("apple",): [3.0], ("pear",): [5.0]}


def test_without_a_wish_nobody_is_named() -> None:
    """The default: no label names a tenant or a profile."""
    assert Grouping().find("ten_1", "prf_1") == ()


def test_a_profile_is_named_with_its_tenant() -> None:
    """Because another tenant's profile may have the same name."""
    grouping = Grouping(["profile"])
    assert grouping.labels == ("tenant", "profile")
    rows = {("sent", *grouping.find("ten_1", "prf_1")): [2.0]}
    assert grouping.rename(rows, {"ten_1": "acme", "prf_1": "main"}) == {
        ("sent", "acme", "main"): [2.0]
    }


def test_the_number_of_names_is_bounded() -> None:
    """All that come after the limit count as `other`; the first keep their names."""
    grouping = Grouping(["tenant"], limit=2)
    labels = [grouping.find(f"ten_{number}", "prf_1") for number in (1, 2, 3, 4, 1)]
    assert labels == [("ten_1",), ("ten_2",), ("other",), ("other",), ("ten_1",)]
