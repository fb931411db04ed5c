"""What happened on the wire, as values: a failure at a stage, and an outcome once it is judged.

`domain.failure_table` judges.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.replies import Reply

OUTCOME_UNKNOWN: Final = "outcome_unknown"
GREYLISTED: Final = "greylisted"


class Stage(StrEnum):
    """Where in the dialogue something happened, in order."""

    DNS = "dns"
    TCP = "tcp"
    BANNER = "banner"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class Blast(StrEnum):
    """Whom a failure touches (invariant 6)."""

    PROFILE = "profile"
    CONNECTION = "connection"
    MESSAGE = "message"
    RECIPIENT = "recipient"


class Verdict(StrEnum):
    """What becomes of those whom it touches.

    `again` is for the recipients that a server would take, only not in this transaction.
    """

    DELIVERED = "delivered"
    DEFER = "defer"
    BOUNCE = "bounce"
    AGAIN = "again"


class Fault(StrEnum):
    """What went wrong where the server gave no reply."""

    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    CERTIFICATE = "certificate"
    NAME_MISMATCH = "name_mismatch"
    EXPIRED = "expired"
    HANDSHAKE = "handshake"
    PLAIN_TEXT = "plain_text"
    STRIPPED = "stripped"
    NOT_OFFERED = "not_offered"
    UNENCRYPTED = "unencrypted"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    SMTPUTF8_NOT_OFFERED = "smtputf8_not_offered"
    PIPELINING = "pipelining_broken"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Failure:
    """A stage that did not succeed: the server's reply, or the fault where there was none."""

    stage: Stage
    reply: Reply | None = None
    fault: Fault | None = None
    detail: str = ""

    def __str__(self) -> str:
        return str(self.reply) if self.reply is not None else self.detail


@dataclass(frozen=True, slots=True)
class Outcome:
    """A failure or success, judged. `classification` is a stable word for programs."""

    stage: Stage
    verdict: Verdict
    classification: str
    blast: Blast | None = None
    reply: Reply | None = None
    detail: str = ""

    @property
    def outcome_unknown(self) -> bool:
        """Whether the server may have taken the message though nobody heard it say so."""
        return self.classification == OUTCOME_UNKNOWN


def delivered(reply: Reply) -> Outcome:
    """The server took the message: 250 to the final dot."""
    return Outcome(Stage.DOT, Verdict.DELIVERED, "delivered", reply=reply)
