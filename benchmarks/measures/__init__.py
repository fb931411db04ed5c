"""What is measured: a module each, which enters its contestants. `ALL` is the programme."""

from typing import Final

from benchmarks.measures import (
    accept,
    drain,
    end_to_end,
    history,
    idle,
    large,
    latency,
    many_profiles,
    memory,
    round_trip,
    smtp_engine,
    submission,
)
from benchmarks.rounds import Measure

ALL: Final[tuple[Measure, ...]] = (
    accept.MEASURE,
    submission.MEASURE,
    smtp_engine.TO_SINK,
    smtp_engine.TO_PLAIN_SINK,
    smtp_engine.TO_CHUNKING_SINK,
    smtp_engine.TO_SMTP_SINK,
    *round_trip.MEASURES,
    end_to_end.MEASURE,
    drain.DRAIN,
    drain.DRAIN_BACKLOG,
    latency.MEASURE,
    idle.MEASURE,
    history.MEASURE,
    many_profiles.MEASURE,
    memory.MEASURE,
    large.MEASURE,
    submission.LARGE_MEASURE,
)
