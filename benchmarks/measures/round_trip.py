"""How fast SMTP clients send over ten connections when the server is a round trip away."""

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.contestants import nodemailer
from benchmarks.delay import measured_round_trip_ms, round_trip_to
from benchmarks.measures.smtp_engine import CONNECTIONS, content, contestant
from benchmarks.rounds import Entrants, Measure
from benchmarks.setting import FULL, Setting
from benchmarks.smtp import AIOSMTPLIB, CLIENTS, HELOISE, LIMIT
from benchmarks.trial.sink import running_sink


def _enter(milliseconds: int, setting: Setting, stack: ExitStack) -> Entrants:
    messages = dict(setting.size.round_trips).get(milliseconds, 0)
    if not messages:
        return
    port, _ = stack.enter_context(running_sink())
    far_port = stack.enter_context(round_trip_to(port, milliseconds=milliseconds))
    measured = measured_round_trip_ms(far_port)
    for name in (HELOISE, AIOSMTPLIB, LIMIT):
        yield contestant(
            name, CLIENTS[name], port=far_port, messages=messages, round_trip_ms=measured
        )
    yield nodemailer.enter_nodemailer(
        setting, port=far_port, messages=messages, content=content(), round_trip_ms=measured
    )


def name_of(milliseconds: int) -> str:
    """The name of the measure with this round trip."""
    return f"round_trip_{milliseconds}_ms"


MEASURES: Final = tuple(
    Measure(
        name=name_of(milliseconds),
        title=f"SMTP alone, {CONNECTIONS} connections, round trip {milliseconds} ms",
        enter=partial(_enter, milliseconds),
        is_short=True,
    )
    for milliseconds, _ in FULL.round_trips
)
