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
# Where a server that has ended the handshake speaks first: with TLS from the first byte, or after
# STARTTLS.
FIRST_WORDS: Final = frozenset({Stage.BANNER, Stage.EHLO})
NO_SMTP: Final = "the server did not speak SMTP"


class StageFailedError(Exception):
    """A stage failed. Never leaves this package: the session answers with the `failure`.

    `shown` is the chain of certificates that the server showed in a handshake that failed.
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
    """A stage that failed without a reply."""
    return StageFailedError(Failure(stage, fault=fault, detail=detail), chain)


def reply_error(stage: Stage, code: int, message: str) -> StageFailedError:
    """A stage that the server's reply ended. aiosmtplib gives -1 for what is no reply at all."""
    if code == MALFORMED_CODE:
        return malformed_error(stage, message)
    return refusal_error(stage, Reply.parse(code, message))


def malformed_error(stage: Stage, said: str) -> StageFailedError:
    """A stage at which came what is no reply.

    How another kind of service greets is not told: a profile is no means to look around with.
    """
    detail = NO_SMTP if stage is Stage.BANNER else f"{NO_SMTP}: {said[:200]!r}"
    return fault_error(stage, Fault.MALFORMED, detail)


def refusal_error(stage: Stage, reply: Reply) -> StageFailedError:
    """The reply to a stage is a refusal."""
    return StageFailedError(make_refusal(stage, reply))


class stage:  # noqa: N801 - `with stage(Stage.MAIL):`, and a generator costs three times as much
    """Whatever goes wrong on the wire inside the block is a failure of this stage."""

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
    """A handshake that failed; or TLS that broke later, which is a connection that was lost."""
    if at is Stage.TLS or (at in FIRST_WORDS and is_client_refusal(error)):
        fault, detail = classify_tls_error(error)
        chain = error.chain if isinstance(error, HandshakeError) else ()
        return fault_error(Stage.TLS, fault, detail, chain)
    return fault_error(at, Fault.DISCONNECTED, f"the TLS connection broke: {error.reason or error}")
