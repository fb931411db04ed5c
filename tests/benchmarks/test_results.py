"""What the benchmarks do with what they have measured."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

import benchmarks.__main__ as benchmark
from benchmarks import measures, profile_accept, targets
from benchmarks.chart import chart
from benchmarks.compare import compare_results
from benchmarks.heloise import SQLITE
from benchmarks.machine import WARNING, Noise, describe_noise, watch_noise
from benchmarks.markdown import BEGIN, END, PAGE, page, write_between_marks
from benchmarks.measures import accept
from benchmarks.results import Results, Row, read
from benchmarks.rounds import Contestant, Measure, Reading, measure_rows
from benchmarks.setting import QUICK, Setting

MACHINE = {"commit": "abc"}


def results(**per_second: list[float]) -> Results:
    """A run in which these were accepted a second, by the name of the contestant."""
    names = {"heloise": SQLITE, "floor": accept.FLOOR}
    rows = [
        Row(accept.NAME, names[name], "/s", values, {"p50_ms": 2.0, "p99_ms": 12.0})
        for name, values in per_second.items()
    ]
    return Results(MACHINE, {"accept, somebody": "not installed"}, rows)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """As it was."""
    run = results(heloise=[450.0, 500.0], floor=[1000.0])
    run.write(tmp_path / "folder" / "run.json")
    assert read(tmp_path / "folder" / "run.json") == run


@pytest.mark.parametrize(("heloise", "is_met"), [(460.0, True), (440.0, False)])
def test_a_target_is_a_ratio_of_medians(heloise: float, *, is_met: bool) -> None:
    """Those of which both sides were measured are judged, and no others."""
    run = results(heloise=[1.0, heloise, 900.0], floor=[1.0, 1000.0, 2000.0])
    verdicts = {judgement.target.sentence: judgement for judgement in targets.judge_results(run)}
    floor = verdicts["Heloise, SQLite: accept, over the floor without a database"]
    tail = verdicts["Heloise, SQLite: accept's p99 over its p50"]
    assert (len(verdicts), floor.is_met, floor.value) == (2, is_met, heloise / 1000)
    assert (tail.is_met, tail.value) == (False, 6.0)


QUIET: Final = Noise(busy_share=0.01, stolen_share=0.0, fsyncs_per_second=4000.0)


@pytest.mark.parametrize(
    ("noise", "reason"),
    [
        (QUIET, None),
        (replace(QUIET, busy_share=0.5), "other programs used 50% of the processors"),
        (replace(QUIET, stolen_share=0.2), "other machines on the same host took 20%"),
        (replace(QUIET, fsyncs_per_second=500.0), "500 to 4000 fsyncs a second"),
    ],
)
def test_a_machine_that_was_not_quiet_is_told_of_first(noise: Noise, reason: str | None) -> None:
    """Before the run or after it; the figures then depend on the hour."""
    warning = describe_noise(QUIET, noise)
    assert warning == describe_noise(noise, QUIET)
    if reason is None:
        assert warning is None
        return
    assert warning is not None
    assert reason in warning
    run = results(heloise=[450.0])
    text = page(replace(run, machine={**MACHINE, WARNING: warning}))
    assert text.splitlines()[0] == f"**The machine was not quiet**: {warning}. Trust only ratios."


def test_a_watched_machine_has_shares_of_a_whole(tmp_path: Path) -> None:
    """Whatever runs beside the test."""
    noise = watch_noise(tmp_path)
    assert 0 <= noise.busy_share + noise.stolen_share <= 1
    assert noise.fsyncs_per_second > 0


def test_processor_time_is_told_for_each_message_and_compared(tmp_path: Path) -> None:
    """A row of its own, of which less is better."""
    measure = Measure(
        name="accept",
        title="Accept",
        enter=lambda _, __: iter([Contestant("somebody", lambda: Reading(5.0))]),
        messages=lambda size: size.accepted,
    )
    setting = Setting(folder=tmp_path, size=QUICK, new_postgresql=None)
    rate, cpu = measure_rows(measure, setting)
    assert isinstance(rate, Row)
    assert isinstance(cpu, Row)
    assert rate.details == {"cpu_us": cpu.median}
    assert (cpu.measure, len(cpu.values)) == ("accept, processor time", QUICK.rounds)
    before, after = (
        Results(MACHINE, {}, [replace(cpu, values=values)]) for values in ([90.0], [60.0])
    )
    assert "-33% | better" in "\n".join(compare_results(before, after))


def test_every_target_names_what_is_measured() -> None:
    """Else it would never be judged."""
    names = {measure.name for measure in measures.ALL}
    figures = [target.figure for target in targets.TARGETS]
    figures += [target.over for target in targets.TARGETS if target.over is not None]
    assert {figure.measure for figure in figures} <= names
    assert len(names) == len(measures.ALL)


def test_the_page_has_ratios_targets_and_who_is_missing() -> None:
    """Ratios are those to the first contestant."""
    text = page(results(floor=[1000.0], heloise=[440.0]))
    assert "| 0.44 times | ≥ 0.45 times | **not met** |" in text
    assert "| Heloise, SQLite | 440 | 0.44 | 440-440 |" in text
    assert "- accept, somebody: not installed" in text


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    """Those of the command that writes; a page without them is left alone."""
    path = tmp_path / "page.md"
    begin, end = BEGIN.format("make a"), END.format("make a")
    path.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    write_between_marks(path, "new\n", by="make a")
    assert path.read_text() == f"before\n{begin}\nnew\n{end}\nafter\n"
    with pytest.raises(ValueError, match="no marks"):
        write_between_marks(path, "newer\n", by="make b")
    assert "newer" not in path.read_text()


def test_a_chart_is_svg_with_a_bar_for_each() -> None:
    """The longest bar is that of the fastest."""
    root = ET.fromstring(chart("Accept <all>", results(heloise=[500.0], floor=[1000.0]).rows))  # noqa: S314 - our own
    widths = [
        float(element.attrib["width"]) for element in root.iter() if element.tag.endswith("rect")
    ]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.1)
    assert root.attrib["aria-label"] == "Accept <all>"


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([120.0, 130.0], "| +25% | better |"),
        ([70.0, 80.0], "| -25% | **worse** |"),
        ([95.0, 125.0], "| +10% | within the noise |"),
    ],
)
def test_a_change_counts_where_the_rounds_do_not_overlap(after: list[float], verdict: str) -> None:
    """More a second is better."""
    lines = list(compare_results(results(heloise=[90.0, 110.0]), results(heloise=after)))
    assert lines[-1].endswith(verdict)


def test_of_memory_and_time_less_is_better() -> None:
    """As of all that is not counted a second."""
    before = Results(MACHINE, {}, [Row("latency", SQLITE, "ms", [10.0], {})])
    after = Results(MACHINE, {}, [Row("latency", SQLITE, "ms", [5.0], {})])
    assert list(compare_results(before, after))[-1].endswith("| -50% | better |")


def test_the_page_of_the_project_can_be_written_anew() -> None:
    """It has the marks of both commands, and the measures that it tells to ask for are some."""
    for command in (benchmark.COMMAND, profile_accept.COMMAND):
        assert PAGE.read_text().count(BEGIN.format(command)) == 1
        assert PAGE.read_text().count(END.format(command)) == 1
    named = set(re.findall(r"--only (\w+)", PAGE.read_text()))
    assert named
    assert named <= {measure.name for measure in measures.ALL}


def test_every_chart_of_the_page_is_drawn() -> None:
    """`make bench` draws those that the page shows, and no others."""
    shown = re.findall(r"\(performance/(\w+)\.svg\)", PAGE.read_text())
    assert tuple(shown) == benchmark.DRAWN
    assert set(shown) <= {measure.name for measure in measures.ALL}
