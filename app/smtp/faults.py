"""One door for aiosmtplib's and the socket's exceptions: out comes a `Failure`."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from aiosmtplib.errors import (
    SMTPException,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from app.domain.outcome import Failure, Fault, Stage
from app.domain.replies import Reply

MALFORMED_CODE = -1


class StageFailedError(Exception):
    """A stage failed. Never leaves this package: the session answers with the `failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


def fail(stage: Stage, fault: Fault, detail: str) -> StageFailedError:
    """A stage that failed without a reply."""
    return StageFailedError(Failure(stage, fault=fault, detail=detail))


def refuse(stage: Stage, code: int, message: str) -> StageFailedError:
    """A stage that the server's reply ended. aiosmtplib gives -1 for what is no reply at all."""
    if code == MALFORMED_CODE:
        return fail(stage, Fault.MALFORMED, f"the server did not speak SMTP: {message[:200]!r}")
    return refused_by(stage, Reply.parse(code, message))


def refused_by(stage: Stage, reply: Reply) -> StageFailedError:
    """A stage whose reply is not the one that was needed; neither 4yz nor 5yz is out of turn."""
    if reply.is_refusal:
        return StageFailedError(Failure(stage, reply=reply))
    return fail(stage, Fault.MALFORMED, f"the server gave an answer out of turn: {reply}")


@contextmanager
def stage(at: Stage) -> Iterator[None]:
    """Whatever goes wrong on the wire inside the block is a failure of this stage."""
    try:
        yield
    except StageFailedError:
        raise
    except SMTPResponseException as error:
        raise refuse(at, error.code, error.message) from error
    except (SMTPTimeoutError, TimeoutError) as error:
        raise fail(at, Fault.TIMEOUT, "the server did not answer in time") from error
    except (SMTPException, OSError) as error:
        raise _lost(at, error) from error


def _lost(at: Stage, error: Exception) -> StageFailedError:
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return fail(
            Stage.TLS, Fault.CERTIFICATE, f"the certificate was refused: {cause.verify_message}"
        )
    if isinstance(cause, ssl.SSLError):
        return fail(Stage.TLS, Fault.HANDSHAKE, f"TLS failed: {cause.reason or cause}")
    if isinstance(error, SMTPServerDisconnected) or isinstance(cause, SMTPServerDisconnected):
        return fail(at, Fault.DISCONNECTED, "the server closed the connection")
    return fail(at, Fault.DISCONNECTED, f"the connection was lost: {error}")
