"""Every stage, and every way in which it can fail: the script beside the outcome."""

from typing import Any, Final

import pytest
import trustme

from app.domain.outcome.outcome import FailureScope, Outcome, Stage, Verdict
from app.domain.types import Timeouts, TlsMode
from tests.smtp.conftest import ServerTls
from tests.support.servers.smtp_server import (
    BROKEN_TLS,
    DISCONNECT,
    RESET,
    SILENCE,
    TAKEN,
    Action,
    SmtpServer,
    slowly,
)
from tests.support.smtp_identities import IMPATIENT, MIME, outcome

TEMPORARY: Final = "451 4.3.0 Try again later"
PERMANENT: Final = "550 5.7.1 Never"
GOODBYE: Final = "421 4.3.2 Shutting down"
MALFORMED: Final = b"what do you want?\r\n"
NO_CODE: Final = b"25 ok\r\n"
ENDLESS: Final = b"250-more\r\n" * 5000

P, M, R = FailureScope.PROFILE, FailureScope.MESSAGE, FailureScope.RECIPIENT
DEFER, BOUNCE = Verdict.DEFER, Verdict.BOUNCE

# How a server is spoken to: command by command, all of an envelope at once, the message counted.
OFFERED: Final = {
    "plain": ["8BITMIME"],
    "pipelined": ["PIPELINING", "8BITMIME"],
    "chunked": ["PIPELINING", "CHUNKING", "8BITMIME"],
}
NO_DATA: Final = ("data", "chunked")

Row = tuple[str, Action, Stage, FailureScope, Verdict, str]


def _rows(
    stage: str, at: Stage, scope: FailureScope, *, temporary: str, permanent: str, verdict: Verdict
) -> list[Row]:
    """What 4yz and 5yz mean at a stage."""
    return [
        (stage, TEMPORARY, at, scope, DEFER, temporary),
        (stage, PERMANENT, at, scope, verdict, permanent),
    ]


def _list_losses(stage: str, at: Stage, scope: FailureScope) -> list[Row]:
    """What no reply means at a stage before the final dot."""
    return [
        (stage, DISCONNECT, at, scope, DEFER, "connection_lost"),
        (stage, RESET, at, scope, DEFER, "connection_lost"),
        (stage, SILENCE, at, scope, DEFER, "timeout"),
        (stage, MALFORMED, at, scope, DEFER, "protocol_error"),
        (stage, NO_CODE, at, scope, DEFER, "protocol_error"),
        (stage, ENDLESS, at, scope, DEFER, "protocol_error"),
    ]


ROWS: Final[list[Row]] = [
    *_rows(
        "banner",
        Stage.BANNER,
        P,
        temporary="service_unavailable",
        permanent="banner_rejected",
        verdict=DEFER,
    ),
    *_list_losses("banner", Stage.BANNER, P),
    ("banner", GOODBYE, Stage.BANNER, P, DEFER, "service_unavailable"),
    *_rows(
        "ehlo", Stage.EHLO, P, temporary="ehlo_rejected", permanent="ehlo_rejected", verdict=DEFER
    ),
    *_list_losses("ehlo", Stage.EHLO, P),
    ("ehlo", GOODBYE, Stage.EHLO, P, DEFER, "service_unavailable"),
    *_rows(
        "starttls", Stage.TLS, P, temporary="tls_rejected", permanent="tls_rejected", verdict=DEFER
    ),
    *_list_losses("starttls", Stage.TLS, P),
    ("tls", BROKEN_TLS, Stage.TLS, P, DEFER, "starttls_stripped"),
    ("tls", SILENCE, Stage.TLS, P, DEFER, "timeout"),
    ("tls", DISCONNECT, Stage.TLS, P, DEFER, "connection_lost"),
    *_rows(
        "auth", Stage.AUTH, P, temporary="auth_deferred", permanent="auth_rejected", verdict=DEFER
    ),
    *_list_losses("auth", Stage.AUTH, P),
    ("auth", GOODBYE, Stage.AUTH, P, DEFER, "auth_deferred"),
    *_rows(
        "mail",
        Stage.MAIL,
        M,
        temporary="sender_deferred",
        permanent="sender_rejected",
        verdict=BOUNCE,
    ),
    *_list_losses("mail", Stage.MAIL, M),
    ("mail", GOODBYE, Stage.MAIL, P, DEFER, "service_unavailable"),
    ("mail", "530 5.7.0 Authentication required", Stage.MAIL, P, DEFER, "authentication_required"),
    ("mail", "354 Go ahead", Stage.MAIL, M, DEFER, "protocol_error"),
    *_rows(
        "rcpt",
        Stage.RCPT,
        R,
        temporary="recipient_deferred",
        permanent="recipient_rejected",
        verdict=BOUNCE,
    ),
    *_list_losses("rcpt", Stage.RCPT, M),
    ("rcpt", GOODBYE, Stage.RCPT, M, DEFER, "service_unavailable"),
    ("rcpt", "354 Go ahead", Stage.RCPT, M, DEFER, "protocol_error"),
    *_rows(
        "data",
        Stage.DATA,
        M,
        temporary="content_deferred",
        permanent="content_rejected",
        verdict=BOUNCE,
    ),
    *_list_losses("data", Stage.DATA, M),
    ("data", GOODBYE, Stage.DATA, M, DEFER, "service_unavailable"),
    ("data", "250 Ok", Stage.DATA, M, DEFER, "protocol_error"),
    *_rows(
        "dot",
        Stage.DOT,
        M,
        temporary="content_deferred",
        permanent="content_rejected",
        verdict=BOUNCE,
    ),
    ("dot", GOODBYE, Stage.DOT, M, DEFER, "service_unavailable"),
    *(
        ("dot", action, Stage.DOT, M, DEFER, "outcome_unknown")
        for action in (DISCONNECT, RESET, SILENCE, MALFORMED, NO_CODE, ENDLESS, "354 Go on")
    ),
]


