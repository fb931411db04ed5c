"""Run mail transactions without I/O: the next command, the meaning of replies.

RFC 5321 section 3.3, with PIPELINING (RFC 2920), CHUNKING (RFC 3030), SIZE (RFC 1870), 8BITMIME
(RFC 6152), DSN (RFC 3461) and SMTPUTF8 (RFC 6531) where they are offered.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from functools import lru_cache, partial
from typing import Final, NamedTuple

from app.domain.address.parse import find_utf8_fields, needs_smtputf8
from app.domain.dsn_request import DsnRequest
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.failure_table import refuses_command
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.outcome.replies import UNAVAILABLE, Reply
from app.smtp.body import encode_first_chunk
from app.smtp.extensions import Extension, Extensions, refused_extensions

MAX_LINE_BYTES: Final = 8192
MAX_REPLY_BYTES: Final = 4 * MAX_LINE_BYTES
CODE_DIGITS: Final = 3
KNOWN_LINES: Final = 32
BLANKS: Final = b" \t\r"
DATA: Final = b"DATA\r\n"
CHUNKING_BROKEN: Final = "the server announces CHUNKING but refuses BDAT, so Heloise uses DATA"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class MalformedReplyError(Exception):
    """The server sent something that is not an SMTP reply."""


class ReplyReader:
    """Parses bytes into replies (RFC 5321 section 4.2.1), with bounded memory.

    `redact` removes secrets from the texts.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        # Replies to MAIL, RCPT and DATA repeat.
        self._reply_of_line = lru_cache(maxsize=KNOWN_LINES)(partial(_reply_of_line, redact))
        self._buffer = b""
        self._lines: list[bytes] = []
        self._pending_bytes = 0

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Yield the completed replies. Raises MalformedReplyError after the valid ones."""
        *whole, self._buffer = (self._buffer + data).split(b"\n")
        for line in whole:
            if line[CODE_DIGITS : CODE_DIGITS + 1] == b"-":
                _check_line(self._redact, line)
                self._lines.append(line)
                self._count_pending(line)
            elif self._lines and line.strip(BLANKS):
                lines, self._lines, self._pending_bytes = self._lines, [], 0
                yield _reply(self._redact, *lines, line)
            elif not self._lines and (reply := self._reply_of_line(line)) is not None:
                self._pending_bytes = 0
                yield reply
            else:
                self._count_pending(line)
        self._check_bounds()

    def _count_pending(self, line: bytes) -> None:
        """Count bytes without a complete reply, to bound them."""
        self._pending_bytes += len(line) + 1
        self._check_bounds()

    def _check_bounds(self) -> None:
        if len(self._buffer) + self._pending_bytes > MAX_REPLY_BYTES:
            raise MalformedReplyError("an endless reply")


def _reply_of_line(redact: Callable[[str], str], line: bytes) -> Reply | None:
    """Parse a one-line reply; None for a blank line, which some servers send."""
    return _reply(redact, line) if line.strip(BLANKS) else None


def _reply(redact: Callable[[str], str], *lines: bytes) -> Reply:
    _check_line(redact, lines[-1])
    texts = [line[CODE_DIGITS + 1 :].strip(b" \t\r") for line in lines]
    text = b"\n".join(texts).decode("utf-8", "surrogateescape")
    reply = Reply.parse(int(lines[-1][:CODE_DIGITS]), text)
    return replace(reply, text=redact(reply.text))


def _check_line(redact: Callable[[str], str], line: bytes) -> None:
    if not line[:CODE_DIGITS].isdigit() or len(line) > MAX_LINE_BYTES:
        raise MalformedReplyError(redact(line[:MAX_LINE_BYTES].decode("utf-8", "ignore")))


@frozen_dataclass
class Mail:
    """A mail to send: envelope addresses without brackets, and the message's bytes."""

    envelope_from: str
    recipients: Sequence[str]
    mime: bytes = field(repr=False)
    dsn: DsnRequest | None = None


