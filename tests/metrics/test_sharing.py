"""The counts of several processes in the files of one folder."""

from pathlib import Path

from app.metrics.sharing import SharedCounts

COUNTS = {"fruit_total": [(["apple"], [3.0])]}
GAUGES = {"basket": [([], [1.0])]}


def test_everybody_reads_the_counts_of_all(tmp_path: Path) -> None:
    """So the answer is the same, whichever process answers."""
    first, second = SharedCounts(tmp_path), SharedCounts(tmp_path)
    first.store(COUNTS, GAUGES)
    second.store(COUNTS, GAUGES)
    assert [*first.load_counts()] == [*second.load_counts()]
    assert len([*first.load_counts()]) == len([*first.load_gauges()]) == 2


def test_counts_outlive_their_process_and_gauges_do_not(tmp_path: Path) -> None:
    """A counter may not fall, and the connections of a dead process are closed."""
    first, second = SharedCounts(tmp_path), SharedCounts(tmp_path)
    first.store(COUNTS, GAUGES)
    second.store({}, {})
    first.close()
    assert [numbers for numbers in second.load_counts() if numbers] == [
        {"fruit_total": [[["apple"], [3.0]]]}
    ]
    assert [numbers for numbers in second.load_gauges() if numbers] == []


def test_a_new_process_continues_the_counts_of_one_that_ended(tmp_path: Path) -> None:
    """However often processes are replaced, there are no more files than processes."""
    former = SharedCounts(tmp_path)
    former.store(COUNTS, GAUGES)
    former.close()
    successor = SharedCounts(tmp_path)
    assert successor.load_own() == {"fruit_total": [[["apple"], [3.0]]]}
    assert [path.name for path in tmp_path.glob("*.json")] == ["0.json"]
