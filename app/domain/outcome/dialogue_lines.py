"""Define the lines of an SMTP dialogue."""

from typing import Literal, NamedTuple, cast

from app.domain.outcome.outcome import Stage

Speaker = Literal["client", "server", "note"]


class Line(NamedTuple):
    """A line of the dialogue; `ms` counts from the start of the connection.

    `note` is an event without text: TLS began, the connection ended.
    """

    ms: float
    stage: Stage
    by: Speaker
    text: str

    @classmethod
    def parse(cls, written: str) -> "Line":
        """Parse a line as `smtp.transcript` writes it."""
        ms, stage, speaker, text = written.split(" ", 3)
        return cls(float(ms), Stage(stage), cast("Speaker", speaker), text)


def parse_dialogue(text: str) -> list[Line]:
    """Parse a transcript; return no lines for an empty one."""
    return [Line.parse(line) for line in text.split("\n")] if text else []
