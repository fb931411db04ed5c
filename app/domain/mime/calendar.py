"""Validate a calendar invitation (RFC 5545, RFC 6047)."""

import re
from dataclasses import dataclass
from typing import Final

METHODS: Final = frozenset(
    {"PUBLISH", "REQUEST", "REPLY", "ADD", "CANCEL", "REFRESH", "COUNTER", "DECLINECOUNTER"}
)
_METHOD: Final = re.compile(r"^METHOD:([A-Za-z]+)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_CALENDAR: Final = re.compile(r"\s*BEGIN:VCALENDAR\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Calendar:
    """iCalendar text with a METHOD; raises ValueError if it is invalid."""

    text: str

    def __post_init__(self) -> None:
        if _CALENDAR.match(self.text) is None:
            raise ValueError("not iCalendar; begin with BEGIN:VCALENDAR (RFC 5545)")
        match = _METHOD.search(self.text)
        if match is None or match[1].upper() not in METHODS:
            raise ValueError(
                "an invitation needs a method: write METHOD:REQUEST after BEGIN:VCALENDAR (RFC"
                " 5546), or attach it as a file"
            )

    @property
    def method(self) -> str:
        """Return the method, such as `REQUEST`."""
        match = _METHOD.search(self.text)
        assert match is not None  # noqa: S101 - or it could not have been made
        return match[1].upper()
