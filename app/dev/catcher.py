"""Run the catch-all SMTP server, strict about EHLO names.

It replies like Postfix with `reject_non_fqdn_helo_hostname`, which refuses the `EHLO localhost` of
containers. It also refuses names below `.invalid`, which no DNS has (RFC 6761 section 6.4), as
strict servers refuse all names without an address.
"""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from app.accept.build import check_message_size
from app.api.requests.body_memory import Budget
from app.dev.first_run import PROFILES
from app.dev.inbox import Inbox, Mail
from app.domain.clock import SystemClock
from app.domain.ehlo import parse_ehlo_name
from app.domain.errors import Unauthenticated
from app.domain.ids import new_id
from app.domain.mime.header_reader import TooComplexError, decode_words, read_header
from app.domain.types import MAX_RECIPIENTS
from app.submission import commands
from app.submission.content import Trace
from app.submission.dialogue import Envelope
from app.submission.listener import Listener
from app.submission.sasl import Credentials
from app.submission.server import Server, ServerConfig
from app.submission.session import SessionConfig
from app.submission.session_record import Identity, Journal

HOSTNAME: Final = "inbox.dev.example"
LOGINS: Final = {profile.name: profile.password for profile in PROFILES}
MIN_MESSAGE_BYTES: Final = 32 * 1024 * 1024  # the lower bound of the limit
BUFFERED_MESSAGES: Final = 8  # of the largest size, in memory at once
MAX_CONNECTIONS: Final = 500
GRACE_SECONDS: Final = 5.0
NO_DOMAIN: Final = ".invalid"


class Catcher:
    """Log clients in, and store their mail in the inbox."""

    def __init__(
        self, inbox: Inbox, *, on_mail: Callable[[Mail], None], max_message_bytes: int
    ) -> None:
        self._inbox = inbox
        self._on_mail = on_mail
        self.max_message_bytes = max(max_message_bytes, MIN_MESSAGE_BYTES)

    async def log_in(self, credentials: Credentials, client: str | None) -> "Account":
        """Return the account of a profile; raises Unauthenticated."""
        del client
        if LOGINS.get(credentials.username) != credentials.password:
            raise Unauthenticated("The user name or the password is wrong.")
        return Account(self, credentials.username)

    def store(self, mail: Mail, content: bytes) -> None:
        """Store a mail and print it."""
        self._inbox.add(mail, content)
        self._on_mail(mail)


class Account:
    """A profile that has logged in; it may send as anyone to anyone."""

    def __init__(self, catcher: Catcher, username: str) -> None:
        self._catcher = catcher
        self._username = username
        self.identity = Identity(username, None, username)

    async def renew(self) -> None:
        """Do nothing: logins do not expire."""

    async def check_sender(self, mail: commands.Mail) -> None:
        """Accept any sender; raises TooLarge."""
        check_message_size(mail.size_bytes or 0, self._catcher.max_message_bytes)

    async def check_recipient(self, rcpt: commands.Rcpt, count: int) -> None:
        """Accept any recipient."""

    async def submit(self, envelope: Envelope, content: bytes, trace: Trace) -> str:
        """Store the mail byte for byte, and return its id."""
        mail = Mail(
            id=new_id("cap"),
            received_at=SystemClock().now(),
            ehlo_name=trace.client_name,
            auth_user=self._username,
            mail_from=envelope.mail.address,
            rcpt_to=tuple(rcpt.address for rcpt in envelope.rcpts),
            subject=_subject(content),
            size_bytes=len(content),
        )
        self._catcher.store(mail, content)
        return mail.id


def _subject(content: bytes) -> str:
    """Return the subject; empty if the header is too complex."""
    try:
        return decode_words(read_header(content).get("subject") or "")
    except TooComplexError:
        return ""


def _check_client_name(name: str) -> None:
    """Raise ValueError, with a strict server's reply, unless the name is a valid EHLO name."""
    try:
        parsed = parse_ehlo_name(name)
    except ValueError:
        fault = "need fully-qualified hostname"
    else:
        if not parsed.endswith(NO_DOMAIN):
            return
        fault = "Host not found"
    raise ValueError(f"<{name}>: Helo command rejected: {fault}")


@asynccontextmanager
async def serve_catcher(catcher: Catcher, listening: socket.socket) -> AsyncIterator[None]:
    """Serve while the block runs; then close the remaining connections."""
    now = SystemClock().now
    max_bytes = catcher.max_message_bytes
    session = SessionConfig(
        log_in=catcher.log_in,
        check_client_name=_check_client_name,
        now=now,
        hostname=HOSTNAME,
        budget=Budget(BUFFERED_MESSAGES * max_bytes, max_bytes),
        max_message_bytes=max_bytes,
        max_recipients=MAX_RECIPIENTS,
        context=lambda: None,
        allows_plaintext_login=True,
    )
    config = ServerConfig(
        session=session,
        proxies=(),
        max_connections=MAX_CONNECTIONS,
        max_connections_per_client=MAX_CONNECTIONS,
        grace_seconds=GRACE_SECONDS,
        new_journal=lambda client, port: Journal(client, port, now, _ignore, _ignore),
        keep=_ignore,
    )
    async with Server(config, [Listener(listening)]).running():
        yield


def _ignore(_: object) -> None:
    """Record nothing: the inbox shows what arrived."""
