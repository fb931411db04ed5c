"""Decide what follows each command, without I/O (RFC 5321 section 4.1.4, RFC 6409).

`Dialogue.receive` takes a command and returns either its reply or an action: work that the
connection does before it answers. The connection reports the result with the method that the action
names.
"""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Final

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.replies import Reply
from app.submission import replies, sasl
from app.submission.commands import (
    CommandError,
    Mail,
    Rcpt,
    parse_chunk,
    parse_hello,
    parse_mail,
    parse_rcpt,
    split_command,
)

MAX_ERRORS: Final = 20
MAX_FAILED_LOGINS: Final = 3
EHLO_CODE: Final = 250


@frozen_dataclass
class Login:
    """Check these credentials, then call `logged_in` or `login_failed`."""

    credentials: sasl.Credentials


@frozen_dataclass
class CheckSender:
    """Check the envelope sender, then call `sender_accepted` if it is allowed."""

    mail: Mail


@frozen_dataclass
class CheckRecipient:
    """Check an envelope recipient, then call `recipient_accepted` if it is allowed."""

    rcpt: Rcpt


@frozen_dataclass
class ReceiveChunk:
    """Read a chunk of content, then call `chunk_received`; store the message after the last."""

    size_bytes: int
    is_last: bool


class Do(Enum):
    """Actions without parameters."""

    START_TLS = "start TLS, then call `tls_started`"
    RECEIVE_DATA = "reply 354, read the content, store it, then call `reset`"
    QUIT = "reply 221 and close"


Action = Login | CheckSender | CheckRecipient | ReceiveChunk | Do


