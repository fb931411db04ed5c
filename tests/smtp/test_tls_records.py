"""TLS that breaks in the midst of a session is a connection that breaks there, and no more."""

from typing import Final

import pytest

from app.domain.outcome.outcome import OUTCOME_UNKNOWN, FailureScope, Fault, Stage, Verdict
from app.domain.types import TlsMode
from tests.smtp.conftest import ServerTls
from tests.support.servers.smtp_server import BROKEN_RECORD, Script, SmtpServer
from tests.support.smtp_identities import outcome, refusal

USERS: Final = {"billing": "secret"}
WITH_AUTH: Final = {"username": "billing", "password": "secret"}


def _server(script: Script, tls: ServerTls) -> SmtpServer:
    return SmtpServer(script, tls=tls(), is_implicit=True, users=USERS)


@pytest.mark.parametrize("at", [Stage.BANNER, Stage.EHLO, Stage.AUTH])
async def test_a_broken_record_before_mail_is_a_connection_that_was_lost_there(
    at: Stage, server_tls: ServerTls, ca_pem: str
) -> None:
    """The handshake had ended well: there is nothing wrong with the profile's TLS."""
    async with _server({at.value: BROKEN_RECORD}, server_tls) as server:
        failure = await refusal(server, tls=TlsMode.IMPLICIT, tls_ca=ca_pem, **WITH_AUTH)
    assert (failure.stage, failure.fault) == (at, Fault.DISCONNECTED)


@pytest.mark.parametrize(
    ("at", "scope", "word"),
    [
        (Stage.BANNER, FailureScope.PROFILE, "connection_lost"),
        (Stage.EHLO, FailureScope.PROFILE, "connection_lost"),
        (Stage.AUTH, FailureScope.PROFILE, "connection_lost"),
        (Stage.MAIL, FailureScope.MESSAGE, "connection_lost"),
        (Stage.RCPT, FailureScope.MESSAGE, "connection_lost"),
        (Stage.DATA, FailureScope.MESSAGE, "connection_lost"),
        (Stage.DOT, FailureScope.MESSAGE, OUTCOME_UNKNOWN),
    ],
)
async def test_a_broken_record_is_judged_by_the_stage_that_it_came_at(
    at: Stage, scope: FailureScope, word: str, server_tls: ServerTls, ca_pem: str
) -> None:
    """After the final dot nobody knows whether the server has the message (invariant 5)."""
    script = {at.value: [BROKEN_RECORD] * 2}
    async with _server(script, server_tls) as server:
        result = await outcome(server, tls=TlsMode.IMPLICIT, tls_ca=ca_pem, **WITH_AUTH)
    assert (result.stage, result.scope, result.classification) == (at, scope, word)
    assert result.verdict is Verdict.DEFER
