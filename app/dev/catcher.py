"""Run the catch-all SMTP server, strict about EHLO names.

It replies like Postfix with `reject_non_fqdn_helo_hostname`, which refuses the `EHLO localhost` of
containers.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiosmtpd.smtp import DATA_SIZE_DEFAULT, SMTP, AuthResult, Envelope, LoginPassword, Session

from app.dev.first_run import PROFILES
from app.dev.inbox import Inbox, Mail
from app.domain.clock import SystemClock
from app.domain.ehlo import parse_ehlo_name
from app.domain.ids import new_id
from app.domain.mime.header_reader import TooComplexError, decode_words, read_header

HOSTNAME: Final = "inbox.dev.example"
LOGINS: Final = {profile.name: profile.password for profile in PROFILES}
TAKEN: Final = "250 2.0.0 Ok: kept as {}"


class Catcher:
    """What the server does at each command; its `handle_…` names are aiosmtpd's."""

    def __init__(
        self, inbox: Inbox, *, on_mail: Callable[[Mail], None], max_message_bytes: int
    ) -> None:
        self._inbox = inbox
        self._on_mail = on_mail
        self.max_message_bytes = max(max_message_bytes, DATA_SIZE_DEFAULT)

    async def handle_HELO(  # noqa: N802 - as the class says
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str
    ) -> str:
        """Greet a client of 1982, with the same demands."""
        del envelope
        if refusal := _refusal(hostname):
            return refusal
        session.host_name = hostname
        return f"250 {server.hostname}"

    async def handle_EHLO(  # noqa: N802 - as the class says
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        """Greet, unless the client's name is not one."""
        del server, envelope
        if refusal := _refusal(hostname):
            return [refusal]
        session.host_name = hostname
        return responses

    async def handle_MAIL(  # noqa: N802 - as the class says
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Take a sender from whoever has logged in."""
        del server
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_DATA(  # noqa: N802 - as the class says
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep the mail and show it."""
        del server
        login: Any = session.auth_data  # what `_authenticate` has put there
        content = envelope.original_content or b""
        mail = Mail(
            id=new_id("cap"),
            received_at=SystemClock().now(),
            ehlo_name=session.host_name or "",
            auth_user=login.login.decode(errors="replace"),
            mail_from=envelope.mail_from or "",
            rcpt_to=tuple(envelope.rcpt_tos),
            subject=_subject(content),
            size_bytes=len(content),
        )
        self._inbox.add(mail, content)
        self._on_mail(mail)
        return TAKEN.format(mail.id)


def _subject(content: bytes) -> str:
    """What a mail is about; empty where its header is beyond a bound."""
    try:
        return decode_words(read_header(content).get("subject") or "")
    except TooComplexError:
        return ""


def _refusal(name: str) -> str | None:
    """What a strict server answers to a name that no host in the world has."""
    try:
        parse_ehlo_name(name)
    except ValueError:
        return f"504 5.5.2 <{name}>: Helo command rejected: need fully-qualified hostname"
    return None


def _authenticate(
    server: SMTP,
    session: Session,
    envelope: Envelope,
    mechanism: str,
    given: Any,  # noqa: ANN401 - what it holds depends on the mechanism
) -> AuthResult:
    del server, session, envelope, mechanism
    is_known = isinstance(given, LoginPassword) and (
        LOGINS.get(given.login.decode(errors="replace"), "").encode() == given.password != b""
    )
    return AuthResult(success=is_known, handled=False, auth_data=given if is_known else None)


@asynccontextmanager
async def serve_catcher(catcher: Catcher, listening: socket.socket) -> AsyncIterator[None]:
    """Catch while the block runs; connections that are left then are cut."""
    # At each login it warns that a property is deprecated which it sets itself.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def protocol() -> SMTP:
        connections[:] = [
            connection for connection in connections if connection.transport is not None
        ]
        connections.append(_protocol(catcher, loop))
        return connections[-1]

    server = await loop.create_server(protocol, sock=listening)
    try:
        yield
    finally:
        server.close()
        for smtp in connections:
            if smtp.transport is not None:
                smtp.transport.close()


def _protocol(catcher: Catcher, loop: asyncio.AbstractEventLoop) -> SMTP:
    return SMTP(
        catcher,
        hostname=HOSTNAME,
        ident="Heloise's inbox",
        data_size_limit=catcher.max_message_bytes,
        enable_SMTPUTF8=True,
        # `auth_required` would warn at each connection; `handle_MAIL` asks for it.
        auth_require_tls=False,
        authenticator=_authenticate,
        loop=loop,
    )
