"""The failure table: classify a refusal or fault by stage, scope and next step.

Follows RFC 5321 section 4.2.1 (4yz: try again, 5yz: never try again), and the practice of servers:
some reply about the EHLO name only at RCPT (Postfix's `smtpd_delay_reject`), and a refusal before
MAIL says nothing about the message. The first matching rule decides.
"""

import re
from dataclasses import dataclass
from typing import Final

from app.domain.outcome.outcome import (
    GREYLISTED,
    OUTCOME_UNKNOWN,
    TOKEN_REJECTED,
    Failure,
    FailureScope,
    Fault,
    Outcome,
    Stage,
    Verdict,
)
from app.domain.outcome.replies import UNAVAILABLE, Reply

BEFORE_MAIL: Final = frozenset(
    {Stage.DNS, Stage.TCP, Stage.BANNER, Stage.EHLO, Stage.TLS, Stage.AUTH}
)
BANNER, EHLO, TLS, AUTH, MAIL, RCPT = (
    frozenset({stage})
    for stage in (Stage.BANNER, Stage.EHLO, Stage.TLS, Stage.AUTH, Stage.MAIL, Stage.RCPT)
)
ENVELOPE: Final = MAIL | RCPT
CONTENT: Final = frozenset({Stage.DATA, Stage.DOT})
TRANSACTION: Final = ENVELOPE | CONTENT


@dataclass(frozen=True, slots=True)
class Rule:
    """A row: stages, and patterns of the code, the enhanced code and the text.

    `anonymous` rows apply only to clients that have not logged in.
    """

    stages: frozenset[Stage]
    code: str
    scope: FailureScope
    verdict: Verdict
    classification: str
    enhanced: str = ""
    text: str = ""
    anonymous: bool = False

    def matches(self, stage: Stage, reply: Reply, text: str, *, authenticated: bool) -> bool:
        """Whether the row matches a reply; `text` is its text without quoted names."""
        return (
            stage in self.stages
            and not (self.anonymous and authenticated)
            and re.fullmatch(self.code, str(reply.code)) is not None
            and (
                not self.enhanced
                or re.fullmatch(self.enhanced, reply.enhanced_code or "") is not None
            )
            and (not self.text or re.search(self.text, text, re.IGNORECASE) is not None)
        )


P, M, R = FailureScope.PROFILE, FailureScope.MESSAGE, FailureScope.RECIPIENT
DEFER, BOUNCE, AGAIN = Verdict.DEFER, Verdict.BOUNCE, Verdict.AGAIN

NAME: Final = r"\b(helo|ehlo)\b"
# Postfix: "Client host rejected: …", "Client host [192.0.2.1] blocked using …". Microsoft 365:
# "Access denied, banned sending IP", "messages from [192.0.2.1] weren't sent".
CLIENT: Final = (
    r"\bclient host (\[\S*\] )?(rejected|blocked)\b|\bbanned sending ip\b"
    r"|\bmessages from \[\S+\] weren't sent"
)
NEEDS_TLS: Final = r"\bstarttls\b|\b(encryption|tls|ssl) (is )?(required|needed)"
NEEDS_CERTIFICATE: Final = r"\bclient certificate (presented|not trusted)"
NEEDS_AUTH: Final = r"authentication (is )?required|not logged in|not authenticated"
RELAY: Final = (
    r"relay(ing)? (access )?(denied|not permitted|not allowed|prohibited)|unable to relay"
    r"|rcpthosts"
)
# "Too many recipients from [192.0.2.1]" is Postfix's rate limit: do not repeat at once.
TOO_MANY: Final = r"too many recipients(?! from)"
# RFC 3463: the message exceeds a limit of the mailbox or of the system.
TOO_LARGE: Final = r"5\.(2\.3|3\.4)"
# RFC 5321 section 4.2.3 has "exceeded storage allocation" for 552.
MAILBOX_FULL: Final = r"\b(mailbox|inbox|quota)\b|storage allocation"
# Gmail, for an account's password: 535 5.7.8 or, with two-factor authentication, 534 5.7.9.
NEEDS_APP_LOGIN: Final = (
    r"application-specific password|support\.google\.com/mail/\?p=(bad|weblogin|invalid)"
)
# Microsoft 365, 535 5.7.139: a setting of the mailbox or its organisation.
BASIC_AUTH_DISABLED: Final = (
    r"basic authentication is disabled|smtpclientauthentication is disabled"
)
GREYLISTING: Final = r"gr[ea]y.?list"

