"""The mail transaction without I/O: what to say next, and what the answers mean.

RFC 5321 section 3.3, with PIPELINING (RFC 2920), CHUNKING (RFC 3030), SIZE (RFC 1870), 8BITMIME
(RFC 6152), DSN (RFC 3461) and SMTPUTF8 (RFC 6531) where they are offered.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Final, NamedTuple, Self

from app.domain.addresses import needs_smtputf8
from app.domain.dsn import DsnRequest
from app.domain.outcome import Failure, Fault, Stage
from app.domain.replies import UNAVAILABLE, Reply
from app.domain.value import value

MAX_LINE_BYTES: Final = 8192
MAX_REPLY_BYTES: Final = 4 * MAX_LINE_BYTES
CODE_DIGITS: Final = 3
KNOWN_LINES: Final = 32
DATA: Final = b"DATA\r\n"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SIZE_LIMIT: Final = re.compile(r"[0-9]{1,20}")  # RFC 1870 section 4


class MalformedReplyError(Exception):
    """What the server said is no reply."""


class ReplyReader:
    """Bytes in, whole replies out (RFC 5321 section 4.2.1), bounded in what is kept of them.

    What the server says is passed on as it may be `shown`.
    """

    def __init__(self, shown: Callable[[str], str]) -> None:
        self._shown = shown
        # What is answered to MAIL, RCPT and DATA is the same again and again.
        self._reply_of_line = lru_cache(maxsize=KNOWN_LINES)(partial(_reply, shown))
        self._buffer = b""
        self._lines: list[bytes] = []
        self._kept_bytes = 0

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies that are whole now; raises MalformedReplyError after those before it."""
        *whole, self._buffer = (self._buffer + data).split(b"\n")
        for line in whole:
            if line[CODE_DIGITS : CODE_DIGITS + 1] == b"-":
                _check_line(self._shown, line)
                self._lines.append(line)
                self._kept_bytes += len(line)
                self._check_bounds()
            elif self._lines:
                lines, self._lines, self._kept_bytes = self._lines, [], 0
                yield _reply(self._shown, *lines, line)
            else:
                yield self._reply_of_line(line)
        self._check_bounds()

    def _check_bounds(self) -> None:
        if len(self._buffer) + self._kept_bytes > MAX_REPLY_BYTES:
            raise MalformedReplyError("an endless reply")


def _reply(shown: Callable[[str], str], *lines: bytes) -> Reply:
    _check_line(shown, lines[-1])
    texts = [line[CODE_DIGITS + 1 :].strip(b" \t\r") for line in lines]
    text = b"\n".join(texts).decode("utf-8", "surrogateescape")
    reply = Reply.parse(int(lines[-1][:CODE_DIGITS]), text)
    return replace(reply, text=shown(reply.text))


