"""Define requests for delivery status notifications (RFC 3461)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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


RETURN_KEYWORDS: Final[Mapping[DsnReturn, str]] = {
    DsnReturn.HEADERS: "HDRS",
    DsnReturn.FULL: "FULL",
}


@dataclass(frozen=True, slots=True)
class RecipientDsn:
    """The parameters of one recipient; `original` is ORCPT's `type;address`, decoded."""

    notify: tuple[DsnNotify, ...] = ()
    original: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DsnRequest:
    """The parameters for servers that offer DSN; without `notify` the servers decide.

    Each notification contains `envelope_id`. `recipients` holds, by address, what differs for a
    recipient.
    """

    notify: tuple[DsnNotify, ...] = ()
    returns: DsnReturn | None = None
    envelope_id: str
    recipients: Mapping[str, RecipientDsn] = field(default_factory=dict)

    def mail_parameters(self) -> str:
        """Return the parameters of MAIL FROM, each after a space."""
        returns = f" RET={RETURN_KEYWORDS[self.returns]}" if self.returns is not None else ""
        return f"{returns} ENVID={encode_xtext(self.envelope_id)}"

    def rcpt_parameters(self, address: str) -> str:
        """Return the parameters of RCPT TO, each after a space.

        Omits ORCPT for addresses that are not ASCII, which need another form (RFC 6533).
        """
        own = self.recipients.get(address, RecipientDsn(self.notify))
        notify = f" NOTIFY={','.join(own.notify).upper()}" if own.notify else ""
        kind, _, original = (own.original or f"rfc822;{address}").partition(";")
        return f"{notify} ORCPT={kind};{encode_xtext(original)}" if original.isascii() else notify

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """Build a request from its stored form, the JSON of its fields."""
        if stored is None:
            return None
        return cls(
            notify=tuple(map(DsnNotify, stored["notify"])),
            returns=None if stored["returns"] is None else DsnReturn(stored["returns"]),
            envelope_id=stored["envelope_id"],
            recipients={
                address: RecipientDsn(tuple(map(DsnNotify, dsn["notify"])), dsn["original"])
                for address, dsn in stored.get("recipients", {}).items()
            },
        )


def encode_xtext(text: str) -> str:
    """Encode ASCII as xtext (RFC 3461 section 4): `+`, `=` and unprintables in hex."""
    return "".join(
        char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in text
    )


def decode_xtext(text: str) -> str:
    """Decode xtext."""
    return re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text)
