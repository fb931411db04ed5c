"""SASL: which mechanism, and whether the connection is fit for it (RFC 4954)."""

import base64
import re
from typing import Final

import aiosmtplib

from app.domain.outcome import Failure, Fault, Stage
from app.domain.replies import Reply, printable
from app.domain.types import AuthMechanism
from app.smtp.faults import StageFailedError, fail, stage
from app.smtp.identity import Identity

# Best first. CRAM-MD5 is last over TLS: it makes the server keep the password itself.
OVER_TLS: Final = (AuthMechanism.PLAIN, AuthMechanism.LOGIN, AuthMechanism.CRAM_MD5)
IN_CLEAR: Final = (AuthMechanism.CRAM_MD5, AuthMechanism.PLAIN, AuthMechanism.LOGIN)
SENDS_PASSWORD: Final = frozenset({AuthMechanism.PLAIN, AuthMechanism.LOGIN})
MIN_REDACTED_CHARACTERS: Final = 3
MAX_NAMED_CHARACTERS: Final = 200


def pick(identity: Identity, offered: frozenset[str], *, encrypted: bool) -> AuthMechanism:
    """The mechanism to use of those the server offers.

    Raises StageFailedError where none is left, or where it would send the password in clear
    without `allow_plaintext_auth`.
    """
    order = OVER_TLS if encrypted else IN_CLEAR
    wanted = order if identity.mechanism is AuthMechanism.AUTO else (identity.mechanism,)
    possible = [each for each in wanted if each.value in offered]
    if not possible:
        names = printable(", ".join(sorted(offered)).upper())[:MAX_NAMED_CHARACTERS]
        names = names or "no mechanism at all"
        hint = "" if encrypted else "; many servers offer AUTH only once TLS is on"
        raise fail(Stage.AUTH, Fault.NOT_OFFERED, f"the server offers {names} for AUTH{hint}")
    allowed = encrypted or identity.allow_plaintext_auth
    safe = [each for each in possible if allowed or each not in SENDS_PASSWORD]
    if not safe:
        raise fail(
            Stage.AUTH,
            Fault.UNENCRYPTED,
            "the connection is not encrypted, so the password was not sent; use tls=starttls or"
            " tls=implicit, or set auth.allow_plaintext_auth=true",
        )
    return safe[0]


async def authenticate(smtp: aiosmtplib.SMTP, identity: Identity, *, encrypted: bool) -> str:
    """Log in; answers the mechanism used. Raises StageFailedError."""
    offered = frozenset(name.lower() for name in smtp.server_auth_methods)
    mechanism = pick(identity, offered, encrypted=encrypted)
    login = {
        AuthMechanism.PLAIN: smtp.auth_plain,
        AuthMechanism.LOGIN: smtp.auth_login,
        AuthMechanism.CRAM_MD5: smtp.auth_crammd5,
    }[mechanism]
    username, password = identity.username or "", identity.password or ""
    try:
        with stage(Stage.AUTH):
            await login(username, password, timeout=identity.timeouts.command)
    except StageFailedError as error:
        raise StageFailedError(_redacted(error.failure, username, password)) from None
    return mechanism.value


def _redacted(failure: Failure, username: str, password: str) -> Failure:
    """The failure without the password in any form the server may have sent back (invariant 9)."""
    if failure.reply is None:
        # What is no reply is not quoted: nobody knows in what form it holds what.
        is_quoted = failure.fault is Fault.MALFORMED
        detail = "the server did not speak SMTP" if is_quoted else failure.detail
        return Failure(failure.stage, fault=failure.fault, detail=detail)
    text = failure.reply.text
    for form in _forms(username, password):
        if len(form) >= MIN_REDACTED_CHARACTERS:
            text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
    reply = Reply(failure.reply.code, text, failure.reply.enhanced_code)
    return Failure(failure.stage, reply=reply, detail=failure.detail)


def _forms(username: str, password: str) -> tuple[str, ...]:
    plain = f"\0{username}\0{password}".encode()
    return (
        printable(password),
        printable(password.strip()),  # as it is at the end of a line
        base64.b64encode(password.encode()).decode(),
        base64.b64encode(plain).decode(),
    )
