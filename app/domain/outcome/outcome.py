"""Define failures at SMTP stages, and classified outcomes.

`domain.outcome.failure_table` classifies failures.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.replies import Reply

# RFC 3463 sections 3.2 and 3.3: no such mailbox, moved, disabled; RFC 7505: null MX.
NO_SUCH_MAILBOX: Final = frozenset({"5.1.1", "5.1.6", "5.1.10", "5.2.1"})
OUTCOME_UNKNOWN: Final = "outcome_unknown"
GREYLISTED: Final = "greylisted"
TOKEN_REJECTED: Final = "oauth_token_rejected"  # noqa: S105 - a word of classification


class Stage(StrEnum):
    """Stages of an SMTP session, in order."""

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


class FailureScope(StrEnum):
    """What a failure affects."""

    PROFILE = "profile"
    CONNECTION = "connection"
    MESSAGE = "message"
    RECIPIENT = "recipient"


class Verdict(StrEnum):
    """What happens to the affected recipients.

    `again`: the server would accept them, but not in this transaction.
    """

    DELIVERED = "delivered"
    DEFER = "defer"
    BOUNCE = "bounce"
    AGAIN = "again"


class Fault(StrEnum):
    """What failed without a server's reply.

    `TOKEN_UNAVAILABLE` and `TOKEN_REFUSED` are a token server's. Three faults may accompany a
    reply: the mail server refuses the token (`TOKEN_REJECTED`), BDAT (`CHUNKING`), or only a
    command's parameters (`PARAMETERS`).
    """

    NOT_FOUND = "not_found"
    LOOKUP_FAILED = "lookup_failed"
    NOT_ALLOWED = "not_allowed"
    PORT_NOT_ALLOWED = "port_not_allowed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    CERTIFICATE = "certificate"
    NAME_MISMATCH = "name_mismatch"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    PIN_MISMATCH = "pin_mismatch"
    CLIENT_CERTIFICATE = "client_certificate"
    TOO_OLD = "too_old"
    HANDSHAKE = "handshake"
    PLAIN_TEXT = "plain_text"
    TLS_FIRST = "tls_first"
    STRIPPED = "stripped"
    NOT_OFFERED = "not_offered"
    UNENCRYPTED = "unencrypted"
    UNPROVEN = "unproven"
    TOKEN_UNAVAILABLE = "token_unavailable"  # noqa: S105 - a word
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a word
    TOKEN_REJECTED = "token_rejected"  # noqa: S105 - a word
    UNREADABLE = "credentials_unreadable"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    SMTPUTF8_NOT_OFFERED = "smtputf8_not_offered"
    EIGHT_BIT_NOT_OFFERED = "8bitmime_not_offered"
    PIPELINING = "pipelining_broken"
    CHUNKING = "chunking_broken"
    PARAMETERS = "parameters_refused"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed stage: the server's reply, or the fault if there was none."""

    stage: Stage
    reply: Reply | None = None
    fault: Fault | None = None
    detail: str = ""

    def __str__(self) -> str:
        return str(self.reply) if self.reply is not None else self.detail


@frozen_dataclass
class Outcome:
    """A classified failure or success; `classification` is stable, for programs."""

    stage: Stage
    verdict: Verdict
    classification: str
    scope: FailureScope | None = None
    reply: Reply | None = None
    detail: str = ""

    @property
    def is_hard_bounce(self) -> bool:
        """Whether the server says that the recipient does not exist, permanently."""
        return (
            self.verdict is Verdict.BOUNCE
            and self.stage is Stage.RCPT
            and self.reply is not None
            and self.reply.enhanced_code in NO_SUCH_MAILBOX
        )

    @property
    def outcome_unknown(self) -> bool:
        """Whether the server may have accepted the message without an answer."""
        return self.classification == OUTCOME_UNKNOWN


def build_delivered(reply: Reply) -> Outcome:
    """Build the outcome of a success: 250 to the final dot."""
    return Outcome(Stage.DOT, Verdict.DELIVERED, "delivered", reply=reply)
