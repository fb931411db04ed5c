"""Choose an AUTH mechanism and log in (RFC 4954)."""

import asyncio
import base64
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import aiosmtplib

from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.outcome.replies import Reply, make_printable
from app.domain.types import AuthMechanism
from app.smtp import sasl
from app.smtp.faults import StageFailedError, fault_error, reply_error, stage
from app.smtp.identity import Identity
from app.smtp.redaction import list_secret_forms, make_credentials, redact
from app.smtp.sasl import Credentials, Dialogue, Response

# Best first: mechanisms that prove the password precede those that send it.
PASSWORD_MECHANISMS: Final = (sasl.SCRAM_SHA_256, sasl.CRAM_MD5, sasl.PLAIN, sasl.LOGIN)
CHALLENGE_RESPONSE_MECHANISMS: Final = frozenset({sasl.SCRAM_SHA_256, sasl.CRAM_MD5})
CONTINUE: Final = 334
SUCCESSFUL: Final = 235
UNKNOWN_MECHANISM: Final = 504  # RFC 4954 section 4: the server checked nothing
# RFC 4954 section 4: a longer AUTH line must omit the initial response.
MAX_COMMAND_BYTES: Final = 512
# Replies of servers that expect no initial response on the AUTH line; they checked nothing.
INITIAL_RESPONSE_REJECTED: Final = frozenset({500, 501, 504, 555})
MAX_NAMED_CHARACTERS: Final = 200
MAX_ERROR_CHARACTERS: Final = 500
SPECIAL_FORM_HINT: Final = (
    "{} needs the password in a special form on the server; if the password is right, set"
    " auth.mechanism=plain"
)


def choose_mechanisms(
    identity: Identity, offered: frozenset[str], *, encrypted: bool, has_token: bool = False
) -> tuple[str, ...]:
    """List the usable mechanisms that the server offers, best first.

    Raises StageFailedError if there is none, or if all of them would send the password or token in
    clear without `allow_plaintext_auth`.
    """
    possible = [
        mechanism
        for mechanism in _list_candidates(identity, has_token=has_token)
        if mechanism in offered
    ]
    if not possible:
        names = make_printable(", ".join(sorted(offered)).upper())[:MAX_NAMED_CHARACTERS]
        names = names or "no mechanism at all"
        hint = "" if encrypted else "; many servers offer AUTH only once TLS is on"
        raise fault_error(
            Stage.AUTH, Fault.NOT_OFFERED, f"the server offers {names} for AUTH{hint}"
        )
    allowed = encrypted or identity.allow_plaintext_auth
    safe = tuple(
        mechanism for mechanism in possible if allowed or mechanism in CHALLENGE_RESPONSE_MECHANISMS
    )
    if not safe:
        secret = "access token" if possible[0] in sasl.OAUTH else "password"
        raise fault_error(
            Stage.AUTH,
            Fault.UNENCRYPTED,
            f"the connection is not encrypted, so Heloise did not send the {secret}; use"
            " tls=starttls or tls=implicit, or set auth.allow_plaintext_auth=true",
        )
    return safe


def _list_candidates(identity: Identity, *, has_token: bool) -> tuple[str, ...]:
    if identity.mechanism is AuthMechanism.OAUTH2:
        return sasl.OAUTH
    if identity.mechanism is not AuthMechanism.AUTO:
        return (identity.mechanism.value,)
    if not has_token:
        return PASSWORD_MECHANISMS
    return sasl.OAUTH if identity.password is None else (*sasl.OAUTH, *PASSWORD_MECHANISMS)


async def authenticate(
    smtp: aiosmtplib.SMTP, identity: Identity, *, encrypted: bool, token: str | None = None
) -> str:
    """Log in, and return the mechanism used. Raises StageFailedError.

    Tries one mechanism, because a wrong password must not count twice against the account. With
    `auto`, tries the next one only if the server does not know the first.
    """
    if identity.mechanism is AuthMechanism.OAUTH2 and token is None:
        raise fault_error(Stage.AUTH, Fault.TOKEN_UNAVAILABLE, "there is no access token")
    offered = frozenset(name.lower() for name in smtp.server_auth_methods)
    mechanisms = choose_mechanisms(
        identity, offered, encrypted=encrypted, has_token=token is not None
    )
    credentials = make_credentials(identity, token)
    for mechanism in mechanisms:
        try:
            await _Login(smtp, mechanism, credentials, identity.timeouts.command).run()
        except StageFailedError as error:
            reply = error.failure.reply
            is_unknown = reply is not None and reply.code == UNKNOWN_MECHANISM
            if is_unknown and mechanism != mechanisms[-1]:
                continue
            raise StageFailedError(_redact(error.failure, credentials)) from None
        break
    return mechanism


