"""Define requests for delivery status notifications (RFC 3461)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self


class DsnNotify(StrEnum):
    """When to send a notification (RFC 3461 section 4.1)."""

    NEVER = "never"
    SUCCESS = "success"
    FAILURE = "failure"
    DELAY = "delay"


class DsnReturn(StrEnum):
    """How much of the message a notification returns (RFC 3461 section 4.3)."""

    HEADERS = "headers"
    FULL = "full"


_RETURNS: Final[Mapping[DsnReturn, str]] = {DsnReturn.HEADERS: "HDRS", DsnReturn.FULL: "FULL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DsnRequest:
    """What is asked of servers that offer DSN; without `notify` they do what they do for anybody.

    `envelope_id` stands in each notification.
    """

    notify: tuple[DsnNotify, ...] = ()
    returns: DsnReturn | None = None
    envelope_id: str

    def mail_parameters(self) -> str:
        """What is said after `MAIL FROM:<…>`, a space before each parameter."""
        returns = f" RET={_RETURNS[self.returns]}" if self.returns is not None else ""
        return f"{returns} ENVID={xtext(self.envelope_id)}"

    def rcpt_parameters(self, address: str) -> str:
        """What is said after `RCPT TO:<…>`, a space before each parameter.

        An address that is not ASCII has another form in ORCPT (RFC 6533), and is left out of it.
        """
        notify = f" NOTIFY={','.join(self.notify).upper()}" if self.notify else ""
        original = f" ORCPT=rfc822;{xtext(address)}" if address.isascii() else ""
        return f"{notify}{original}"

    def as_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "notify": [condition.value for condition in self.notify],
            "returns": None if self.returns is None else self.returns.value,
            "envelope_id": self.envelope_id,
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """What was stored."""
        if stored is None:
            return None
        return cls(
            notify=tuple(map(DsnNotify, stored["notify"])),
            returns=None if stored["returns"] is None else DsnReturn(stored["returns"]),
            envelope_id=stored["envelope_id"],
        )


def xtext(text: str) -> str:
    """ASCII as RFC 3461 section 4 has it: `+`, `=` and what is not printable as `+` and hex."""
    return "".join(
        char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in text
    )


def from_xtext(text: str) -> str:
    """What `xtext` wrote."""
    return re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text)
