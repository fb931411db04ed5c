"""Translate exceptions of aiosmtplib and sockets into a `Failure`."""

import ssl
from typing import Final

from aiosmtplib.errors import (
    SMTPException,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.outcome.replies import Reply
from app.smtp.protocol import MalformedReplyError, make_refusal
from app.smtp.tls_handshake import HandshakeError, classify_tls_error, is_client_refusal

MALFORMED_CODE = -1
# The server's first reply after the handshake: with implicit TLS, or after STARTTLS.
FIRST_WORDS: Final = frozenset({Stage.BANNER, Stage.EHLO})
NO_SMTP: Final = "the server did not speak SMTP"


class StageFailedError(Exception):
    """A stage failed. Never leaves this package: the session returns the `failure`.

    `chain` is the certificate chain that the server sent in a failed handshake.
    """

    def __init__(self, failure: Failure, chain: tuple[bytes, ...] = ()) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.chain = chain


class ServerClosedError(ConnectionError):
    """The server closed or announced to close the connection."""


def fault_error(
    stage: Stage, fault: Fault, detail: str, chain: tuple[bytes, ...] = ()
) -> StageFailedError:
    """Build the error of a stage that failed without a reply."""
    return StageFailedError(Failure(stage, fault=fault, detail=detail), chain)


def reply_error(stage: Stage, code: int, message: str) -> StageFailedError:
    """Build the error of a refusing reply. aiosmtplib uses -1 for malformed replies."""
    if code == MALFORMED_CODE:
        return malformed_error(stage, message)
    return refusal_error(stage, Reply.parse(code, message))


def malformed_error(stage: Stage, reply: str) -> StageFailedError:
    """Build the error of a malformed reply.

    Hides other services' greetings, so that a profile cannot scan a network.
    """
    detail = NO_SMTP if stage is Stage.BANNER else f"{NO_SMTP}: {reply[:200]!r}"
    return fault_error(stage, Fault.MALFORMED, detail)


def refusal_error(stage: Stage, reply: Reply) -> StageFailedError:
    """Build the error of a refusing reply."""
    return StageFailedError(make_refusal(stage, reply))


class stage:  # noqa: N801 - `with stage(Stage.MAIL):`, and a generator costs three times as much
    """Turn every network error in the block into a failure of this stage."""

    __slots__ = ("_at",)

    def __init__(self, at: Stage) -> None:
        self._at = at

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and (stage_error := _map_error(self._at, error)) is not None:
            raise stage_error from error


def _map_error(at: Stage, error: BaseException) -> StageFailedError | None:
    match error:
        case MalformedReplyError():
            return malformed_error(at, str(error))
        case SMTPResponseException():
            return reply_error(at, error.code, error.message)
        case SMTPTimeoutError() | TimeoutError():
            return fault_error(at, Fault.TIMEOUT, "the server did not answer in time")
        case SMTPException() | OSError():
            return _map_lost_connection(at, error)
        case _:
            return None


def _map_lost_connection(at: Stage, error: Exception) -> StageFailedError:
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLError):
        return _map_tls_error(at, cause)
    disconnect_errors = SMTPServerDisconnected | ServerClosedError
    if isinstance(error, disconnect_errors) or isinstance(cause, disconnect_errors):
        return fault_error(at, Fault.DISCONNECTED, "the server closed the connection")
    return fault_error(at, Fault.DISCONNECTED, f"the connection was lost: {error}")


def _map_tls_error(at: Stage, error: ssl.SSLError) -> StageFailedError:
    """Distinguish a failed handshake from TLS that broke later."""
    if at is Stage.TLS or (at in FIRST_WORDS and is_client_refusal(error)):
        fault, detail = classify_tls_error(error)
        chain = error.chain if isinstance(error, HandshakeError) else ()
        return fault_error(Stage.TLS, fault, detail, chain)
    return fault_error(at, Fault.DISCONNECTED, f"the TLS connection broke: {error.reason or error}")
