"""One SMTP session that was opened: one mail transaction after another (RFC 5321 section 3.3)."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, cast

import aiosmtplib
from aiosmtplib.errors import SMTPException
from aiosmtplib.protocol import SMTPProtocol

from app.domain.clock import monotonic_seconds
from app.domain.outcome import Failure, Fault, Stage
from app.domain.replies import UNAVAILABLE, Reply
from app.smtp.body import blocks, dot_stuffed, drain
from app.smtp.faults import StageFailedError, fail, refuse, refused_by, stage
from app.smtp.identity import ConnectionFacts, Identity

BeforeBody = Callable[[Collection[str]], Awaitable[bool]]

QUIT_TIMEOUT_SECONDS: Final = 5.0
SIZE_LIMIT: Final = re.compile(r"[0-9]{1,20}")  # RFC 1870 section 4


@dataclass(frozen=True, slots=True)
class Transaction:
    """How one mail transaction ended.

    `refused` holds the recipients that the server itself refused at RCPT. All others share one
    end: `reply` where the server took the message, else `failure`. With every recipient refused
    both are None.
    """

    refused: dict[str, Failure] = field(default_factory=dict)
    failure: Failure | None = None
    reply: Reply | None = None


class Session:
    """A connection on which the server has accepted the EHLO name and, where asked, the user.

    `transactions` counts those that were begun, whatever came of them. `stage` tells how far the
    last one has come: DOT from the moment on at which the end of the message goes out, when the
    server may have taken it though nobody has heard it say so. `opened_seconds` and `used_seconds`
    are monotonic readings.
    """

    def __init__(self, smtp: aiosmtplib.SMTP, identity: Identity, facts: ConnectionFacts) -> None:
        self._smtp = smtp
        self.identity = identity
        self.facts = facts
        self.transactions = 0
        self.stage = Stage.MAIL
        self.opened_seconds = self.used_seconds = monotonic_seconds()

    @property
    def is_open(self) -> bool:
        """Whether the server has not closed the connection, as far as is known."""
        return self._smtp.is_connected

    @property
    def is_authenticated(self) -> bool:
        """Whether AUTH succeeded."""
        return self.facts.auth_mechanism is not None

    async def is_alive(self) -> bool:
        """Whether the server still answers (NOOP); the session is of no use where it does not."""
        try:
            reply = await self._command(Stage.MAIL, "NOOP")
        except StageFailedError:
            self.abort()
            return False
        return reply.is_positive

    async def send(
        self,
        *,
        envelope_from: str,
        recipients: Sequence[str],
        mime: bytes,
        before_body: BeforeBody | None = None,
    ) -> Transaction:
        """One mail transaction. Raises nothing that the server or the network does.

        `before_body` is asked once the server waits for the body, with the recipients that it
        took; where it says no, nothing of the body goes out.

        Where it is cancelled the connection is closed: what was under way is not known to end.
        """
        self.stage = Stage.MAIL
        self.transactions += 1
        refused: dict[str, Failure] = {}
        try:
            await self._mail(envelope_from, len(mime))
            await self._rcpt(recipients, refused)
            if len(refused) == len(recipients):
                await self._rset()
                return Transaction(refused)
            taken = [each for each in recipients if each not in refused]
            reply = await self._data(mime, taken, before_body)
        except StageFailedError as error:
            await self._recover(error.failure)
            return Transaction(refused, failure=error.failure)
        except BaseException:
            self.abort()
            raise
        finally:
            self.used_seconds = monotonic_seconds()
        return Transaction(refused, reply=reply)

    async def _mail(self, envelope_from: str, size_bytes: int) -> None:
        parameters = []
        if self._smtp.supports_extension("size"):
            limit = self._smtp.esmtp_extensions["size"].strip()
            # RFC 1870: a limit of 0, or none, says that there is no fixed one.
            if SIZE_LIMIT.fullmatch(limit) and 0 < int(limit) < size_bytes:
                detail = f"the server takes {limit} bytes at most, the message has {size_bytes}"
                raise fail(Stage.MAIL, Fault.TOO_LARGE, detail)
            parameters.append(f"SIZE={size_bytes}")
        reply = await self._command(Stage.MAIL, "MAIL", f"FROM:<{envelope_from}>", *parameters)
        if not reply.is_positive:
            raise refused_by(Stage.MAIL, reply)

    async def _rcpt(self, recipients: Sequence[str], refused: dict[str, Failure]) -> None:
        for address in recipients:
            reply = await self._command(Stage.RCPT, "RCPT", f"TO:<{address}>")
            if reply.is_positive:
                continue
            error = refused_by(Stage.RCPT, reply)
            if error.failure.reply is None or reply.code == UNAVAILABLE:
                raise error
            refused[address] = error.failure

    async def _data(
        self, mime: bytes, taken: Sequence[str], before_body: BeforeBody | None
    ) -> Reply:
        reply = await self._command(Stage.DATA, "DATA")
        if not reply.is_intermediate:
            raise refused_by(Stage.DATA, reply)
        _check_cancelled()
        if before_body is not None and not await before_body(taken):
            raise fail(Stage.DATA, Fault.ABANDONED, "its mark was not written, so it was not sent")
        protocol = self._smtp.protocol
        if protocol is None:
            raise fail(Stage.DATA, Fault.DISCONNECTED, "the server closed the connection")
        *before, last = blocks(dot_stuffed(mime))
        if before:
            reply = await self._send_long(protocol, before, last)
        else:
            with stage(Stage.DATA):
                protocol.write(last)
            self.stage = Stage.DOT
            with stage(Stage.DOT):
                answer = await protocol.read_response(timeout=self.identity.timeouts.data)
            reply = Reply.parse(*answer)
        if not reply.is_positive:
            raise refused_by(Stage.DOT, reply)
        return reply

    async def _send_long(self, protocol: SMTPProtocol, before: list[bytes], last: bytes) -> Reply:
        """Write the message no faster than the server reads, and read what it says to it.

        It has `command` seconds to take each block, `data` seconds to answer the final dot. One
        that has had enough may say so before the end: so this reads while it writes.
        """
        reading = asyncio.ensure_future(protocol.read_response())
        await asyncio.sleep(0)  # what comes before the reader is there would be thrown away
        try:
            for block in before:
                with stage(Stage.DATA):
                    protocol.write(block)
                    await drain(protocol, reading, seconds=self.identity.timeouts.command)
                    if reading.done():
                        raise self._broken_off(*reading.result())
            with stage(Stage.DATA):
                protocol.write(last)
            self.stage = Stage.DOT
            with stage(Stage.DOT):
                async with asyncio.timeout(self.identity.timeouts.data):
                    answer = await reading
        finally:
            if not reading.cancel() and not reading.cancelled():
                reading.exception()  # nobody else may have asked
        return Reply.parse(*answer)

    def _broken_off(self, code: int, text: str) -> StageFailedError:
        """The server spoke while the message was going out: no more can be said to it."""
        self.abort()
        return refuse(Stage.DATA, code, text)

    async def _command(self, at: Stage, *words: str) -> Reply:
        _check_cancelled()
        self.stage = at
        with stage(at):
            code, text = await self._smtp.execute_command(
                *(word.encode("ascii") for word in words), timeout=self.identity.timeouts.command
            )
        return Reply.parse(code, text)

    async def _rset(self) -> None:
        """Forget the transaction; a session that cannot is closed."""
        try:
            reply = await self._command(Stage.MAIL, "RSET")
        except StageFailedError:
            self.abort()
        else:
            if not reply.is_positive:
                self.abort()

    async def _recover(self, failure: Failure) -> None:
        """Make the session fit for the next message, or close it where it cannot be trusted."""
        said_goodbye = failure.reply is not None and failure.reply.code == UNAVAILABLE
        lost = failure.reply is None and failure.fault is not Fault.TOO_LARGE
        if said_goodbye or lost:
            self.abort()
        elif self.is_open:
            await self._rset()

    async def quit(self) -> None:
        """Say QUIT and close; a server that does not answer is not waited for."""
        with suppress(SMTPException, OSError, ValueError):
            await self._smtp.quit(timeout=QUIT_TIMEOUT_SECONDS)
        self._smtp.close()

    def abort(self) -> None:
        """Close at once, with what the server has not read yet."""
        abort(self._smtp)


def _check_cancelled() -> None:
    # Before Python 3.12 `asyncio.wait_for`, by which replies are read, swallows a cancellation that
    # meets the reply. This finds it before anything more is said.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def abort(smtp: aiosmtplib.SMTP) -> None:
    """Close at once: `close` alone would wait for a peer that has stopped reading."""
    if smtp.transport is not None:
        cast("asyncio.WriteTransport", smtp.transport).abort()
    smtp.close()