@frozen_dataclass
class Envelope:
    """The sender and the recipients accepted so far."""

    mail: Mail
    rcpts: list[Rcpt] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Dialogue:
    """One client's commands, in order.

    `can_start_tls`: the port offers STARTTLS. `is_login_safe`: a password may be sent now. The
    dialogue `is_over` once a client has made too many errors.
    """

    hostname: str
    _: KW_ONLY
    check_client_name: Callable[[str], object]
    max_message_bytes: int
    max_recipients: int
    can_start_tls: bool
    is_login_safe: bool
    is_extended: bool = False
    client_name: str | None = None
    is_logged_in: bool = False
    envelope: Envelope | None = None
    is_in_chunks: bool = False
    _exchange: sasl.Exchange | None = field(default=None, repr=False)
    _error_count: int = 0
    _failed_logins: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the client made so many errors that the connection ends."""
        return self._error_count > MAX_ERRORS or self._failed_logins >= MAX_FAILED_LOGINS

    @property
    def max_line_bytes(self) -> int | None:
        """How long the next line may be where it is no command."""
        return None if self._exchange is None else sasl.MAX_RESPONSE_BYTES

    def receive(self, line: bytes) -> Reply | Action:
        """Return the reply to a line, or what to do before it is answered."""
        try:
            outcome = self._continue_login(line) if self._exchange else self._dispatch(line)
        except CommandError as error:
            outcome = error.reply
        return self.refuse(outcome) if isinstance(outcome, Reply) else outcome

    def refuse(self, reply: Reply) -> Reply:
        """Count the reply if it is a refusal, and return it.

        A recipient after a refused MAIL does not count: clients pipeline many (RFC 2920).
        """
        if reply.is_permanent and not (self.is_logged_in and reply is replies.NEEDS_MAIL):
            self._error_count += 1
        return reply

    def message_accepted(self) -> None:
        """Forget the errors before a message that was stored."""
        self._error_count = 0

    def _dispatch(self, line: bytes) -> Reply | Action:
        verb, argument = split_command(line)
        if (constant := _CONSTANTS.get(verb)) is not None:
            return constant
        if (act := _WITHOUT_ARGUMENT.get(verb)) is not None:
            return replies.NO_ARGUMENT if argument else act(self)
        handle = _HANDLERS.get(verb)
        return replies.UNRECOGNIZED if handle is None else handle(self, argument)

    def _ehlo(self, argument: str) -> Reply:
        self._greet(argument, is_extended=True)
        extensions = [
            f"{self.hostname} greets you",
            "PIPELINING",
            f"SIZE {self.max_message_bytes}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "DSN",
            "CHUNKING",
        ]
        if self.can_start_tls:
            extensions.append("STARTTLS")
        if self.is_login_safe and not self.is_logged_in:
            extensions.append(f"AUTH {' '.join(sasl.MECHANISMS)}")
        return Reply(EHLO_CODE, "\n".join(extensions))

    def _helo(self, argument: str) -> Reply:
        self._greet(argument, is_extended=False)
        return Reply(EHLO_CODE, self.hostname)

    def _greet(self, argument: str, *, is_extended: bool) -> None:
        name = parse_hello(argument)
        try:
            self.check_client_name(name)
        except ValueError as error:
            raise CommandError(504, "5.5.2", str(error)) from None
        self.client_name, self.is_extended = name, is_extended
        self.reset()

    def _starttls(self) -> Reply | Action:
        if self.is_logged_in:
            return replies.TLS_AFTER_LOGIN
        if self.can_start_tls:
            return Do.START_TLS
        return replies.TLS_ALREADY if self.is_login_safe else replies.TLS_NOT_OFFERED

    def tls_started(self) -> None:
        """Forget everything that was said in plain text (RFC 3207 section 4.2)."""
        self.can_start_tls, self.is_login_safe = False, True
        self.client_name, self.is_extended = None, False
        self.reset()

    def _auth(self, argument: str) -> Reply | Action:
        if self.is_logged_in:
            return replies.LOGIN_TWICE
        if not self.is_login_safe:
            return replies.NEEDS_TLS
        if not self.is_extended:
            return replies.NEEDS_HELLO
        if self.envelope is not None:
            return replies.LOGIN_IN_MESSAGE
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() not in sasl.MECHANISMS:
            return replies.UNKNOWN_MECHANISM
        self._exchange = sasl.begin(mechanism.upper(), initial.strip() or None)
        return self._advance(next)

    def _continue_login(self, line: bytes) -> Reply | Action:
        return self._advance(lambda exchange: exchange.send(line.decode("ascii", "replace")))

    def _advance(self, step: Callable[[sasl.Exchange], str]) -> Reply | Action:
        """Take one step of the exchange: the next challenge, or the credentials."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            raise AssertionError
        try:
            challenge = step(exchange)
        except StopIteration as end:
            return Login(end.value)
        except sasl.SaslCancelledError:
            return replies.LOGIN_CANCELLED
        except sasl.SaslError:
            return replies.NOT_BASE64
        self._exchange = exchange
        return Reply(334, challenge)

    def logged_in(self) -> None:
        """Record that the credentials are right."""
        self.is_logged_in, self._failed_logins = True, 0

    def login_failed(self) -> None:
        """Record that the credentials are wrong."""
        self._failed_logins += 1

    def _mail(self, argument: str) -> Reply | Action:
        if self.client_name is None:
            return replies.NEEDS_HELLO
        if not self.is_logged_in:
            return replies.NEEDS_LOGIN if self.is_login_safe else replies.NEEDS_TLS
        if self.envelope is not None:
            return replies.MAIL_TWICE
        return CheckSender(parse_mail(argument))

    def sender_accepted(self, mail: Mail) -> None:
        self.envelope = Envelope(mail)

    def _rcpt(self, argument: str) -> Reply | Action:
        if self.envelope is None:
            return replies.NEEDS_MAIL
        if self.is_in_chunks:
            return replies.CHUNK_BEGUN
        rcpt = parse_rcpt(argument, is_smtputf8=self.envelope.mail.is_smtputf8)
        if len(self.envelope.rcpts) >= self.max_recipients:
            return replies.TOO_MANY_RECIPIENTS
        return CheckRecipient(rcpt)

    def recipient_accepted(self, rcpt: Rcpt) -> None:
        if self.envelope is not None:
            self.envelope.rcpts.append(rcpt)

    def _data(self) -> Reply | Action:
        if self.is_in_chunks:
            return replies.CHUNK_BEGUN
        return self.missing_envelope() or Do.RECEIVE_DATA

    def _bdat(self, argument: str) -> Reply | Action:
        size_bytes, is_last = parse_chunk(argument)
        # The chunk follows in any case, so it is read even where it is refused.
        return ReceiveChunk(size_bytes, is_last)

    def missing_envelope(self) -> Reply | None:
        """Return why there can be no content now, or None."""
        if self.envelope is None:
            return replies.NEEDS_MAIL
        return None if self.envelope.rcpts else replies.NEEDS_RCPT

    def chunk_received(self) -> None:
        """Record that the message's content has begun."""
        self.is_in_chunks = True

    def reset(self) -> None:
        """Drop the message that is begun."""
        self.envelope, self.is_in_chunks = None, False

    def _rset(self) -> Reply:
        self.reset()
        return replies.RESET


_CONSTANTS: Final[Mapping[str, Reply]] = {
    "NOOP": replies.OK,
    "VRFY": replies.CANNOT_VERIFY,
    "HELP": replies.HELP,
    **dict.fromkeys(("EXPN", "TURN", "ETRN"), replies.NOT_IMPLEMENTED),
}
_WITHOUT_ARGUMENT: Final[Mapping[str, Callable[[Dialogue], Reply | Action]]] = {
    "STARTTLS": Dialogue._starttls,  # noqa: SLF001 - a table of this class's methods
    "DATA": Dialogue._data,  # noqa: SLF001
    "RSET": Dialogue._rset,  # noqa: SLF001
    "QUIT": lambda _: Do.QUIT,
}
_HANDLERS: Final[Mapping[str, Callable[[Dialogue, str], Reply | Action]]] = {
    "EHLO": Dialogue._ehlo,  # noqa: SLF001
    "HELO": Dialogue._helo,  # noqa: SLF001
    "AUTH": Dialogue._auth,  # noqa: SLF001
    "MAIL": Dialogue._mail,  # noqa: SLF001
    "RCPT": Dialogue._rcpt,  # noqa: SLF001
    "BDAT": Dialogue._bdat,  # noqa: SLF001
}