async def _outcome(
    script: dict[str, Action],
    server_tls: ServerTls,
    ca_pem: str,
    offered: str = "pipelined",
    **fields: Any,
) -> Outcome:
    """Of a message to a server that has STARTTLS and AUTH."""
    users = {"ann": "s3cret-word"}
    extensions = OFFERED[offered]
    async with SmtpServer(script, tls=server_tls(), users=users, extensions=extensions) as server:
        return await outcome(
            server,
            tls=TlsMode.STARTTLS,
            tls_ca=ca_pem,
            username="ann",
            password="s3cret-word",
            **fields,
        )


@pytest.mark.parametrize(
    ("row", "offered"),
    # There is no DATA where the message is counted.
    [(row, offered) for row in ROWS for offered in OFFERED if (row[0], offered) != NO_DATA],
    ids=lambda it: it if isinstance(it, str) else f"{it[0]}-{str(it[1])[:12]}",
)
async def test_each_failure_at_each_stage_has_its_outcome(
    row: Row, offered: str, server_tls: ServerTls, ca_pem: str
) -> None:
    """The right scope (invariant 6), and only a lost reply to the dot is unknown (5)."""
    stage, action, *expected = row
    timeouts = IMPATIENT if action == SILENCE else Timeouts()
    outcome = await _outcome({stage: action}, server_tls, ca_pem, offered, timeouts=timeouts)
    assert [outcome.stage, outcome.scope, outcome.verdict, outcome.classification] == expected


SAID = (
    ("banner", "554 5.3.2 mx.test.invalid refuses"),
    ("ehlo", "504 5.5.2 need fully-qualified hostname"),
    ("starttls", "454 4.7.0 TLS not available"),
    ("auth", "535 5.7.8 Bad credentials"),
    ("mail", "553 5.1.8 No such domain"),
    ("rcpt", "550 5.1.1 No such user"),
    ("data", "451 4.3.0 Queue full"),
    ("dot", "554 5.6.0 Spam\n554 5.6.0 See https://example.org/why"),
)


@pytest.mark.parametrize(("stage", "reply"), SAID)
async def test_what_the_server_says_is_kept_word_for_word(
    stage: str, reply: str, server_tls: ServerTls, ca_pem: str
) -> None:
    """Basic code, enhanced code and the text of every line."""
    outcome = await _outcome({stage: reply}, server_tls, ca_pem)
    assert outcome.reply is not None
    assert f"{outcome.reply.code} {outcome.reply.enhanced_code}" == reply[:9]
    assert outcome.reply.text == reply[10:].replace(reply[:10], "")


SLOW = {
    "banner": "220 mx.test.invalid",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 Go ahead",
    "dot": TAKEN,
}


async def test_a_reply_may_come_a_byte_at_a_time(server_tls: ServerTls, ca_pem: str) -> None:
    """TCP knows no lines."""
    script = {stage: slowly(reply) for stage, reply in SLOW.items()}
    outcome = await _outcome(script, server_tls, ca_pem)
    assert outcome.verdict is Verdict.DELIVERED


@pytest.mark.parametrize("code", [250, 251, 252, 259])
async def test_any_2yz_takes_a_recipient(code: int) -> None:
    """RFC 5321 section 4.2.1: the first digit says whether it went well."""
    async with SmtpServer({"rcpt": f"{code} Ok"}) as server:
        assert (await outcome(server)).verdict is Verdict.DELIVERED


async def test_what_is_delivered_stays_so_whatever_quit_does() -> None:
    """Nothing after 250 to the dot counts."""
    async with SmtpServer({"quit": DISCONNECT}) as server:
        result = await outcome(server)
    assert (result.verdict, result.reply) == (Verdict.DELIVERED, result.reply)
    assert server.messages[0].data == MIME


async def test_a_certificate_that_is_refused_is_the_profiles_fault(
    server_tls: ServerTls, ca_pem: str
) -> None:
    """Another authority than the one that is trusted."""
    other = trustme.CA().cert_pem.bytes().decode()
    outcome = await _outcome({}, server_tls, other)
    assert (outcome.stage, outcome.scope, outcome.classification) == (
        Stage.TLS,
        P,
        "tls_certificate_invalid",
    )
    assert ca_pem != other
