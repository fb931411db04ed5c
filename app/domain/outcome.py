"""The failure table: what a refusal or a fault at a stage means, for whom, and what comes next.

It follows RFC 5321 section 4.2.1 (4yz: try again, 5yz: never so again), with what servers really
do: those that delay their verdict on the EHLO name answer for it at RCPT (Postfix's
`smtpd_delay_reject`), and a client that is told to go away before MAIL has learnt nothing about
the message. The first rule that matches decides.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.replies import UNAVAILABLE, Reply

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
    HANDSHAKE = "handshake"
    NOT_OFFERED = "not_offered"
    UNENCRYPTED = "unencrypted"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
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


BEFORE_MAIL: Final = frozenset(
    {Stage.DNS, Stage.TCP, Stage.BANNER, Stage.EHLO, Stage.TLS, Stage.AUTH}
)
ENVELOPE: Final = frozenset({Stage.MAIL, Stage.RCPT})
CONTENT: Final = frozenset({Stage.DATA, Stage.DOT})
ANY: Final = frozenset(Stage)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: the stages, a pattern on the basic code, on the enhanced code and on the text."""

    stages: frozenset[Stage]
    code: str
    blast: Blast
    verdict: Verdict
    classification: str
    enhanced: str = ""
    text: str = ""
    anonymous: bool = False

    def matches(self, stage: Stage, reply: Reply, said: str, *, authenticated: bool) -> bool:
        """Whether this row speaks of the reply; `said` is its text without quoted names."""
        return (
            stage in self.stages
            and not (self.anonymous and authenticated)
            and re.fullmatch(self.code, str(reply.code)) is not None
            and (
                not self.enhanced
                or re.fullmatch(self.enhanced, reply.enhanced_code or "") is not None
            )
            and (not self.text or re.search(self.text, said, re.IGNORECASE) is not None)
        )


def _at(*stages: Stage) -> frozenset[Stage]:
    return frozenset(stages)


P, M, R = Blast.PROFILE, Blast.MESSAGE, Blast.RECIPIENT
DEFER, BOUNCE = Verdict.DEFER, Verdict.BOUNCE

REPLY_RULES: Final = (
    Rule(ENVELOPE, "[45]..", P, DEFER, "ehlo_rejected", text=r"\b(helo|ehlo)\b"),
    Rule(ENVELOPE, "[45]..", P, DEFER, "client_rejected", text=r"\bclient host rejected\b"),
    Rule(ENVELOPE, "530", P, DEFER, "authentication_required"),
    Rule(
        _at(Stage.RCPT),
        "55[04]",
        P,
        DEFER,
        "relay_denied",
        text=r"relay(ing)? (access )?(denied|not permitted|not allowed|prohibited)"
        r"|unable to relay",
        anonymous=True,
    ),
    # Postfix to a stranger on a submission port. Exchange says 550 5.4.1 "Access denied" of a
    # recipient that is not there.
    Rule(
        _at(Stage.RCPT),
        "554",
        P,
        DEFER,
        "relay_denied",
        enhanced=r"5\.7\.1",
        text=r"access denied",
        anonymous=True,
    ),
    Rule(_at(Stage.BANNER), "...", P, DEFER, "banner_rejected"),
    Rule(_at(Stage.EHLO), "421", P, DEFER, "service_unavailable"),
    Rule(_at(Stage.EHLO), "...", P, DEFER, "ehlo_rejected"),
    Rule(_at(Stage.TLS), "...", P, DEFER, "tls_rejected"),
    Rule(_at(Stage.AUTH), "4..", P, DEFER, "auth_deferred"),
    Rule(_at(Stage.AUTH), "...", P, DEFER, "auth_rejected"),
    Rule(_at(Stage.MAIL), "421|454", P, DEFER, "service_unavailable"),
    Rule(_at(Stage.MAIL), "552", M, BOUNCE, "message_too_large"),
    Rule(_at(Stage.MAIL), "4..", M, DEFER, "sender_deferred"),
    Rule(_at(Stage.MAIL), "5..", M, BOUNCE, "sender_rejected"),
    Rule(_at(Stage.RCPT), "421", M, DEFER, "service_unavailable"),
    Rule(_at(Stage.RCPT), "452", R, Verdict.AGAIN, "too_many_recipients", enhanced=r"4\.5\.3"),
    Rule(
        _at(Stage.RCPT),
        "45[0-2]|552",  # 552 of old, now 452: RFC 5321 section 4.5.3.1.10
        R,
        Verdict.AGAIN,
        "too_many_recipients",
        text=r"too many recipients",
    ),
    Rule(_at(Stage.RCPT), "452|552", R, DEFER, "mailbox_full"),
    Rule(_at(Stage.RCPT), "45[01]", R, DEFER, GREYLISTED, text=r"gr[ea]y.?list"),
    Rule(_at(Stage.RCPT), "4..", R, DEFER, "recipient_deferred"),
    Rule(_at(Stage.RCPT), "5..", R, BOUNCE, "recipient_rejected"),
    Rule(CONTENT, "421", M, DEFER, "service_unavailable"),
    Rule(CONTENT, "552", M, BOUNCE, "message_too_large"),
    Rule(CONTENT, "4..", M, DEFER, "content_deferred"),
    Rule(CONTENT, "5..", M, BOUNCE, "content_rejected"),
)

