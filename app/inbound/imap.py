"""Read an IMAP mailbox in a thread, with imap-tools (RFC 3501)."""

import imaplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from imap_tools.errors import ImapToolsError
from imap_tools.mailbox import BaseMailBox

from app.domain.inbound.mailbox import MailboxTls

TIMEOUT_SECONDS: Final = 15.0
# Few reports are larger; what is, is not read.
MAX_MAIL_BYTES: Final = 5_000_000


class ImapError(Exception):
    """A mailbox cannot be read; its text says why, and holds nothing that is not IMAP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapAccount:
    """Where to connect, at an address that was checked, and as whom."""

    host: str
    addresses: Sequence[str]
    port: int
    tls: MailboxTls
    tls_ca: str | None
    username: str
    password: str = field(repr=False)
    folder: str


class ImapFolder(BaseMailBox):
    """A folder, between `open` and `close`; all of its methods block, and raise ImapError.

    `abort`, which any thread may call, ends whatever blocks.
    """

    def __init__(self, where: ImapAccount) -> None:  # what it inherits would connect at once
        self._where = where
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Connect, log in, and open the folder."""
        where = self._where
        with _translate_errors("the server did not speak IMAP"):
            super().__init__()
        with _translate_errors("the server refused the login"):
            has_auth_plain = "AUTH=PLAIN" in self.client.capabilities
            log_in = self.login_utf8 if has_auth_plain else self.login
            log_in(where.username, where.password, initial_folder=None)
        with _translate_errors(f"there is no folder {where.folder!r}"):
            self.folder.set(where.folder)

    def _get_mailbox_client(self) -> imaplib.IMAP4:
        client = _Client(self)
        if self._where.tls is MailboxTls.STARTTLS:
            client.starttls(_make_context(self._where.tls_ca))
        return client

    def connect(self) -> socket.socket:
        """A socket to the first address that answers."""
        for address in self._where.addresses:
            try:
                connection = socket.create_connection((address, self._where.port), TIMEOUT_SECONDS)
            except OSError:
                continue
            self._socket = connection
            if self._where.tls is not MailboxTls.IMPLICIT:
                return connection
            context = _make_context(self._where.tls_ca)
            self._socket = context.wrap_socket(connection, server_hostname=self._where.host)
            return self._socket
        raise ImapError(f"{self._where.host} port {self._where.port} does not answer")

    @property
    def host(self) -> str:
        """The name that the certificate is to be of."""
        return self._where.host

    @property
    def uid_validity(self) -> int:
        """What the folder's numbers count for."""
        with _translate_errors("the server sent no UIDVALIDITY"):
            return int(self.client.response("UIDVALIDITY")[1][0])

    def list_uids(self, last_uid: int, limit: int) -> list[int]:
        """The numbers of the next mails, in their order, at most so many."""
        with _translate_errors("could not search the folder"):
            uids = sorted(map(int, self.uids(f"UID {last_uid + 1}:*")))
        return [uid for uid in uids if uid > last_uid][:limit]

    def get_size(self, uid: int) -> int | None:
        """How many bytes a mail has; None where it is gone."""
        with _translate_errors("could not read a mail"):
            _, sizes = self.client.uid("FETCH", str(uid), "(RFC822.SIZE)")
            response = b"".join(part for part in sizes if isinstance(part, bytes))
            size = response.partition(b"RFC822.SIZE ")[2].partition(b")")[0].partition(b" ")[0]
            return int(size) if size else None

    def fetch_mail(self, uid: int) -> bytes | None:
        """A mail as it is, which stays unread; None where it is gone."""
        with _translate_errors("could not read a mail"):
            _, parts = self.client.uid("FETCH", str(uid), "(BODY.PEEK[])")
        return next((part[1] for part in parts if isinstance(part, tuple)), None)

    def delete_mails(self, uids: Sequence[int]) -> None:
        """Delete mails."""
        with _translate_errors("could not delete mails"):
            self.delete([str(uid) for uid in uids])

    def close(self) -> None:
        """Log out, if the server lets us."""
        with suppress(ImapToolsError, imaplib.IMAP4.error, OSError):
            self.logout()

    def abort(self) -> None:
        """Close the connection at once."""
        client: imaplib.IMAP4 | None = getattr(self, "client", None)  # once it is connected
        connection = self._socket if client is None else client.sock
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        if client is not None:
            with suppress(OSError, ValueError):
                client.file.close()


class _Client(imaplib.IMAP4):
    """Over a connection that is made for it; what is longer than a mail may be is not read."""

    def __init__(self, mailbox: ImapFolder) -> None:
        self._mailbox = mailbox
        super().__init__(mailbox.host, timeout=TIMEOUT_SECONDS)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        del timeout
        return self._mailbox.connect()

    def read(self, size: int) -> bytes:
        if size > 2 * MAX_MAIL_BYTES:
            raise self.abort("too large")
        return super().read(size)


@lru_cache(maxsize=64)
def _make_context(authority: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority)
    if authority is not None:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@contextmanager
def _translate_errors(refusal: str) -> Iterator[None]:
    """Tell what went wrong without the words of a server that may be no mail server."""
    try:
        yield
    except ImapError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise ImapError(
            f"the server's certificate is not trusted: {error.verify_message}"
        ) from error
    except TimeoutError as error:
        raise ImapError("the server did not answer in time") from error
    except (imaplib.IMAP4.abort, ssl.SSLError, OSError) as error:
        raise ImapError(f"{refusal}, or the connection broke") from error
    except (ImapToolsError, imaplib.IMAP4.error, ValueError, TypeError, LookupError) as error:
        raise ImapError(refusal) from error