def encode_command(line: str) -> bytes:
    """Encode a command line. Raises ValueError if it contains a control character."""
    if not line.isprintable() and _CONTROL.search(line):
        raise ValueError(f"a command contains a control character: {line!r}")
    return line.encode() + b"\r\n"


class Exchange:
    """One mail transaction up to its content: `commands` in order, and their replies.

    `unfit` is a failure known before the first command. `stages` are those of the replies, in
    order. `refused` and `accepted` are the recipients by the server's reply. `failure` ends the
    transaction. `is_content_awaited`: the server waits for content, after 354, or with CHUNKING
    after the first accepted recipient. `distrusted` are extensions that turned out to be broken.

    A server that announces CHUNKING must prove it before it gets the content: the last command is
    then a chunk of `sent_bytes` instead of DATA.
    """

    def __init__(self, mail: Mail, extensions: Extensions) -> None:
        script = needs_smtputf8(mail.envelope_from, mail.recipients, mail.mime)
        needs = _Needs(script, script or not mail.mime.isascii())
        self.mail = mail
        self.unfit = _explain_unfit(mail, extensions, needs)
        self.commands = _make_commands(mail, extensions, needs)
        # Replies after DATA or the first chunk concern the content.
        to_all = (Stage.RCPT,) * len(mail.recipients)
        self.stages = (Stage.MAIL, *to_all, Stage.DATA, Stage.DATA)
        self.refused: dict[str, Failure] = {}
        self.accepted: list[str] = []
        self.failure: Failure | None = None
        self.is_content_awaited = False
        self.distrusted: frozenset[Extension] = frozenset()
        self.has_proved_chunking = False
        self._is_chunked = extensions.chunking
        self._must_prove = extensions.chunking and not extensions.is_chunking_proved
        self.sent_bytes = len(mail.mime[:1]) if self._must_prove else 0
        self._answer_count = 0

    @property
    def stage(self) -> Stage:
        """The stage of the next reply."""
        return self.stages[self._answer_count]

    @property
    def is_over(self) -> bool:
        """Whether the envelope is complete."""
        is_in_vain = self.stage is Stage.DATA and not self.accepted
        return self.failure is not None or is_in_vain or self._answer_count == len(self.commands)

    @property
    def is_proving(self) -> bool:
        """Whether only the reply that proves CHUNKING is missing."""
        is_at_data = self.stage is Stage.DATA and self._answer_count < len(self.commands)
        return self._must_prove and is_at_data and bool(self.accepted) and self.failure is None

    def receive(self, reply: Reply) -> None:
        """Process the reply to the next command."""
        number = self._answer_count
        at = self.stages[number]
        self._answer_count = number + 1
        if at is Stage.DATA:
            self._receive_start(reply)
        elif self.failure is not None:
            return
        elif at is Stage.RCPT:
            self._receive_rcpt(number, reply)
        elif not reply.is_positive:
            self.failure = self._make_refusal(number, reply)

    def _receive_rcpt(self, number: int, reply: Reply) -> None:
        address = self.mail.recipients[number - 1]
        if reply.is_positive:
            self.accepted.append(address)
            self.is_content_awaited = self._is_chunked
        elif reply.is_refusal and reply.code != UNAVAILABLE:
            self.refused[address] = self._make_refusal(number, reply)
        else:
            self.failure = make_refusal(Stage.RCPT, reply)

    def _receive_start(self, reply: Reply) -> None:
        """Process the reply to DATA, or to the chunk that replaces it."""
        is_started = reply.is_positive if self._must_prove else reply.is_intermediate
        self.has_proved_chunking = self._must_prove and is_started
        # RSET takes back a chunk without recipients, like the envelope.
        self.is_content_awaited = is_started and (bool(self.accepted) or not self._must_prove)
        if self.failure is None and self.accepted and not is_started:
            self.failure = make_refusal(Stage.DATA, reply)
            if self._must_prove and (refuses_command(reply) or not reply.is_refusal):
                self.failure = make_chunking_failure(self.failure)

    def _make_refusal(self, number: int, reply: Reply) -> Failure:
        """Build the failure of a command, or only of the parameters Heloise added."""
        at = self.stages[number]
        parameters = self.commands[number].decode().partition("> ")[2]
        refused = refused_extensions(reply, f" {parameters}")
        self.distrusted |= refused
        return (
            Failure(at, reply=reply, fault=Fault.PARAMETERS) if refused else make_refusal(at, reply)
        )


