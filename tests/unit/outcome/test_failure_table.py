"""The failure table, row by row: what each reply and each fault means, and for whom."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from app.domain.outcome.failure_table import (
    REPLY_RULES,
    classify,
    refuses_command,
    refuses_parameters,
)
from app.domain.outcome.hints import HINTS
from app.domain.outcome.outcome import Failure, FailureScope, Fault, Stage, Verdict
from app.domain.outcome.replies import Reply

P, M, C = FailureScope.PROFILE, FailureScope.MESSAGE, FailureScope.CONNECTION
DEFER, BOUNCE = Verdict.DEFER, Verdict.BOUNCE


@dataclass(frozen=True)
class Case:
    """One line of `real_replies.txt`."""

    failure: Failure
    is_user: bool
    scope: FailureScope
    verdict: Verdict
    classification: str


def parse(line: str) -> Case:
    """A case from its line; the reply as aiosmtplib gives it, code and text apart."""
    expected, _, reply_text = line.partition("| ")
    *who, stage, scope, verdict, classification = expected.split()
    lines = reply_text.split("\\n")
    reply = Reply.parse(
        int(reply_text[:3]), "\n".join(reply_line[4:].strip() for reply_line in lines)
    )
    return Case(
        failure=Failure(Stage(stage), reply=reply),
        is_user=who == ["user"],
        scope=FailureScope(scope),
        verdict=Verdict(verdict),
        classification=classification,
    )


LINES: Final = [
    line
    for line in Path(__file__).with_name("real_replies.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("line", LINES)
def test_each_reply_touches_whom_it_should(line: str) -> None:
    """The right scope (invariant 6), for what servers really say."""
    case = parse(line)
    outcome = classify(case.failure, fresh=True, authenticated=case.is_user)
    assert (outcome.scope, outcome.verdict, outcome.classification) == (
        case.scope,
        case.verdict,
        case.classification,
    )
    assert (outcome.stage, outcome.reply) == (case.failure.stage, case.failure.reply)


BARE: Final = [Stage.BANNER, Stage.EHLO, Stage.TLS, Stage.AUTH]


@pytest.mark.parametrize("authenticated", [False, True])
@pytest.mark.parametrize("stage", [*BARE, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT])
def test_every_code_has_its_row(stage: Stage, *, authenticated: bool) -> None:
    """No bare 4yz bounces, and nothing before MAIL touches a message."""
    for code in range(400, 600):
        failure = Failure(stage, reply=Reply(code, "No"))
        outcome = classify(failure, fresh=True, authenticated=authenticated)
        if stage in BARE:
            assert (outcome.scope, outcome.verdict) == (P, DEFER)
        else:
            assert outcome.classification != "protocol_error"
            assert code >= 500 or outcome.verdict is not BOUNCE


FAULTS: Final = [
    (Stage.DNS, Fault.NOT_FOUND, P, DEFER, "dns_not_found"),
    (Stage.DNS, Fault.TIMEOUT, P, DEFER, "dns_timeout"),
    (Stage.DNS, Fault.LOOKUP_FAILED, P, DEFER, "dns_failed"),
    (Stage.DNS, Fault.NOT_ALLOWED, P, DEFER, "address_not_allowed"),
    (Stage.DNS, Fault.PORT_NOT_ALLOWED, P, DEFER, "port_not_allowed"),
    (Stage.TCP, Fault.UNREACHABLE, P, DEFER, "connect_refused"),
    (Stage.TCP, Fault.TIMEOUT, P, DEFER, "connect_timeout"),
    (Stage.BANNER, Fault.TIMEOUT, P, DEFER, "timeout"),
    (Stage.BANNER, Fault.DISCONNECTED, P, DEFER, "connection_lost"),
    (Stage.BANNER, Fault.MALFORMED, P, DEFER, "protocol_error"),
    (Stage.BANNER, Fault.TLS_FIRST, P, DEFER, "port_mismatch_implicit_tls"),
    (Stage.EHLO, Fault.DISCONNECTED, P, DEFER, "connection_lost"),
    (Stage.EHLO, Fault.TIMEOUT, P, DEFER, "timeout"),
    (Stage.TLS, Fault.CERTIFICATE, P, DEFER, "tls_certificate_invalid"),
    (Stage.TLS, Fault.NAME_MISMATCH, P, DEFER, "tls_name_mismatch"),
    (Stage.TLS, Fault.EXPIRED, P, DEFER, "tls_certificate_expired"),
    (Stage.TLS, Fault.NOT_YET_VALID, P, DEFER, "tls_certificate_not_yet_valid"),
    (Stage.TLS, Fault.PIN_MISMATCH, P, DEFER, "tls_pin_mismatch"),
    (Stage.TLS, Fault.CLIENT_CERTIFICATE, P, DEFER, "tls_client_certificate_refused"),
    (Stage.TLS, Fault.TOO_OLD, P, DEFER, "tls_version_too_old"),
    (Stage.TLS, Fault.HANDSHAKE, P, DEFER, "tls_failed"),
    (Stage.TLS, Fault.PLAIN_TEXT, P, DEFER, "port_mismatch_starttls"),
    (Stage.TLS, Fault.STRIPPED, P, DEFER, "starttls_stripped"),
    (Stage.TLS, Fault.NOT_OFFERED, P, DEFER, "tls_required_not_offered"),
    (Stage.TLS, Fault.TIMEOUT, P, DEFER, "timeout"),
    (Stage.AUTH, Fault.NOT_OFFERED, P, DEFER, "auth_mechanism_unavailable"),
    (Stage.AUTH, Fault.UNENCRYPTED, P, DEFER, "plaintext_auth_refused"),
    (Stage.AUTH, Fault.UNPROVEN, P, DEFER, "auth_server_unproven"),
    (Stage.AUTH, Fault.TOKEN_UNAVAILABLE, P, DEFER, "oauth_token_unavailable"),
    (Stage.AUTH, Fault.TOKEN_REFUSED, P, DEFER, "oauth_token_refused"),
    (Stage.AUTH, Fault.DISCONNECTED, P, DEFER, "connection_lost"),
    (Stage.MAIL, Fault.DISCONNECTED, M, DEFER, "connection_lost"),
    (Stage.MAIL, Fault.TIMEOUT, M, DEFER, "timeout"),
    (Stage.MAIL, Fault.TOO_LARGE, M, BOUNCE, "message_too_large"),
    (Stage.RCPT, Fault.DISCONNECTED, M, DEFER, "connection_lost"),
    (Stage.RCPT, Fault.TIMEOUT, M, DEFER, "timeout"),
    (Stage.RCPT, Fault.MALFORMED, M, DEFER, "protocol_error"),
    (Stage.DATA, Fault.DISCONNECTED, M, DEFER, "connection_lost"),
    (Stage.DATA, Fault.TIMEOUT, M, DEFER, "timeout"),
    (Stage.DATA, Fault.ABANDONED, M, DEFER, "abandoned"),
    (Stage.DOT, Fault.DISCONNECTED, M, DEFER, "outcome_unknown"),
    (Stage.DOT, Fault.TIMEOUT, M, DEFER, "outcome_unknown"),
    (Stage.DOT, Fault.MALFORMED, M, DEFER, "outcome_unknown"),
]


@pytest.mark.parametrize(("stage", "fault", "scope", "verdict", "classification"), FAULTS)
def test_each_fault_without_a_reply_touches_whom_it_should(
    stage: Stage, fault: Fault, scope: FailureScope, verdict: Verdict, classification: str
) -> None:
    """Before MAIL the profile, after it the message, after the final dot nobody knows."""
    outcome = classify(Failure(stage, fault=fault, detail="why"), fresh=True, authenticated=True)
    assert (outcome.scope, outcome.verdict, outcome.classification) == (
        scope,
        verdict,
        classification,
    )
    assert outcome.outcome_unknown is (stage is Stage.DOT)
    assert outcome.detail == "why"


@pytest.mark.parametrize(
    "failure",
    [
        Failure(Stage.MAIL, fault=Fault.DISCONNECTED),
        Failure(Stage.MAIL, reply=Reply(421, "idle for too long", "4.4.2")),
    ],
)
def test_a_used_connection_that_is_closed_under_mail_says_nothing(failure: Failure) -> None:
    """It was idle for too long; on a fresh one the same does say something."""
    assert classify(failure, fresh=False, authenticated=True).scope is C
    assert classify(failure, fresh=True, authenticated=True).scope is not C


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DATA, Stage.DOT])
def test_421_once_mail_has_begun_defers_the_message(stage: Stage) -> None:
    """On a used connection too."""
    outcome = classify(
        Failure(stage, reply=Reply(421, "Bye", "4.3.2")), fresh=False, authenticated=True
    )
    assert (outcome.scope, outcome.verdict) == (M, DEFER)


def test_no_row_is_dead() -> None:
    """Each of them decides on a reply of a real server."""
    without = dict.fromkeys(REPLY_RULES)
    for case in map(parse, LINES):
        reply = case.failure.reply
        assert reply is not None
        text = " ".join(reply.text.split())
        decides = next(
            rule
            for rule in REPLY_RULES
            if rule.matches(case.failure.stage, reply, text, authenticated=case.is_user)
        )
        without.pop(decides, None)
    assert list(without) == []


def test_every_fault_of_the_profile_has_a_hint() -> None:
    """Whatever stops a lane tells what to change."""
    words = {rule.classification for rule in REPLY_RULES if rule.scope is P}
    words |= {word for _, _, scope, _, word in FAULTS if scope is P}
    assert words <= set(HINTS)


@pytest.mark.parametrize(
    ("code", "enhanced", "verdict", "detail"),
    [
        (550, "4.2.0", Verdict.BOUNCE, "the enhanced code 4.2.0 contradicts 550, which decides"),
        (451, "5.1.1", Verdict.DEFER, "the enhanced code 5.1.1 contradicts 451, which decides"),
        (550, "5.1.1", Verdict.BOUNCE, ""),
        (550, None, Verdict.BOUNCE, ""),
    ],
)
def test_the_basic_code_decides_and_a_contradiction_is_noted(
    code: int, enhanced: str | None, verdict: Verdict, detail: str
) -> None:
    """RFC 5321 section 4.2.1 has the last word, and the attempt records the oddity."""
    failure = Failure(Stage.RCPT, reply=Reply(code, "no", enhanced))
    outcome = classify(failure, fresh=True, authenticated=True)
    assert (outcome.verdict, outcome.detail) == (verdict, detail)


@pytest.mark.parametrize(
    ("code", "is_refused"),
    [
        *((code, True) for code in (500, 501, 502, 503, 504, 554, 555)),
        *((code, False) for code in (250, 354, 421, 451, 505, 550, 552, 553)),
    ],
)
def test_codes_that_refuse_a_command_are_not_about_its_content(
    code: int, *, is_refused: bool
) -> None:
    """RFC 5321 section 4.2.4, and what servers say to BDAT that they do not understand."""
    assert refuses_command(Reply(code, "No")) is is_refused


@pytest.mark.parametrize(
    ("code", "text", "is_refused"),
    [
        *((code, "No", True) for code in (504, 555)),
        *((code, "No", False) for code in (500, 501, 502, 550)),
        *((code, "Unsupported option", True) for code in (500, 501, 504, 555)),
        *((code, "Unsupported option", False) for code in (502, 503, 550)),
    ],
)
def test_only_two_codes_refuse_parameters_whatever_they_say(
    code: int, text: str, *, is_refused: bool
) -> None:
    """RFC 5321 section 4.1.1.11 has 504 and 555; the text decides about what old servers say."""
    assert refuses_parameters(Reply(code, text)) is is_refused