REPLY_RULES: Final = (
    # Faults of the profile, at any stage.
    Rule(ENVELOPE, "[45]..", P, DEFER, "ehlo_rejected", text=NAME),
    Rule(ENVELOPE, "[45]..", P, DEFER, "client_rejected", text=CLIENT),
    Rule(ENVELOPE | AUTH, "451|523|530|538", P, DEFER, "tls_required", text=NEEDS_TLS),
    Rule(AUTH, "538", P, DEFER, "tls_required"),  # RFC 4954 section 6
    # At AUTH this is not about the password: TLS or another login is missing.
    Rule(TRANSACTION | AUTH, "530", P, DEFER, "authentication_required"),
    Rule(ENVELOPE, "5..", P, DEFER, "authentication_required", text=NEEDS_AUTH, anonymous=True),
    # Gmail's "Daily user sending limit exceeded", Microsoft 365's "you've reached your daily limit
    # for message recipients", Amazon SES's "Throttling failure": these pass with time.
    Rule(TRANSACTION, "55[04]", P, DEFER, "sending_limit", enhanced=r"5\.4\.5|5\.1\.90"),
    Rule(TRANSACTION, "454", P, DEFER, "sending_limit", text=r"throttling"),
    Rule(RCPT, "454|55[0-4]", P, DEFER, "relay_denied", text=RELAY, anonymous=True),
    # Postfix, to an anonymous client on a submission port. Exchange says 550 5.4.1 "Access denied"
    # about an unknown recipient.
    Rule(
        RCPT,
        "554",
        P,
        DEFER,
        "relay_denied",
        enhanced=r"5\.7\.1",
        text="access denied",
        anonymous=True,
    ),
    # Postfix accepts the handshake, then disconnects (`smtpd_tls_req_ccert`).
    Rule(
        BANNER | EHLO, "4..|5..", P, DEFER, "tls_client_certificate_refused", text=NEEDS_CERTIFICATE
    ),
    # Before MAIL a reply is not about a message.
    Rule(BANNER, "4..", P, DEFER, "service_unavailable"),
    Rule(BANNER, "...", P, DEFER, "banner_rejected"),
    # Gmail to clients that greet as localhost: "421 4.7.0 Try again later, closing connection.
    # (EHLO)".
    Rule(EHLO, "421", P, DEFER, "ehlo_rejected", text=NAME),
    Rule(EHLO, "421", P, DEFER, "service_unavailable"),
    Rule(EHLO, "50[02]", P, DEFER, "ehlo_unknown"),
    # "503 Duplicate EHLO" after STARTTLS is not about the name.
    Rule(EHLO, "503", P, DEFER, "ehlo_out_of_sequence"),
    Rule(EHLO, "...", P, DEFER, "ehlo_rejected"),
    Rule(TLS, "...", P, DEFER, "tls_rejected"),
    Rule(AUTH, "4..", P, DEFER, "auth_deferred"),
    Rule(AUTH, "50[0234]", P, DEFER, "auth_mechanism_unavailable"),
    Rule(AUTH, "53[45]", P, DEFER, "app_password_required", text=NEEDS_APP_LOGIN),
    Rule(AUTH, "535", P, DEFER, "basic_auth_disabled", text=BASIC_AUTH_DISABLED),
    Rule(AUTH, "...", P, DEFER, "auth_rejected"),
    # The envelope.
    Rule(MAIL, "421|454", P, DEFER, "service_unavailable"),
    Rule(MAIL | CONTENT, "5..", M, BOUNCE, "message_too_large", enhanced=TOO_LARGE),
    Rule(MAIL | CONTENT, "5..", M, BOUNCE, "mailbox_full", enhanced=r"5\.2\.2"),
    Rule(MAIL, "552", M, BOUNCE, "mailbox_full", text=MAILBOX_FULL),
    Rule(MAIL, "552", M, BOUNCE, "message_too_large"),
    Rule(MAIL, "4..", M, DEFER, "sender_deferred"),
    Rule(MAIL, "5..", M, BOUNCE, "sender_rejected"),
    Rule(RCPT, "421", M, DEFER, "service_unavailable"),
    Rule(RCPT, "[45]..", R, AGAIN, "too_many_recipients", enhanced=r"[45]\.5\.3"),
    # Formerly 552, now 452: RFC 5321 section 4.5.3.1.10.
    Rule(RCPT, "45[0-2]|552", R, AGAIN, "too_many_recipients", text=TOO_MANY),
    Rule(RCPT, "4..", R, DEFER, "mailbox_full", enhanced=r"4\.2\.2"),
    Rule(RCPT, "452", R, DEFER, "mailbox_full", text=r"mailbox|quota"),
    Rule(RCPT, "452", R, DEFER, "recipient_deferred", enhanced=r"4\..*"),
    Rule(RCPT, "452", R, DEFER, "recipient_deferred", text=r"storage|space|disk|full"),
    Rule(RCPT, "452", R, AGAIN, "too_many_recipients"),  # the usual meaning of a bare 452
    Rule(RCPT, "5..", R, BOUNCE, "message_too_large", enhanced=TOO_LARGE),
    Rule(RCPT, "552", R, BOUNCE, "message_too_large", text=r"message (is )?(too|size)"),
    Rule(RCPT, "552", R, BOUNCE, "mailbox_full"),
    Rule(RCPT, "5..", R, BOUNCE, "mailbox_full", enhanced=r"5\.2\.2"),
    Rule(RCPT, "45[01]", R, DEFER, GREYLISTED, text=GREYLISTING),
    Rule(RCPT, "4..", R, DEFER, "recipient_deferred"),
    Rule(RCPT, "5..", R, BOUNCE, "recipient_rejected"),
    # The message.
    Rule(CONTENT, "421", M, DEFER, "service_unavailable"),
    Rule(CONTENT, "45[01]", M, DEFER, GREYLISTED, text=GREYLISTING),
    Rule(CONTENT, "552", M, BOUNCE, "content_rejected", enhanced=r"5\.[267]\..*"),
    Rule(CONTENT, "552", M, BOUNCE, "mailbox_full", text=MAILBOX_FULL),
    Rule(CONTENT, "552", M, BOUNCE, "message_too_large"),
    Rule(CONTENT, "4..", M, DEFER, "mailbox_full", enhanced=r"4\.2\.2"),
    Rule(CONTENT, "45[02]", M, DEFER, "mailbox_full", text=r"mailbox|quota"),
    Rule(CONTENT, "4..", M, DEFER, "content_deferred"),
    Rule(CONTENT, "5..", M, BOUNCE, "content_rejected"),
)

