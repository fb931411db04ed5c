"""Serve one client: read commands, do what they ask, reply."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Protocol

from app.accept.build import check_message_size
from app.api.requests.body_memory import Budget
from app.api.requests.body_reader import Pace
from app.domain.errors import (
    Forbidden,
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.outcome.replies import Reply
from app.submission import replies
from app.submission.commands import MAX_COMMAND_BYTES, Mail, Rcpt
from app.submission.content import Trace
from app.submission.dialogue import (
    Action,
    CheckRecipient,
    CheckSender,
    Dialogue,
    Do,
    Envelope,
    Login,
    ReceiveChunk,
)
from app.submission.reader import BareLineEndError, Content, DataDecoder, LineTooLongError
from app.submission.replies import CLOSING_CODES, Stage, format_reply, problem_reply
from app.submission.sasl import Credentials
from app.submission.session_record import CLIENT_GONE, Identity, Journal, LoginRefusedError
from app.submission.stream import ClientGoneError, ClientStream

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 300.0  # RFC 5321 section 4.5.3.2.7
LOGIN_SECONDS: Final = 60.0  # for all that comes before the login
# A client that sends on after this much is not told before its final dot that it was in vain.
MAX_DISCARDED_FACTOR: Final = 2


class Account(Protocol):
    """What a login opens. Its methods raise a Problem, which becomes the reply."""

    @property
    def identity(self) -> Identity:
        """Whose key it is, and the profile that it sends through."""
        ...

    async def renew(self) -> None:
        """Check before each message that the login is still good."""
        ...

    async def check_sender(self, mail: Mail) -> None:
        """Raise Forbidden or TooLarge if MAIL is not acceptable."""
        ...

    async def check_recipient(self, rcpt: Rcpt, count: int) -> None:
        """Raise Forbidden or QuotaExceeded if the recipient, the `count`th, is not acceptable."""
        ...

    async def submit(self, envelope: Envelope, content: bytes, trace: Trace) -> str:
        """Store the message durably, and return its id."""
        ...


@frozen_dataclass(kw_only=True)
class SessionConfig:
    """What all sessions share.

    `log_in` takes credentials and the client's address; it raises a Problem or LoginRefusedError.
    `check_client_name` raises ValueError, with the text of the reply 504, for a name in EHLO that
    it refuses. `context` returns the TLS context, or None without TLS. With `reveals_client` the
    Received field has the client's address.
    """

    log_in: Callable[[Credentials, str | None], Awaitable[Account]]
    check_client_name: Callable[[str], object] = str
    now: Callable[[], datetime]
    hostname: str
    budget: Budget
    max_message_bytes: int
    max_recipients: int
    context: Callable[[], ssl.SSLContext | None]
    allows_plaintext_login: bool
    reveals_client: bool = False


class Session:
    """One client's session, from the greeting to the end."""

    def __init__(
        self, stream: ClientStream, config: SessionConfig, journal: Journal, *, is_tls: bool
    ) -> None:
        self._stream = stream
        self._config = config
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._dialogue = Dialogue(
            config.hostname,
            check_client_name=config.check_client_name,
            max_message_bytes=config.max_message_bytes,
            max_recipients=config.max_recipients,
            can_start_tls=not is_tls and config.context() is not None,
            is_login_safe=is_tls or config.allows_plaintext_login,
        )
        self._account: Account | None = None
        self._chunks: Content | None = None
        self._holders: tuple[str, ...] = ()
        self._held_bytes = 0
        self._is_ending = self._is_stopping = False
        self._is_storing = False
        self._login_deadline = self._loop.time() + LOGIN_SECONDS

    async def serve(self) -> None:
        """Serve until the client quits, goes away, or has to be sent away."""
        self._write(Reply(220, f"{self._config.hostname} ESMTP Heloise"))
        try:
            while not self._is_ending:
                await self._serve_command()
        except ClientGoneError:
            self._journal.end(CLIENT_GONE)
        except TimeoutError:
            self._end(replies.TIMED_OUT)
        except LineTooLongError:
            self._end(replies.LINE_TOO_LONG)
        except BareLineEndError:
            self._end(replies.BARE_LINE_END)
        except asyncio.CancelledError:
            self._end(replies.SHUTTING_DOWN)
            raise
        finally:
            self._release()
            self._stream.close()

    def stop(self) -> None:
        """End the session, after the transaction that is running, if there is one."""
        self._is_stopping = True
        if not self._is_in_transaction:
            self._end(replies.SHUTTING_DOWN)
            self._stream.close()

    @property
    def _is_in_transaction(self) -> bool:
        return self._is_storing or self._dialogue.envelope is not None

    async def _serve_command(self) -> None:
        limit = self._dialogue.max_line_bytes
        line = await self._stream.read_line(limit or MAX_COMMAND_BYTES, self._patience_seconds())
        outcome = self._dialogue.receive(line)
        if not isinstance(outcome, Reply):
            reply = await self._perform(outcome)
        else:
            reply = outcome
            if reply.is_refusal and limit is None:
                self._journal.refuse(line, reply)
            elif reply.is_refusal:  # the line is part of a password
                self._journal.note_login_refusal(reply)
        if not self._dialogue.is_in_chunks:
            self._release()
        self._journal.note_command(self._dialogue.client_name, reply)
        if reply is not replies.START_TLS:  # it was sent with the handshake
            self._write(reply)
        if reply.code in CLOSING_CODES:
            self._close_after(reply)
        elif self._dialogue.is_over:
            self._end(replies.TOO_MANY_ERRORS)
        elif self._is_stopping and not self._is_ending and not self._is_in_transaction:
            self._end(replies.SHUTTING_DOWN)

    def _patience_seconds(self) -> float:
        if self._account is not None:
            return IDLE_SECONDS
        return max(0.0, self._login_deadline - self._loop.time())

    def _write(self, reply: Reply) -> None:
        self._stream.write(format_reply(reply))
        self._journal.count(reply)

    def _end(self, reply: Reply) -> None:
        self._write(self._close_after(reply))

    def _close_after(self, reply: Reply) -> Reply:
        """Note that the session ends with this reply, and return it."""
        self._journal.end(str(reply))
        self._is_ending = True
        return reply

    async def _perform(self, action: Action) -> Reply:  # noqa: PLR0911 - one for each action
        match action:
            case Login(credentials):
                return await self._log_in(credentials)
            case CheckSender(mail):
                return await self._check_sender(mail)
            case CheckRecipient(rcpt):
                return await self._check_recipient(rcpt)
            case ReceiveChunk(size_bytes, is_last):
                return await self._receive_chunk(size_bytes, is_last=is_last)
            case Do.RECEIVE_DATA:
                return await self._receive_data()
            case Do.START_TLS:
                return await self._start_tls()
            case Do.QUIT:
                self._journal.end("the client quit")
                return replies.GOODBYE

    async def _start_tls(self) -> Reply:
        context = self._config.context()
        if context is None:
            return Reply(454, "TLS is not available; try again later", "4.7.0")
        if self._stream.has_input:  # it could be slipped into the session behind TLS
            return self._close_after(replies.TLS_PIPELINED)
        try:
            await self._stream.start_tls(context, format_reply(replies.START_TLS))
        except ClientGoneError as gone:
            self._journal.end(describe_tls_failure(gone.__cause__))
            raise
        self._dialogue.tls_started()
        self._journal.note_tls(self._stream.tls)
        return replies.START_TLS

    async def _log_in(self, credentials: Credentials) -> Reply:
        self._journal.note_login(credentials)
        self._dialogue.login_failed()  # until it is known to be right
        owner: Identity | None = None
        with _replying(Stage.LOGIN) as outcome:
            try:
                client = self._journal.client_address
                self._account = await self._config.log_in(credentials, client)
                owner = self._account.identity
            except LoginRefusedError as refused:
                owner = refused.owner
                raise refused.problem from None
            self._dialogue.logged_in()
            outcome.reply = replies.LOGGED_IN
        self._journal.note_login_reply(outcome.reply, owner)
        return outcome.reply

    async def _check_sender(self, mail: Mail) -> Reply:
        account = self._logged_in()
        with _replying(Stage.SENDER) as outcome:
            try:
                await account.renew()
            except (Unauthenticated, Forbidden) as problem:  # the key was revoked, or changed
                # Another tenant's key in the same session would get this one's log.
                reply = self._close_after(problem_reply(problem, Stage.LOGIN))
                return self._journal.mail(mail.address, reply)
            await account.check_sender(mail)
            self._dialogue.sender_accepted(mail)
            outcome.reply = replies.SENDER_OK
        return self._journal.mail(mail.address, outcome.reply)

    async def _check_recipient(self, rcpt: Rcpt) -> Reply:
        with _replying(Stage.RECIPIENT) as outcome:
            envelope = self._dialogue.envelope
            count = 0 if envelope is None else len(envelope.rcpts)
            await self._logged_in().check_recipient(rcpt, count + 1)
            self._dialogue.recipient_accepted(rcpt)
            outcome.reply = replies.RECIPIENT_OK
        return self._journal.rcpt(rcpt.address, outcome.reply)

    async def _receive_data(self) -> Reply:
        content = Content(self._config.max_message_bytes)
        decoder = DataDecoder(content)
        self._write(replies.START_DATA)
        pace = Pace()
        while (rest := decoder.feed(await self._read(pace))) is None:
            self._hold(content)
            if self._is_hopeless(content.size_bytes):
                return self._finish(self._too_large(content.size_bytes))
        self._stream.put_back(rest)
        self._hold(content)
        return await self._store(content)

    async def _receive_chunk(self, size_bytes: int, *, is_last: bool) -> Reply:
        """Read a chunk (RFC 3030 section 2). One that is refused is read too: it follows anyway."""
        refusal = self._dialogue.missing_envelope()
        if self._account is None:  # nothing of a stranger's is read
            return self._finish(refusal or replies.NEEDS_LOGIN)
        content = self._chunks or Content(self._config.max_message_bytes)
        if self._is_hopeless(content.size_bytes + size_bytes):
            return self._finish(self._too_large(content.size_bytes + size_bytes))
        pace, left = Pace(), size_bytes
        while left:
            block = await self._read(pace, left)
            left -= len(block)
            if refusal is None:
                content.add(block)
                self._hold(content)
        if refusal is not None:
            self._journal.refuse(b"BDAT", refusal)
            return refusal
        if is_last or content.is_too_large or content.problem is not None:
            return await self._store(content)
        self._chunks = content
        self._dialogue.chunk_received()
        return Reply(250, f"{size_bytes} bytes received", "2.0.0")

    async def _read(self, pace: Pace, max_bytes: int | None = None) -> bytes:
        before = self._loop.time()
        block = await self._stream.read(pace.timeout_seconds, max_bytes)
        pace.record(self._loop.time() - before, len(block))
        return block

    def _is_hopeless(self, size_bytes: int) -> bool:
        return size_bytes > MAX_DISCARDED_FACTOR * self._config.max_message_bytes

    def _finish(self, reply: Reply) -> Reply:
        """End the session with this reply to the content."""
        return self._journal.content(self._close_after(reply))

    def _hold(self, content: Content) -> None:
        """Count the content against the memory that all clients share."""
        if content.problem is not None:
            return
        if not self._holders:
            tenant_id = self._logged_in().identity.tenant_id
            self._holders = (tenant_id, f"source {self._journal.client_address}")
        more, self._held_bytes = content.kept_bytes - self._held_bytes, content.kept_bytes
        try:
            self._config.budget.reserve(self._holders, more)
        except Unavailable as problem:
            content.drop(problem)

    def _release(self) -> None:
        """Forget the content of the message that was begun, if any."""
        self._chunks = None
        if self._holders:
            self._config.budget.release(self._holders, self._held_bytes)
            self._holders, self._held_bytes = (), 0

    async def _store(self, content: Content) -> Reply:
        """Store the message and return the reply to it; the next one may begin."""
        envelope, account = self._dialogue.envelope, self._logged_in()
        self._dialogue.reset()
        if envelope is None:
            raise AssertionError
        if (refused := self._find_content_refusal(content)) is not None:
            return self._journal.content(refused)
        started_at = self._loop.time()
        self._is_storing, message_id = True, None
        with _replying(Stage.CONTENT) as outcome:
            message_id = await account.submit(envelope, content.take(), self._make_trace())
            self._dialogue.message_accepted()
            outcome.reply = Reply(250, f"Queued as {message_id}", "2.0.0")
        self._is_storing = False
        self._journal.profile_id = account.identity.profile_id
        return self._journal.content(
            outcome.reply, message_id, seconds=self._loop.time() - started_at
        )

    def _make_trace(self) -> Trace:
        return Trace(
            client=self._journal.client_address if self._config.reveals_client else None,
            client_name=self._dialogue.client_name or "",
            hostname=self._config.hostname,
            session_id=self._journal.id,
            is_tls=self._stream.tls is not None,
            now=self._config.now(),
        )

    def _find_content_refusal(self, content: Content) -> Reply | None:
        if content.problem is not None:
            return problem_reply(content.problem, Stage.CONTENT)
        if content.is_too_large:
            return self._too_large(content.size_bytes)
        return replies.BARE_IN_CONTENT if content.has_bare_line_ends else None

    def _too_large(self, size_bytes: int) -> Reply:
        try:
            check_message_size(size_bytes, self._config.max_message_bytes)
        except TooLarge as problem:
            return problem_reply(problem, Stage.CONTENT)
        raise AssertionError

    def _logged_in(self) -> Account:
        if self._account is None:
            raise AssertionError
        return self._account


def describe_tls_failure(error: BaseException | None) -> str:
    """Return why a session ended whose TLS handshake failed."""
    reason = getattr(error, "reason", None) or str(error or "") or CLIENT_GONE
    return f"the TLS handshake failed: {reason}"


class _Outcome:
    """The reply that a block ends in."""

    reply: Reply = replies.INTERNAL_ERROR


@contextmanager
def _replying(stage: Stage) -> Iterator[_Outcome]:
    """Turn what the block raises into a reply."""
    outcome = _Outcome()
    try:
        yield outcome
    except Problem as problem:
        outcome.reply = problem_reply(problem, stage)
    except Exception:
        log.exception("could not answer %s", stage.value)
        outcome.reply = replies.INTERNAL_ERROR
