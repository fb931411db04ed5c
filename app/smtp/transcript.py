"""Keep a connection's dialogue: limited in size, without secrets.

Recording stores only a reference and a time, which costs nothing. The text is built on demand; then
secrets in server lines are redacted. The client's own secrets are never recorded (invariant 9).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from typing import Final

from app.domain.clock import monotonic_seconds
from app.domain.outcome.dialogue_lines import Line, Speaker, parse_dialogue
from app.domain.outcome.outcome import Failure, Stage
from app.domain.outcome.replies import Reply, make_printable
from app.smtp.redaction import REDACTED, redact

MAX_LINES: Final = 200
MAX_LINE_CHARACTERS: Final = 300
CHALLENGE: Final = 334  # RFC 4954 section 4
AUTH_WORDS: Final = 2

Content = str | bytes | Reply | Callable[[], str]
Entry = tuple[float, Stage, Speaker, Content]


class Transcript:
    """Records a dialogue at `stage`; omits the middle of a long one."""

    def __init__(self, secret_forms: Sequence[str] = ()) -> None:
        self.stage = Stage.DNS
        self._secret_forms = secret_forms
        self._began = monotonic_seconds()
        self._entries: list[Entry] = []
        self._entry_sources: list[Callable[[], Iterable[Entry]]] = []
        self._left_out = 0

    @property
    def text(self) -> str:
        """The transcript in order of time; a line is `12.3 ehlo client EHLO example.com`."""
        entries = sorted(
            chain(self._entries, *(tell() for tell in self._entry_sources)), key=itemgetter(0)
        )
        lines = [
            f"{(at - self._began) * 1000:.3f} {stage} {speaker} {line[:MAX_LINE_CHARACTERS]}"
            for at, stage, speaker, content in entries
            for line in _render_lines(stage, content)
        ]
        left_out = self._left_out + len(lines) - MAX_LINES
        if left_out > 0:
            half = MAX_LINES // 2
            ms, stage_word, _ = lines[half - 1].split(" ", 2)
            lines[half:-half] = [f"{ms} {stage_word} note {left_out} lines omitted"]
        return redact("\n".join(lines), self._secret_forms)

    @property
    def lines(self) -> list[Line]:
        """The transcript, parsed."""
        return parse_dialogue(self.text)

    @property
    def seconds(self) -> float:
        """Seconds since the connection began."""
        return monotonic_seconds() - self._began

    def keep_secret(self, forms: Sequence[str]) -> None:
        """Redact these secrets in both directions."""
        self._secret_forms = forms

    def restart(self, note: Callable[[], str], at: float | None = None) -> None:
        """Drop the earlier dialogue before the next transaction, except for a note."""
        self._entries, self._entry_sources, self._left_out = [], [], 0
        self.stage = Stage.MAIL
        self._add("note", note, at)

    def add_deferred(self, tell: Callable[[], Iterable[Entry]]) -> None:
        """Add a source of entries, read on demand."""
        self._entry_sources.append(tell)

    def add_note(self, text: str, at: float | None = None) -> None:
        """Add an event without SMTP text."""
        self._add("note", text, at)

    def add_command(self, command: bytes) -> None:
        """Add a command; of AUTH, only the mechanism."""
        self._add("client", _redact_auth(command) if self.stage is Stage.AUTH else command)

    def add_reply(self, reply: Reply, at: float | None = None) -> None:
        """Add a reply; hides SASL challenges."""
        self._add("server", reply, at)

    def _add(self, speaker: Speaker, content: Content, at: float | None = None) -> None:
        self._entries.append((at or monotonic_seconds(), self.stage, speaker, content))
        if len(self._entries) > MAX_LINES:
            del self._entries[MAX_LINES // 2]
            self._left_out += 1

    def redact_failure(self, failure: Failure) -> Failure:
        """Redact a failure: a server can echo secrets."""
        reply = failure.reply
        if reply is not None:
            reply = replace(reply, text=self.redact(reply.text))
        return replace(failure, reply=reply, detail=self.redact(failure.detail))

    def redact(self, text: str) -> str:
        """Make text printable, and remove secrets."""
        return make_printable(redact(text, self._secret_forms))


def _redact_auth(command: bytes) -> str:
    words = command.decode("utf-8", "replace").rstrip("\r\n").split(" ")
    shown_words = words[:AUTH_WORDS] if words[0] == "AUTH" else []
    return " ".join([*shown_words, REDACTED] if len(words) > len(shown_words) else shown_words)


def _render_lines(stage: Stage, content: Content) -> Sequence[str]:
    if isinstance(content, bytes):
        # A chunk may follow a command.
        return (content.partition(b"\r\n")[0].decode("utf-8", "replace"),)
    if isinstance(content, Reply):
        return _render_reply(stage, content)
    return (make_printable(content() if callable(content) else content).replace("\n", " "),)


def _render_reply(stage: Stage, reply: Reply) -> Sequence[str]:
    if stage is Stage.AUTH and reply.code == CHALLENGE:
        return (f"{CHALLENGE} {REDACTED}" if reply.text else str(CHALLENGE),)
    enhanced = f"{reply.enhanced_code} " if reply.enhanced_code else ""
    *before, last = reply.text.split("\n")
    lines = [f"{reply.code}-{enhanced}{text}" for text in before]
    lines.append(f"{reply.code} {enhanced}{last}")
    return lines
