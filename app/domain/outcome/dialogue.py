"""Define the lines of an SMTP dialogue."""

from typing import Literal, NamedTuple, cast

from app.domain.outcome.outcome import Stage

Speaker = Literal["client", "server", "note"]


class Line(NamedTuple):
    """What was said, by whom, at which stage, so many milliseconds after the connection began.

    `note` is what nobody said: that TLS began, that the connection ended.
    """

    ms: float
    stage: Stage
    by: Speaker
    text: str

    @classmethod
    def parse(cls, written: str) -> "Line":
        """From a line as `smtp.transcript` writes it."""
        ms, stage, speaker, text = written.split(" ", 3)
        return cls(float(ms), Stage(stage), cast("Speaker", speaker), text)


def parse_dialogue(text: str) -> list[Line]:
    """From a whole transcript; empty for an empty one."""
    return [Line.parse(line) for line in text.split("\n")] if text else []