# Without a reply: before MAIL the profile is at fault, later the message waits, and after the final
# dot the outcome is unknown.
FAULT_CLASSIFICATIONS: Final = {
    (Stage.DNS, Fault.NOT_FOUND): "dns_not_found",
    (Stage.DNS, Fault.LOOKUP_FAILED): "dns_failed",
    (Stage.DNS, Fault.TIMEOUT): "dns_timeout",
    (Stage.DNS, Fault.NOT_ALLOWED): "address_not_allowed",
    (Stage.DNS, Fault.PORT_NOT_ALLOWED): "port_not_allowed",
    (Stage.TCP, Fault.UNREACHABLE): "connect_refused",
    (Stage.TCP, Fault.TIMEOUT): "connect_timeout",
    (Stage.TLS, Fault.CERTIFICATE): "tls_certificate_invalid",
    (Stage.TLS, Fault.NAME_MISMATCH): "tls_name_mismatch",
    (Stage.TLS, Fault.EXPIRED): "tls_certificate_expired",
    (Stage.TLS, Fault.NOT_YET_VALID): "tls_certificate_not_yet_valid",
    (Stage.TLS, Fault.PIN_MISMATCH): "tls_pin_mismatch",
    (Stage.TLS, Fault.CLIENT_CERTIFICATE): "tls_client_certificate_refused",
    (Stage.TLS, Fault.TOO_OLD): "tls_version_too_old",
    (Stage.TLS, Fault.HANDSHAKE): "tls_failed",
    (Stage.BANNER, Fault.TLS_FIRST): "port_mismatch_implicit_tls",
    (Stage.TLS, Fault.PLAIN_TEXT): "port_mismatch_starttls",
    (Stage.TLS, Fault.STRIPPED): "starttls_stripped",
    (Stage.TLS, Fault.NOT_OFFERED): "tls_required_not_offered",
    (Stage.AUTH, Fault.NOT_OFFERED): "auth_mechanism_unavailable",
    (Stage.AUTH, Fault.UNENCRYPTED): "plaintext_auth_refused",
    (Stage.AUTH, Fault.UNPROVEN): "auth_server_unproven",
    (Stage.AUTH, Fault.TOKEN_UNAVAILABLE): "oauth_token_unavailable",
    (Stage.AUTH, Fault.TOKEN_REFUSED): "oauth_token_refused",
}
# A refused login without a password: Gmail mentions a password all the same.
OF_TOKENS: Final = dict.fromkeys(("auth_rejected", "app_password_required"), TOKEN_REJECTED)
GENERIC_FAULTS: Final = {
    Fault.TIMEOUT: "timeout",
    Fault.DISCONNECTED: "connection_lost",
    Fault.MALFORMED: "protocol_error",
    Fault.TOO_LARGE: "message_too_large",
}

