"""Run mail transactions on an open session (RFC 5321 section 3.3)."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple

from app.domain.clock import monotonic_seconds
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.failure_table import UNFIT, refuses_command
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.outcome.replies import UNAVAILABLE, Reply
from app.smtp.body import (
    BLOCK_BYTES,
    END_OF_DATA,
    encode_data,
    encode_last_chunk,
    iter_chunk_blocks,
    iter_data_blocks,
)
from app.smtp.extensions import Extension, Extensions
from app.smtp.faults import StageFailedError, fault_error, refusal_error, stage
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.protocol import DATA, Exchange, Mail, encode_command, make_chunking_failure
from app.smtp.transcript import Entry, Transcript
from app.smtp.wire import PendingReplies, Wire

BeforeBody = Callable[[Collection[str]], Awaitable[bool]]
NextMail = Callable[[], Mail | None]

QUIT_TIMEOUT_SECONDS: Final = 5.0
TRANSACTION_FAILED: Final = 554
# Failures found before the first command leave the session usable.
PREFLIGHT_FAULTS: Final = UNFIT
_EXTENSIONS: Final[Mapping[Fault | None, Extension]] = {
    Fault.PIPELINING: Extension.PIPELINING,
    Fault.CHUNKING: Extension.CHUNKING,
}


@frozen_dataclass
class Transaction:
    """The result of one mail transaction.

    `refused` holds the recipients that the server refused at RCPT. All others share one result:
    `reply` if the server accepted the message, else `failure`. Both are None if all recipients were
    refused.
    """

    refused: dict[str, Failure] = field(default_factory=dict)
    failure: Failure | None = None
    reply: Reply | None = None


class _PipelinedEnvelope(NamedTuple):
    """A pipelined envelope and its pending replies."""

    exchange: Exchange
    pending: PendingReplies
    sent_at: float

    def dialogue(self) -> Callable[[], Iterator[Entry]]:
        """Return a source of transcript entries that does not keep the mail."""
        exchange = self.exchange
        return partial(
            _list_entries, exchange.stages, exchange.commands, self.sent_at, self.pending
        )


@dataclass(eq=False, repr=False)
class Session:
    """An open connection after EHLO and, if the profile requires it, AUTH.

    `transactions` counts the transactions begun. `stage` is how far the last one came: DOT as soon
    as its end is sent, because the server may then have accepted it. `opened_seconds` and
    `used_seconds` are monotonic readings.

    With PIPELINING (RFC 2920) an envelope is one write, and the next envelope leaves together with
    the content before it: about one round trip per message. `distrusted` are extensions that the
    server announced but broke; this session does not use them.

    `transcript` covers the last transaction; for the first one, also the opening.
    """

    wire: Wire
    extensions: Extensions
    identity: Identity
    facts: ConnectionFacts
    transcript: Transcript
    transactions: int = 0
    distrusted: frozenset[Extension] = frozenset()
    stage: Stage = Stage.MAIL
    _pipelined: _PipelinedEnvelope | None = None

    def __post_init__(self) -> None:
        self.opened_seconds = self.used_seconds = monotonic_seconds()

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as known."""
        return self.wire.is_open

    @property
    def silent_seconds(self) -> float:
        """Seconds since the server last sent or read, while a reply is pending."""
        return self.wire.silent_seconds

    @property
    def begun_mail(self) -> Mail | None:
        """The mail whose envelope is already sent, and that must go next."""
        return None if self._pipelined is None else self._pipelined.exchange.mail

    @property
    def is_authenticated(self) -> bool:
        """Whether AUTH succeeded."""
        return self.facts.auth_mechanism is not None

    async def is_alive(self) -> bool:
        """Whether the server answers NOOP; aborts the session if not."""
        try:
            reply = await self._command(Stage.MAIL, encode_command("NOOP"))
        except StageFailedError:
            self.abort()
            return False
        return reply.is_positive

    async def send(
        self,
        mail: Mail,
        *,
        before_body: BeforeBody | None = None,
        next_mail: NextMail | None = None,
    ) -> Transaction:
        """Run one mail transaction. Returns failures of server and network.

        Calls `before_body` with the accepted recipients once the server waits for the body; sends
        no body if it returns False. Calls `next_mail` only if all recipients were accepted and
        pipelining can use it, and sends the envelope of the mail that it returns. The session must
        then send that mail next.

        Cancelling closes the connection.
        """
        self.stage = Stage.MAIL
        self.transactions += 1
        envelope, self._pipelined = self._pipelined, None
        if self.transactions > 1:
            at = monotonic_seconds() if envelope is None else envelope.sent_at
            note = partial(
                _describe_connection, self.facts, self.transactions, at - self.opened_seconds
            )
            self.transcript.restart(note, at)
        exchange = envelope.exchange if envelope is not None else Exchange(mail, self.extensions)
        try:
            await self._exchange_envelope(mail, exchange, envelope)
            if not exchange.accepted:
                await self._give_up(exchange)
                return Transaction(exchange.refused)
            if before_body is not None:
                await _call_before_body(exchange, before_body)
            reply = await self._send_content(exchange, next_mail)
        except StageFailedError as error:
            if error.failure.reply is None:
                self.transcript.add_note(error.failure.detail)
            await self._recover(error.failure)
            return Transaction(exchange.refused, failure=error.failure)
        except BaseException:
            self.abort()
            raise
        finally:
            if exchange.distrusted:
                self._distrust(exchange.distrusted)
            self.used_seconds = monotonic_seconds()
        return Transaction(exchange.refused, reply=reply)

    def _distrust(self, extensions: Collection[Extension]) -> None:
        self.distrusted = self.distrusted.union(extensions)
        self.extensions = self.extensions.without(extensions)

    async def _exchange_envelope(
        self, mail: Mail, exchange: Exchange, envelope: _PipelinedEnvelope | None
    ) -> None:
        """Send MAIL, RCPT and DATA, and process the replies. Raises StageFailedError."""
        if exchange.mail is not mail:
            raise fault_error(Stage.MAIL, Fault.DISCONNECTED, "another mail's envelope had begun")
        if envelope is not None:
            await self._read_envelope_replies(exchange, envelope)
        elif exchange.unfit is not None:
            raise StageFailedError(exchange.unfit)
        elif self.extensions.pipelining:
            await self._read_envelope_replies(exchange, self._send_envelope(exchange))
        else:
            await self._send_one_by_one(exchange)
        if exchange.has_proved_chunking:
            self.extensions = replace(self.extensions, is_chunking_proved=True)
        if exchange.failure is not None:
            if exchange.is_content_awaited:  # the server would read the next command as content
                self.abort()
            raise StageFailedError(exchange.failure)

    def _send(self, lines: Sequence[bytes]) -> PendingReplies:
        return self.wire.send(lines, len(lines), self.identity.timeouts.command)

    def _send_envelope(self, exchange: Exchange) -> _PipelinedEnvelope:
        return _PipelinedEnvelope(exchange, self._send(exchange.commands), monotonic_seconds())

    async def _read_envelope_replies(
        self, exchange: Exchange, envelope: _PipelinedEnvelope
    ) -> None:
        """Process the replies to pipelined commands."""
        pending = envelope.pending
        self.transcript.add_deferred(envelope.dialogue())
        error: StageFailedError | None = None
        try:
            await pending.wait(Stage.MAIL)
        except StageFailedError as failed:
            error = failed
        finally:
            for reply in pending.replies:
                exchange.receive(reply)
            self.stage = self.transcript.stage = exchange.stage
        if error is not None and exchange.failure is None:
            raise self._explain_confusion(exchange, error)

    def _explain_confusion(self, exchange: Exchange, error: StageFailedError) -> StageFailedError:
        """Blame pipelining for a failure over several commands.

        Except for a closed connection on a server that has pipelined before.
        """
        if exchange.is_proving:
            return StageFailedError(make_chunking_failure(error.failure))
        fault = error.failure.fault or Fault.MALFORMED
        is_closed = fault is Fault.DISCONNECTED and self.transactions > 1
        at, detail = exchange.stage, error.failure.detail
        return fault_error(at, fault if is_closed else Fault.PIPELINING, detail)

    async def _send_one_by_one(self, exchange: Exchange) -> None:
        try:
            for line in exchange.commands:
                if exchange.is_over:
                    return
                exchange.receive(await self._command(exchange.stage, line))
        except StageFailedError as error:
            if exchange.is_proving:
                raise StageFailedError(make_chunking_failure(error.failure)) from error
            raise

    async def _send_content(self, exchange: Exchange, next_mail: NextMail | None) -> Reply:
        mime = exchange.mail.mime
        is_chunked, is_long = self.extensions.chunking, len(mime) > BLOCK_BYTES
        pending = self.wire.expect(1, None if is_long else self.identity.timeouts.data)
        if pending.error is not None:  # the connection ended before any content was sent
            await pending.wait(Stage.DATA)
        start = exchange.sent_bytes
        if is_long:
            blocks = iter_chunk_blocks(mime, start) if is_chunked else iter_data_blocks(mime)
            parts = [await self._write_long(blocks, pending)]
            self.wire.limit(pending, self.identity.timeouts.data)
        else:
            parts = encode_last_chunk(mime, start) if is_chunked else encode_data(mime)
        next_exchange = self._make_next_exchange(exchange, next_mail)
        self.stage = self.transcript.stage = Stage.DOT
        at = monotonic_seconds()
        self.transcript.add_note(f"sending the message: {len(mime)} bytes", at)
        self.wire.write(parts if next_exchange is None else parts + next_exchange.commands)
        if next_exchange is not None:
            seconds = self.identity.timeouts.command
            expected = self.wire.expect(len(next_exchange.commands), seconds)
            self._pipelined = _PipelinedEnvelope(next_exchange, expected, at)
        [reply] = await pending.wait(Stage.DOT)
        self.transcript.add_reply(reply, pending.times[0])
        if not reply.is_positive:
            raise self._make_refusal(Stage.DOT, reply)
        return reply

    def _make_refusal(self, at: Stage, reply: Reply) -> StageFailedError:
        """Build a refusal of the content, or of BDAT after an accepted chunk."""
        error = refusal_error(at, reply)
        is_of_content = reply.code == TRANSACTION_FAILED or not refuses_command(reply)
        if is_of_content or not self.extensions.chunking:
            return error
        return StageFailedError(make_chunking_failure(error.failure))

    def _make_next_exchange(
        self, exchange: Exchange, next_mail: NextMail | None
    ) -> Exchange | None:
        """Build the exchange to begin together with the content, if allowed."""
        if next_mail is None or exchange.refused or not self.extensions.pipelining:
            return None
        if (mail := next_mail()) is None:
            return None
        next_exchange = Exchange(mail, self.extensions)
        return next_exchange if next_exchange.unfit is None else None

    async def _write_long(self, blocks: Iterator[bytes], pending: PendingReplies) -> bytes:
        """Write blocks as fast as the server reads; return the last one unsent.

        The server has the `command` timeout for each block, and may reply before the end.
        """
        block = next(blocks)
        for next_mail in blocks:
            with stage(Stage.DATA):
                await self.wire.write_block(block, pending, self.identity.timeouts.command)
            if pending.is_done:
                raise await self._end_transmission(pending)
            block = next_mail
        return block

    async def _end_transmission(self, pending: PendingReplies) -> StageFailedError:
        """Abort, and return the error of a reply during the transmission."""
        self.abort()
        try:
            [reply] = await pending.wait(Stage.DATA)
        except StageFailedError as error:
            return error
        self.transcript.add_reply(reply)
        return self._make_refusal(Stage.DATA, reply)

    async def _command(self, at: Stage, line: bytes) -> Reply:
        self.stage = self.transcript.stage = at
        self.transcript.add_command(b"." if line is END_OF_DATA else line)
        [reply] = await self._send([line]).wait(at)
        self.transcript.add_reply(reply)
        return reply

    async def _give_up(self, exchange: Exchange) -> None:
        """Abort the transaction, and prepare for the next one."""
        if exchange.is_content_awaited:  # RFC 2920 section 3.1: end the empty content
            with suppress(StageFailedError):
                await self._command(Stage.DATA, END_OF_DATA)
        await self._rset()

    async def _rset(self, stage: Stage = Stage.MAIL) -> None:
        """Send RSET; abort the session if it fails."""
        try:
            reply = await self._command(stage, encode_command("RSET"))
        except StageFailedError:
            self.abort()
        else:
            if not reply.is_positive:
                self.abort()

    async def _recover(self, failure: Failure) -> None:
        """Reset the session for the next message, or abort it."""
        if failure.fault in _EXTENSIONS:
            self._distrust({_EXTENSIONS[failure.fault]})
        said_goodbye = failure.reply is not None and failure.reply.code == UNAVAILABLE
        lost = failure.reply is None and failure.fault not in PREFLIGHT_FAULTS
        # A server that refuses BDAT may read the next bytes as the rest of a line.
        if said_goodbye or lost or failure.fault is Fault.CHUNKING:
            self.abort()
        elif self.is_open and self._pipelined is None and failure.reply is not None:
            await self._rset()

    async def check(
        self, envelope_from: str, recipient: str, *, tries_chunk: bool = False
    ) -> Failure | None:
        """Test sender and recipient with MAIL and RCPT, then RSET; never DATA.

        With `tries_chunk`, also tests a first chunk if the server announces CHUNKING. Returns the
        refusal, if any.
        """
        of_no_size = self.extensions.without({Extension.SIZE})
        exchange = Exchange(Mail(envelope_from, [recipient], b" "), of_no_size)
        self.transactions += 1
        if exchange.unfit is not None:
            return exchange.unfit
        has_chunk = tries_chunk and exchange.commands[-1] is not DATA
        exchange.commands = exchange.commands[: 3 if has_chunk else 2]
        try:
            await self._send_one_by_one(exchange)
        except StageFailedError as error:
            self.transcript.add_note(error.failure.detail)
            await self._recover(error.failure)
            return error.failure
        if exchange.failure is not None and exchange.failure.fault is Fault.CHUNKING:
            self.abort()
        else:
            await self._rset(exchange.stage)
        return exchange.failure or next(iter(exchange.refused.values()), None)

    async def quit(self) -> None:
        """Send QUIT and close; does not wait long for the reply.

        Sends no QUIT while a reply is pending.
        """
        if self._pipelined is None and not self.wire.has_pending_replies:
            pending = self.wire.send([encode_command("QUIT")], 1, QUIT_TIMEOUT_SECONDS)
            with suppress(StageFailedError):
                await pending.wait(Stage.MAIL)
        self.wire.close()

    def abort(self) -> None:
        """Close at once, and drop unsent data."""
        self.wire.abort()


async def _call_before_body(exchange: Exchange, before_body: BeforeBody) -> None:
    if not await before_body(exchange.accepted):
        raise fault_error(
            Stage.DATA,
            Fault.ABANDONED,
            "not sent: another worker may have the message now, or the database is away",
        )


def _list_entries(
    stages: Sequence[Stage], commands: Sequence[bytes], sent_at: float, pending: PendingReplies
) -> Iterator[Entry]:
    for at, line in zip(stages, commands, strict=False):
        yield sent_at, at, "client", line
    for at, moment, reply in zip(stages, pending.times, pending.replies, strict=False):
        yield moment, at, "server", reply


def _describe_connection(facts: ConnectionFacts, number: int, seconds: float) -> str:
    """Describe the connection that a further transaction uses."""
    how = facts.tls_version or "no TLS"
    return (
        f"message {number} on the connection to {facts.remote_address}, opened {seconds:.1f} s ago"
        f" as {facts.ehlo_name}, {how}"
    )