class _Needs(NamedTuple):
    """The extensions that a mail requires."""

    smtputf8: bool
    eight_bit: bool


def _explain_unfit(mail: Mail, extensions: Extensions, needs: _Needs) -> Failure | None:
    limit, size_bytes = extensions.max_bytes, len(mail.mime)
    if limit is not None and limit < size_bytes:
        detail = f"the server accepts at most {limit} bytes; the message has {size_bytes}"
        return Failure(Stage.MAIL, fault=Fault.TOO_LARGE, detail=detail)
    if needs.smtputf8 and not extensions.smtputf8:
        detail = _explain_smtputf8(mail)
        return Failure(Stage.MAIL, fault=Fault.SMTPUTF8_NOT_OFFERED, detail=detail)
    # RFC 6531 section 3.1: SMTPUTF8 implies 8BITMIME.
    if needs.eight_bit and not (extensions.eight_bit or extensions.smtputf8):
        detail = (
            "the message has 8-bit text, and the server does not offer 8BITMIME: send it in"
            " quoted-printable or base64, or through another server"
        )
        return Failure(Stage.MAIL, fault=Fault.EIGHT_BIT_NOT_OFFERED, detail=detail)
    return None


def _explain_smtputf8(mail: Mail) -> str:
    """Explain what is not ASCII; a header may name another recipient's address."""
    if not all(map(str.isascii, (mail.envelope_from, *mail.recipients))):
        return (
            "an address of the message is not ASCII, and the server does not offer SMTPUTF8:"
            " use an address in ASCII, or another server"
        )
    names = ", ".join(find_utf8_fields(mail.mime))
    return (
        f"the header is not ASCII ({names}), and the server does not offer SMTPUTF8: move the"
        " non-ASCII address to bcc, send it a message of its own, or use another server"
    )


def _make_commands(mail: Mail, extensions: Extensions, needs: _Needs) -> list[bytes]:
    size = f" SIZE={len(mail.mime)}" if extensions.size else ""
    body = " BODY=8BITMIME" if needs.eight_bit and extensions.body else ""
    script = " SMTPUTF8" if needs.smtputf8 else ""
    dsn = mail.dsn if extensions.dsn else None
    mail_parameters = dsn.mail_parameters() if dsn is not None else ""
    lines = [
        encode_command(f"MAIL FROM:<{mail.envelope_from}>{size}{body}{script}{mail_parameters}")
    ]
    for address in mail.recipients:
        parameters = dsn.rcpt_parameters(address) if dsn is not None else ""
        lines.append(encode_command(f"RCPT TO:<{address}>{parameters}"))
    if not extensions.chunking:
        lines.append(DATA)
    elif not extensions.is_chunking_proved:
        lines.append(encode_first_chunk(mail.mime))
    return lines


def make_chunking_failure(failure: Failure) -> Failure:
    """Return the failure as one of BDAT, not of the message."""
    detail = "; ".join(filter(None, [CHUNKING_BROKEN, failure.detail]))
    return replace(failure, fault=Fault.CHUNKING, detail=detail)


def make_refusal(at: Stage, reply: Reply) -> Failure:
    """Build the failure of an unwanted reply; malformed unless it is 4yz or 5yz."""
    if reply.is_refusal:
        return Failure(at, reply=reply)
    detail = f"the server sent an unexpected reply: {reply}"
    return Failure(at, fault=Fault.MALFORMED, detail=detail)