_QUOTED: Final = re.compile(r"<[^<>]*>|\S+@\S+")

# Codes for unknown or unsupported commands: 554 and 555 beside RFC 5321 section 4.2.4's.
_OF_COMMAND: Final = frozenset({500, 501, 502, 503, 504, 554, 555})
# RFC 5321 section 4.1.1.11 has 555 and 504 for parameters; many servers use 501, old ones 500.
_OF_PARAMETERS: Final = frozenset({500, 501, 504, 555})
_SURELY_OF_PARAMETERS: Final = frozenset({504, 555})
INVALID_ARGUMENTS: Final = r"[45]\.5\.4"  # RFC 3463 section 3.6
PROTOCOL_STATUS: Final = r"[45]\.5\.\d+"
ABOUT_PARAMETERS: Final = (
    r"parameter|argument|option|syntax|keyword|extension|recogni[sz]ed|supported|implemented"
    r"|\b(size|body|8bitmime|dsn|ret|envid|notify|orcpt)\b"
)


def refuses_command(reply: Reply) -> bool:
    """Whether a reply means that the command is unknown or not supported."""
    return reply.code in _OF_COMMAND


def refuses_parameters(reply: Reply) -> bool:
    """Whether a reply may refuse the command's parameters instead of its purpose.

    Decides by the enhanced code, or without one by code and text.
    """
    text = _strip_quoted(reply)
    if not reply.is_refusal or re.search(NAME, text, re.IGNORECASE):
        return False
    enhanced = reply.enhanced_code
    if enhanced is not None and re.fullmatch(INVALID_ARGUMENTS, enhanced):
        return True
    if reply.code not in _OF_PARAMETERS:
        return False
    if enhanced is not None:
        return re.fullmatch(PROTOCOL_STATUS, enhanced) is not None
    is_sure = reply.code in _SURELY_OF_PARAMETERS
    return is_sure or re.search(ABOUT_PARAMETERS, text, re.IGNORECASE) is not None