# Without a reply: before MAIL the profile is at fault, after it the message waits, and after the
# final dot nobody knows.
FAULT_CLASSIFICATIONS: Final = {
    (Stage.DNS, Fault.NOT_FOUND): "dns_failed",
    (Stage.DNS, Fault.TIMEOUT): "dns_failed",
    (Stage.DNS, Fault.NOT_ALLOWED): "address_not_allowed",
    (Stage.TCP, Fault.UNREACHABLE): "connect_refused",
    (Stage.TCP, Fault.TIMEOUT): "connect_timeout",
    (Stage.TLS, Fault.CERTIFICATE): "tls_certificate_invalid",
    (Stage.TLS, Fault.HANDSHAKE): "tls_failed",
    (Stage.TLS, Fault.NOT_OFFERED): "tls_required_not_offered",
    (Stage.AUTH, Fault.NOT_OFFERED): "auth_mechanism_unavailable",
    (Stage.AUTH, Fault.UNENCRYPTED): "plaintext_auth_refused",
}
GENERIC_FAULTS: Final = {
    Fault.TIMEOUT: "timeout",
    Fault.DISCONNECTED: "connection_lost",
    Fault.MALFORMED: "protocol_error",
    Fault.TOO_LARGE: "message_too_large",
}

_QUOTED: Final = re.compile(r"<[^<>]*>|\S+@\S+")


def classify(failure: Failure, *, fresh: bool, authenticated: bool) -> Outcome:
    """Judge one failure.

    `fresh` tells that nothing had been delivered through the connection yet: a used one that is
    closed under MAIL was merely idle for too long, and says nothing about profile or message.
    `authenticated` tells whether AUTH had succeeded: to a stranger "relay denied" means the
    profile, to a known user the recipient.
    """
    if failure.stage is Stage.MAIL and not fresh and _says_goodbye(failure):
        return _judged(failure, Blast.CONNECTION, DEFER, "connection_lost")
    if failure.reply is not None:
        return _judge_reply(failure, failure.reply, authenticated=authenticated)
    return _judge_fault(failure)


def _says_goodbye(failure: Failure) -> bool:
    if failure.reply is not None:
        return failure.reply.code == UNAVAILABLE
    return failure.fault is Fault.DISCONNECTED


def _judge_reply(failure: Failure, reply: Reply, *, authenticated: bool) -> Outcome:
    # The server quotes addresses and names of the caller's choosing: `helo@example.org` is no HELO.
    said = _QUOTED.sub("", reply.text)
    for rule in REPLY_RULES:
        if rule.matches(failure.stage, reply, said, authenticated=authenticated):
            return _judged(failure, rule.blast, rule.verdict, rule.classification)
    return _judged(failure, Blast.PROFILE, DEFER, "protocol_error")


def _judge_fault(failure: Failure) -> Outcome:
    fault = failure.fault or Fault.MALFORMED
    word = FAULT_CLASSIFICATIONS.get((failure.stage, fault)) or GENERIC_FAULTS.get(
        fault, fault.value
    )
    if failure.stage in BEFORE_MAIL:
        return _judged(failure, Blast.PROFILE, DEFER, word)
    if fault is Fault.TOO_LARGE:
        return _judged(failure, Blast.MESSAGE, BOUNCE, word)
    if failure.stage is Stage.DOT:
        return _judged(failure, Blast.MESSAGE, DEFER, OUTCOME_UNKNOWN)
    return _judged(failure, Blast.MESSAGE, DEFER, word)


def _judged(failure: Failure, blast: Blast, verdict: Verdict, classification: str) -> Outcome:
    return Outcome(
        stage=failure.stage,
        verdict=verdict,
        classification=classification,
        blast=blast,
        reply=failure.reply,
        detail=failure.detail,
    )


def delivered(reply: Reply) -> Outcome:
    """The server took the message: 250 to the final dot."""
    return Outcome(Stage.DOT, Verdict.DELIVERED, "delivered", reply=reply)
