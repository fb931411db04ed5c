"""Define the replies of the submission server (RFC 5321 section 4.2, RFC 3463)."""

import textwrap
from collections.abc import Mapping
from enum import Enum
from typing import Final

from app.domain.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    QuotaExceeded,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from app.domain.outcome.replies import Reply
from app.submission.content import RefusedContent

MAX_TEXT_CHARACTERS: Final = 400  # of a line, which has at most 512 bytes (RFC 5321 4.5.3.1.5)
MAX_LINES: Final = 10
# The server closes the connection after these (RFC 5321 section 4.2.1, RFC 7504).
CLOSING_CODES: Final = frozenset({221, 421, 521})

OK: Final = Reply(250, "OK", "2.0.0")
RESET: Final = Reply(250, "The message is dropped", "2.0.0")
SENDER_OK: Final = Reply(250, "Sender OK", "2.1.0")
RECIPIENT_OK: Final = Reply(250, "Recipient OK", "2.1.5")
GOODBYE: Final = Reply(221, "Goodbye", "2.0.0")
START_TLS: Final = Reply(220, "Start TLS", "2.0.0")
START_DATA: Final = Reply(354, "Send the message, and end it with CRLF.CRLF")
LOGGED_IN: Final = Reply(235, "Authenticated", "2.7.0")
CANNOT_VERIFY: Final = Reply(252, "Send a message to try the address", "2.5.2")
HELP: Final = Reply(214, "This server accepts messages for submission (RFC 6409)", "2.0.0")
NOT_IMPLEMENTED: Final = Reply(502, "This command is not implemented", "5.5.1")
UNRECOGNIZED: Final = Reply(500, "This command is not known", "5.5.2")
NEEDS_HELLO: Final = Reply(503, "Send EHLO first", "5.5.1")
NEEDS_TLS: Final = Reply(530, "Send STARTTLS first", "5.7.0")
NEEDS_LOGIN: Final = Reply(530, "Log in first, with AUTH PLAIN or AUTH LOGIN", "5.7.0")
NEEDS_MAIL: Final = Reply(503, "Send MAIL first", "5.5.1")
NEEDS_RCPT: Final = Reply(503, "No recipient was accepted", "5.5.1")
MAIL_TWICE: Final = Reply(503, "A message is already begun; send RSET to drop it", "5.5.1")
LOGIN_TWICE: Final = Reply(503, "You are already logged in", "5.5.1")
LOGIN_IN_MESSAGE: Final = Reply(503, "Log in before MAIL", "5.5.1")
TLS_AFTER_LOGIN: Final = Reply(503, "Send STARTTLS before you log in", "5.5.1")
TLS_ALREADY: Final = Reply(503, "TLS is already active", "5.5.1")
TLS_NOT_OFFERED: Final = Reply(502, "This port does not offer STARTTLS", "5.5.1")
TLS_PIPELINED: Final = Reply(501, "Wait for the reply to STARTTLS before you send more", "5.5.1")
NO_ARGUMENT: Final = Reply(501, "This command has no argument", "5.5.4")
UNKNOWN_MECHANISM: Final = Reply(504, "Use AUTH PLAIN or AUTH LOGIN", "5.5.4")
NOT_BASE64: Final = Reply(501, "This is not a response of the mechanism in base64", "5.5.2")
LOGIN_CANCELLED: Final = Reply(501, "Authentication was cancelled", "5.7.0")
CHUNK_BEGUN: Final = Reply(503, "Finish the message with BDAT, or send RSET", "5.5.1")
TOO_MANY_RECIPIENTS: Final = Reply(
    452, "Too many recipients: send the others a message of their own", "4.5.3"
)
LINE_TOO_LONG: Final = Reply(500, "The line is too long", "5.5.6")
BARE_LINE_END: Final = Reply(500, "End each line in CRLF", "5.5.2")
BARE_IN_CONTENT: Final = Reply(
    550, "The content has a CR or LF that stands alone; end each line in CRLF", "5.6.0"
)
TOO_MANY_ERRORS: Final = Reply(421, "Too many errors", "4.7.0")
TIMED_OUT: Final = Reply(421, "Waited too long for the client", "4.4.2")
SHUTTING_DOWN: Final = Reply(421, "The server is restarting; connect again", "4.3.2")
TOO_MANY_CONNECTIONS: Final = Reply(421, "Too many connections; try again later", "4.3.2")
INTERNAL_ERROR: Final = Reply(451, "Internal error; the message was not stored", "4.3.0")


class Stage(Enum):
    """The command that a problem belongs to."""

    LOGIN = "AUTH"
    SENDER = "MAIL"
    RECIPIENT = "RCPT"
    CONTENT = "DATA"


# By problem, the codes at AUTH, MAIL, RCPT and DATA. What passes is 4yz: a client bounces a message
# that it gets 5yz for.
_CODES: Final[Mapping[type[Problem], tuple[str, str, str, str]]] = {
    Unauthenticated: ("535 5.7.8", "535 5.7.8", "535 5.7.8", "535 5.7.8"),
    Forbidden: ("535 5.7.8", "553 5.7.1", "550 5.7.1", "550 5.7.1"),
    NotFound: ("535 5.7.8", "553 5.7.1", "550 5.7.1", "550 5.6.0"),
    InvalidRequest: ("535 5.7.8", "553 5.7.1", "550 5.1.3", "550 5.6.0"),
    TooLarge: ("552 5.3.4", "552 5.3.4", "552 5.3.4", "552 5.3.4"),
    QuotaExceeded: ("454 4.7.0", "452 4.3.1", "452 4.5.3", "452 4.3.1"),
    TooManyRequests: ("421 4.7.0", "451 4.7.1", "451 4.7.1", "451 4.7.1"),
    Conflict: ("451 4.3.2", "451 4.3.2", "451 4.3.2", "451 4.3.2"),
    Unavailable: ("454 4.7.0", "451 4.3.0", "451 4.3.0", "451 4.3.0"),
}
_STAGES: Final = list(Stage)


def problem_reply(problem: Problem, stage: Stage) -> Reply:
    """Return the reply for a problem at a command; an unknown kind is temporary."""
    if isinstance(problem, RefusedContent):
        return Reply(554, problem.detail, problem.enhanced_code)
    for kind, codes in _CODES.items():
        if isinstance(problem, kind):
            code, enhanced_code = codes[_STAGES.index(stage)].split()
            return Reply(int(code), problem.detail, enhanced_code)
    return Reply(451, problem.detail, "4.3.0")


def format_reply(reply: Reply) -> bytes:
    """Return a reply as it goes over the wire, in lines of at most 512 bytes, in ASCII."""
    enhanced = f"{reply.enhanced_code} " if reply.enhanced_code else ""
    lines = [part for line in reply.text.splitlines() or [""] for part in _wrap(line)][:MAX_LINES]
    last = len(lines) - 1
    text = "".join(
        f"{reply.code}{' ' if number == last else '-'}{enhanced}{line}\r\n"
        for number, line in enumerate(lines)
    )
    return text.encode("ascii", "replace")


def _wrap(line: str) -> list[str]:
    if len(line) <= MAX_TEXT_CHARACTERS:  # textwrap takes a tenth of the time of a short message
        return [line]
    return textwrap.wrap(line, MAX_TEXT_CHARACTERS)
