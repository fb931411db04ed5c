"""The dialogue of a connection as it may be shown: bounded, and without what is secret.

It is redacted as it is written down, so that no secret waits in it to be forgotten (invariant 9).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from app.domain.clock import monotonic_seconds
from app.domain.outcome import Failure, Stage
from app.domain.replies import Reply, printable
from app.smtp.redaction import REDACTED, redacted

MAX_LINES: Final = 200
MAX_LINE_CHARACTERS: Final = 300
CHALLENGE: Final = 334  # RFC 4954 section 4
AUTH_WORDS: Final = 2

Speaker = Literal["client", "server", "note"]


class Line(NamedTuple):
    """What was said, by whom, at which stage, so many milliseconds after the connection began.

    `note` is what nobody said: that TLS began, that the connection ended.
    """

    ms: float
    stage: Stage
    by: Speaker
    text: str


def written(lines: Sequence[Line]) -> str:
    """Lines as one text, to be kept."""
    return "\n".join(f"{ms:.3f} {stage} {by} {text}" for ms, stage, by, text in lines)


class Transcript:
    """Grows line by line; of a long one the middle is left out. `stage` is the one under way."""

    def __init__(self, secret_forms: Sequence[str] = ()) -> None:
        self.stage = Stage.DNS
        self._secret_forms = secret_forms
        self._began = monotonic_seconds()
        self._lines: list[Line] = []
        self._left_out = 0

    @property
    def lines(self) -> list[Line]:
        """All that is kept, in order of time, with a note where something is left out."""
        found = sorted(self._lines, key=lambda line: line.ms)
        if self._left_out:
            before = found[MAX_LINES // 2 - 1]
            note = Line(before.ms, before.stage, "note", f"{self._left_out} lines are left out")
            found.insert(MAX_LINES // 2, note)
        return found

    @property
    def seconds(self) -> float:
        """How long ago the connection began."""
        return monotonic_seconds() - self._began

    def keep_secret(self, forms: Sequence[str]) -> None:
        """Leave these out of all that is said from now on, whoever says it."""
        self._secret_forms = forms

    def restart(self, note: str, at: float | None = None) -> None:
        """Forget what was said before the next transaction, but for a note."""
        self._lines, self._left_out = [], 0
        self.stage = Stage.MAIL
        self.note(note, at)

    def note(self, text: str, at: float | None = None) -> None:
        """What happened without a word."""
        self._add("note", text, at or monotonic_seconds())

    def client(self, said: bytes, at: float | None = None) -> None:
        """A command; of AUTH and what follows it no more than the mechanism."""
        text = said.decode("utf-8", "replace").rstrip("\r\n")
        if self.stage is Stage.AUTH:
            words = text.split(" ")
            is_command = words[0] == "AUTH"
            known = words[:AUTH_WORDS] if is_command else []
            secret = [REDACTED] if len(words) > len(known) else []
            text = " ".join([*known, *secret])
        self._add("client", text, at or monotonic_seconds())

    def server(self, reply: Reply, at: float | None = None) -> None:
        """A reply, a line for each of its own; a challenge of SASL is not told."""
        when = at or monotonic_seconds()
        if self.stage is Stage.AUTH and reply.code == CHALLENGE:
            self._add("server", f"{CHALLENGE} {REDACTED}" if reply.text else str(CHALLENGE), when)
            return
        enhanced = f"{reply.enhanced_code} " if reply.enhanced_code else ""
        *before, last = reply.text.split("\n")
        for text in before:
            self._add("server", f"{reply.code}-{enhanced}{text}", when)
        self._add("server", f"{reply.code} {enhanced}{last}", when)

    def cleaned(self, failure: Failure) -> Failure:
        """The failure as it may be shown: a server can say back whatever it was told."""
        reply = failure.reply
        if reply is not None:
            reply = replace(reply, text=self.shown(reply.text))
        return replace(failure, reply=reply, detail=self.shown(failure.detail))

    def shown(self, text: str) -> str:
        """The text as it may be shown: printable, and without what is secret."""
        return printable(redacted(text, self._secret_forms) if self._secret_forms else text)

    def _add(self, by: Speaker, text: str, at: float) -> None:
        shown = self.shown(text)[:MAX_LINE_CHARACTERS].replace("\n", " ")
        ms = round((at - self._began) * 1000, 3)
        self._lines.append(Line(ms, self.stage, by, shown))
        if len(self._lines) > MAX_LINES:
            del self._lines[MAX_LINES // 2]
            self._left_out += 1
