"""Define SMTP replies (RFC 5321 section 4.2) with enhanced codes (RFC 3463)."""

import re
from typing import Final

from app.domain.frozen_dataclass import frozen_dataclass

SERVICE_READY: Final = 220
COMPLETED: Final = 250
UNAVAILABLE: Final = 421
COMMAND_UNRECOGNIZED: Final = 500
COMMAND_NOT_IMPLEMENTED: Final = 502

MAX_TEXT_CHARACTERS: Final = 2000

_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|$)")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@frozen_dataclass
class Reply:
    """A server's reply: code, enhanced code if any, and text.

    `text` holds the lines of the reply without codes, printable and bounded.
    """

    code: int
    text: str
    enhanced_code: str | None = None

    @classmethod
    def parse(cls, code: int, message: str) -> "Reply":
        """Build a reply from its code and its lines, joined by line feeds."""
        lines = make_printable(message[:MAX_TEXT_CHARACTERS]).split("\n")
        match = _ENHANCED.match(lines[0])
        if match is None:
            return cls(code, "\n".join(lines))
        return cls(code, "\n".join(map(_strip_enhanced_code, lines)), match[1])

    @property
    def is_positive(self) -> bool:
        """2yz: only the first digit counts."""
        return 200 <= self.code < 300  # noqa: PLR2004 - RFC 5321 section 4.2.1

    @property
    def is_intermediate(self) -> bool:
        """3yz: the server waits for more, as after DATA."""
        return 300 <= self.code < 400  # noqa: PLR2004 - RFC 5321 section 4.2.1

    @property
    def is_refusal(self) -> bool:
        """4yz or 5yz."""
        return 400 <= self.code < 600  # noqa: PLR2004 - RFC 5321 section 4.2.1

    @property
    def is_permanent(self) -> bool:
        """5yz: the basic code counts, not the enhanced code."""
        return 500 <= self.code < 600  # noqa: PLR2004 - RFC 5321 section 4.2.1

    def __str__(self) -> str:
        head = f"{self.code} {self.enhanced_code}" if self.enhanced_code else str(self.code)
        return f"{head} {self.text}".replace("\n", " ").strip()


def make_printable(text: str) -> str:
    """Escape control characters, except line feeds; a tab becomes a space."""
    if text.isprintable():
        return text
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\t", " "))


def _strip_enhanced_code(line: str) -> str:
    match = _ENHANCED.match(line)
    return line if match is None else line[match.end() :]