@dataclass(slots=True, repr=False)
class _Login:
    """Run one mechanism with the server."""

    smtp: aiosmtplib.SMTP
    mechanism: str
    credentials: Credentials
    seconds: float
    challenge: bytes = b""

    async def run(self) -> None:
        dialogue = sasl.start_dialogue(self.mechanism, self.credentials)
        response = await self._respond(dialogue, None)
        code, text = await self._begin(response.data)
        while code == CONTINUE:
            self.challenge = text.encode("utf-8", "replace").strip()
            response = await self._respond(dialogue, self.challenge)
            code, text = await self._send(base64.b64encode(response.data or b""))
        if code != SUCCESSFUL:
            raise StageFailedError(
                self._explain_refusal(reply_error(Stage.AUTH, code, text).failure)
            )
        if not response.may_end:
            raise self._unfinished()

    async def _begin(self, initial: bytes | None) -> tuple[int, str]:
        """Send AUTH and the initial response, and return the reply.

        The initial response is on the AUTH line if it fits (RFC 4954 section 4). If the server
        refuses or ignores it there, send it on its own line.
        """
        words = (b"AUTH", self.mechanism.upper().encode())
        if initial is None:
            return await self._send(*words)
        encoded = base64.b64encode(initial)
        is_sent = len(b" ".join([*words, encoded])) + len(b"\r\n") <= MAX_COMMAND_BYTES
        code, text = await self._send(*words, *([encoded] if is_sent else []))
        if is_sent and code in INITIAL_RESPONSE_REJECTED:
            is_sent = False
            code, text = await self._send(*words)
        if code == CONTINUE and self._is_initial_wanted(text, is_sent=is_sent):
            code, text = await self._send(encoded)
        return code, text

    def _is_initial_wanted(self, text: str, *, is_sent: bool) -> bool:
        """Whether a challenge only requests the initial response."""
        if self.mechanism == sasl.LOGIN:  # its questions name what they ask for
            return not is_sent and not sasl.is_about_password(text.encode("utf-8", "replace"))
        return not is_sent or self.mechanism == sasl.PLAIN or not text.strip()

    async def _send(self, *words: bytes) -> tuple[int, str]:
        with stage(Stage.AUTH):
            code, text = await self.smtp.execute_command(*words, timeout=self.seconds)
        return code, text

    async def _respond(self, dialogue: Dialogue, challenge: bytes | None) -> Response:
        """Compute the next response, SCRAM in a thread: the server chooses its cost."""
        is_slow = challenge is not None and self.mechanism == sasl.SCRAM_SHA_256
        try:
            if is_slow:
                response = await asyncio.to_thread(_step, dialogue, challenge)
            else:
                response = _step(dialogue, challenge)
        except sasl.UnprovenError:
            raise self._unfinished() from None
        except ValueError:
            raise self._malformed() from None
        if response is None:
            raise self._malformed()
        return response

    def _malformed(self) -> StageFailedError:
        detail = f"the server sent an invalid {self.mechanism.upper()} challenge"
        return fault_error(Stage.AUTH, Fault.MALFORMED, detail)

    def _unfinished(self) -> StageFailedError:
        """Build the error for success before the server proved its identity."""
        if self.mechanism != sasl.SCRAM_SHA_256:
            return self._malformed()
        detail = "the server did not prove that it knows the password (RFC 5802 section 5.1)"
        return fault_error(Stage.AUTH, Fault.UNPROVEN, detail)

    def _explain_refusal(self, failure: Failure) -> Failure:
        """Add the known reason to a refusal."""
        if failure.reply is None or not failure.reply.is_permanent:
            return failure
        if self.mechanism in sasl.OAUTH:
            return replace(
                failure, fault=Fault.TOKEN_REJECTED, detail=_parse_token_error(self.challenge)
            )
        if (
            self.mechanism in CHALLENGE_RESPONSE_MECHANISMS
            and failure.reply.code != UNKNOWN_MECHANISM
        ):
            return replace(failure, detail=SPECIAL_FORM_HINT.format(self.mechanism.upper()))
        return failure


def _step(dialogue: Dialogue, challenge: bytes | None) -> Response | None:
    """Run one step; None at the end. A StopIteration must not leave a thread."""
    with suppress(StopIteration):
        return next(dialogue) if challenge is None else dialogue.send(challenge)
    return None


def _parse_token_error(challenge: bytes) -> str:
    """Read why the server refused a token: base64 JSON (RFC 7628 section 3.2.2)."""
    try:
        error_fields = json.loads(base64.b64decode(challenge))
    except (ValueError, RecursionError):
        return ""
    if not isinstance(error_fields, dict):
        return ""
    text = ", ".join(f"{name}={value}" for name, value in error_fields.items())
    return make_printable(text)[:MAX_ERROR_CHARACTERS].replace("\n", " ")


def _redact(failure: Failure, credentials: Credentials) -> Failure:
    """Remove secrets from a failure, in every form a server may echo (invariant 9)."""
    if failure.reply is None:
        # Never quote malformed replies: they may hold secrets in any form.
        is_quoted = failure.fault is Fault.MALFORMED
        detail = "the server did not speak SMTP" if is_quoted else failure.detail
        return Failure(failure.stage, fault=failure.fault, detail=detail)
    forms = list_secret_forms(credentials)
    reply = failure.reply
    return replace(
        failure,
        reply=Reply(reply.code, redact(reply.text, forms), reply.enhanced_code),
        detail=redact(failure.detail, forms),
    )