def classify(failure: Failure, *, fresh: bool, authenticated: bool) -> Outcome:
    """Classify a failure.

    `fresh`: this was the connection's first transaction. A reused connection that closes at MAIL
    was idle or used for too long, which says nothing about profile or message. `authenticated`:
    AUTH succeeded. To an anonymous client "relay denied" is about the profile, to a known one about
    the recipient.
    """
    if failure.stage is Stage.MAIL and not fresh and _is_closing(failure):
        return _make_outcome(failure, FailureScope.CONNECTION, DEFER, "connection_lost")
    if failure.fault is Fault.CHUNKING:
        return _make_outcome(failure, FailureScope.CONNECTION, DEFER, failure.fault.value)
    if failure.fault is Fault.PARAMETERS:
        scope = R if failure.stage is Stage.RCPT else M
        return _make_outcome(failure, scope, AGAIN, failure.fault.value)
    if failure.reply is not None:
        return _classify_reply(failure, failure.reply, authenticated=authenticated)
    return _classify_fault(failure)


def _is_closing(failure: Failure) -> bool:
    if failure.reply is not None:
        return failure.reply.code == UNAVAILABLE
    return failure.fault is Fault.DISCONNECTED


def _classify_reply(failure: Failure, reply: Reply, *, authenticated: bool) -> Outcome:
    text = _strip_quoted(reply)
    for rule in REPLY_RULES:
        if rule.matches(failure.stage, reply, text, authenticated=authenticated):
            classification = rule.classification
            if failure.fault is Fault.TOKEN_REJECTED:
                classification = OF_TOKENS.get(classification, classification)
            return _make_outcome(failure, rule.scope, rule.verdict, classification)
    return _make_outcome(failure, FailureScope.PROFILE, DEFER, "protocol_error")


def _strip_quoted(reply: Reply) -> str:
    # Replies quote addresses and names that callers choose: `helo@example.org` is no HELO.
    return " ".join(_QUOTED.sub("", reply.text).split())


# The server announced before the transaction that it cannot accept these.
UNFIT: Final = frozenset({Fault.TOO_LARGE, Fault.SMTPUTF8_NOT_OFFERED, Fault.EIGHT_BIT_NOT_OFFERED})


def _classify_fault(failure: Failure) -> Outcome:
    fault = failure.fault or Fault.MALFORMED
    classification = FAULT_CLASSIFICATIONS.get((failure.stage, fault)) or GENERIC_FAULTS.get(
        fault, fault.value
    )
    if failure.stage in BEFORE_MAIL:
        return _make_outcome(failure, FailureScope.PROFILE, DEFER, classification)
    if fault in UNFIT:
        return _make_outcome(failure, FailureScope.MESSAGE, BOUNCE, classification)
    if fault is Fault.PIPELINING:
        return _make_outcome(failure, FailureScope.CONNECTION, DEFER, classification)
    if failure.stage is Stage.DOT:
        return _make_outcome(failure, FailureScope.MESSAGE, DEFER, OUTCOME_UNKNOWN)
    return _make_outcome(failure, FailureScope.MESSAGE, DEFER, classification)


def _make_outcome(
    failure: Failure, scope: FailureScope, verdict: Verdict, classification: str
) -> Outcome:
    return Outcome(
        stage=failure.stage,
        verdict=verdict,
        classification=classification,
        scope=scope,
        reply=failure.reply,
        detail=failure.detail or _describe_contradiction(failure.reply),
    )


def _describe_contradiction(reply: Reply | None) -> str:
    """Describe a reply whose codes disagree: the basic one decides (RFC 5321 section 4.2.1)."""
    if reply is None or reply.enhanced_code is None:
        return ""
    if reply.enhanced_code.startswith(str(reply.code)[0]):
        return ""
    return f"the enhanced code {reply.enhanced_code} contradicts {reply.code}, which decides"