def _check_line(shown: Callable[[str], str], line: bytes) -> None:
    if not line[:CODE_DIGITS].isdigit() or len(line) > MAX_LINE_BYTES:
        raise MalformedReplyError(shown(line[:MAX_LINE_BYTES].decode("utf-8", "ignore")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """What a server offers that a mail transaction makes use of; `max_bytes` by its SIZE."""

    pipelining: bool = False
    chunking: bool = False
    size: bool = False
    max_bytes: int | None = None
    smtputf8: bool = False
    eight_bit: bool = False
    dsn: bool = False

    @classmethod
    def of(cls, offered: Mapping[str, str]) -> Self:
        """From the keywords of the EHLO answer, in lower case, and their parameters."""
        limit = offered.get("size", "").strip()
        # RFC 1870: a limit of 0, or none, says that there is no fixed one.
        known = _SIZE_LIMIT.fullmatch(limit) is not None and int(limit) > 0
        return cls(
            pipelining="pipelining" in offered,
            chunking="chunking" in offered,
            size="size" in offered,
            max_bytes=int(limit) if known else None,
            smtputf8="smtputf8" in offered,
            eight_bit="8bitmime" in offered,
            dsn="dsn" in offered,
        )


@value
class Mail:
    """What is to be sent to whom: envelope addresses without brackets, and the message's bytes."""

    envelope_from: str
    recipients: Sequence[str]
    mime: bytes = field(repr=False)
    dsn: DsnRequest | None = None


def command(line: str) -> bytes:
    """A command with its end; raises ValueError where it holds what would begin another."""
    if not line.isprintable() and _CONTROL.search(line):
        raise ValueError(f"a command holds a control character: {line!r}")
    return line.encode() + b"\r\n"


class Exchange:
    """One mail transaction up to its content: `commands` in order, and what is answered to them.

    `unfit` is why the server could not take it, known before anything is said. `stages` are those
    of the answers, in order. `refused` holds the recipients that the server refused, `taken` those
    that it took. `failure` is what stopped all of it. `is_awaited` tells that the server waits for
    the content: by 354, or with CHUNKING as soon as it has taken somebody.
    """

    def __init__(self, mail: Mail, extensions: Extensions) -> None:
        script = needs_smtputf8(mail.envelope_from, mail.recipients, mail.mime)
        needs = _Needs(script, script or not mail.mime.isascii())
        self.mail = mail
        self.unfit = _unfit(mail, extensions, needs)
        self.commands = _commands(mail, extensions, needs)
        # After DATA, which is not said where the content is counted, all that comes is of it.
        to_all = (Stage.RCPT,) * len(mail.recipients)
        self.stages = (Stage.MAIL, *to_all, Stage.DATA, Stage.DATA)
        self.refused: dict[str, Failure] = {}
        self.taken: list[str] = []
        self.failure: Failure | None = None
        self.is_awaited = False
        self._is_chunked = extensions.chunking
        self._answered = 0

    @property
    def stage(self) -> Stage:
        """To which stage the next answer belongs."""
        return self.stages[self._answered]

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be said of the envelope."""
        is_in_vain = self.stage is Stage.DATA and not self.taken
        return self.failure is not None or is_in_vain or self._answered == len(self.commands)

    def receive(self, reply: Reply) -> None:
        """The answer to the next command."""
        number = self._answered
        at = self.stages[number]
        self._answered = number + 1
        if at is Stage.DATA:
            self.is_awaited = reply.is_intermediate
        if self.failure is not None:
            return
        if at is Stage.RCPT:
            self._receive_rcpt(self.mail.recipients[number - 1], reply)
        elif not (reply.is_positive if at is Stage.MAIL else self.is_awaited or not self.taken):
            self.failure = refusal(at, reply)

    def _receive_rcpt(self, address: str, reply: Reply) -> None:
        if reply.is_positive:
            self.taken.append(address)
            self.is_awaited = self._is_chunked
        elif reply.is_refusal and reply.code != UNAVAILABLE:
            self.refused[address] = Failure(Stage.RCPT, reply=reply)
        else:
            self.failure = refusal(Stage.RCPT, reply)


class _Needs(NamedTuple):
    """Which extensions a mail cannot do without."""

    smtputf8: bool
    eight_bit: bool


def _unfit(mail: Mail, extensions: Extensions, needs: _Needs) -> Failure | None:
    limit, size_bytes = extensions.max_bytes, len(mail.mime)
    if limit is not None and limit < size_bytes:
        detail = f"the server takes {limit} bytes at most, the message has {size_bytes}"
        return Failure(Stage.MAIL, fault=Fault.TOO_LARGE, detail=detail)
    if needs.smtputf8 and not extensions.smtputf8:
        detail = (
            "an address of the message is not ASCII, and the server does not offer SMTPUTF8:"
            " use an address in ASCII, or another server"
        )
        return Failure(Stage.MAIL, fault=Fault.SMTPUTF8_NOT_OFFERED, detail=detail)
    # RFC 6531 section 3.1: who offers SMTPUTF8 offers 8BITMIME.
    if needs.eight_bit and not (extensions.eight_bit or extensions.smtputf8):
        detail = (
            "the message has 8-bit text, and the server does not offer 8BITMIME: send it in"
            " quoted-printable or base64, or by another server"
        )
        return Failure(Stage.MAIL, fault=Fault.EIGHT_BIT_NOT_OFFERED, detail=detail)
    return None


def _commands(mail: Mail, extensions: Extensions, needs: _Needs) -> list[bytes]:
    # Who only asks what the server thinks (`Session.check`) has nothing to tell the size of.
    size = f" SIZE={len(mail.mime)}" if extensions.size and mail.mime else ""
    body = " BODY=8BITMIME" if needs.eight_bit else ""
    script = " SMTPUTF8" if needs.smtputf8 else ""
    dsn = mail.dsn if extensions.dsn else None
    about = dsn.mail_parameters() if dsn is not None else ""
    lines = [command(f"MAIL FROM:<{mail.envelope_from}>{size}{body}{script}{about}")]
    for address in mail.recipients:
        wanted = dsn.rcpt_parameters(address) if dsn is not None else ""
        lines.append(command(f"RCPT TO:<{address}>{wanted}"))
    if not extensions.chunking:
        lines.append(DATA)
    return lines


def refusal(at: Stage, reply: Reply) -> Failure:
    """A reply that is not the one that was needed; neither 4yz nor 5yz is out of turn."""
    if reply.is_refusal:
        return Failure(at, reply=reply)
    detail = f"the server gave an answer out of turn: {reply}"
    return Failure(at, fault=Fault.MALFORMED, detail=detail)
