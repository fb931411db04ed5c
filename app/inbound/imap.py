"""Read an IMAP mailbox in a thread, with imap-tools (RFC 3501)."""

import imaplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Final

from imap_tools.errors import ImapToolsError
from imap_tools.mailbox import BaseMailBox

from app.domain.inbound.mailbox import MailboxTls
from app.inbound.imap_account import MAX_MAIL_BYTES, ImapAccount, ImapError

TIMEOUT_SECONDS: Final = 15.0


class ImapFolder(BaseMailBox):
    """An IMAP folder, between `open` and `close`. Methods block and raise ImapError.

    Any thread may call `abort` to end a blocking call.
    """

    def __init__(self, account: ImapAccount) -> None:  # the base class would connect at once
        self._account = account
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Connect, log in and select the folder."""
        account = self._account
        with _translate_errors("the server did not speak IMAP"):
            super().__init__()
        with _translate_errors("the server refused the login"):
            has_auth_plain = "AUTH=PLAIN" in self.client.capabilities
            log_in = self.login_utf8 if has_auth_plain else self.login
            log_in(account.username, account.password, initial_folder=None)
        with _translate_errors(f"there is no folder {account.folder!r}"):
            self.folder.set(account.folder)

    def _get_mailbox_client(self) -> imaplib.IMAP4:
        client = _Client(self)
        if self._account.tls is MailboxTls.STARTTLS:
            client.starttls(_make_context(self._account.tls_ca))
        return client

    def connect(self) -> socket.socket:
        """Connect to the first address that answers."""
        for address in self._account.addresses:
            try:
                connection = socket.create_connection(
                    (address, self._account.port), TIMEOUT_SECONDS
                )
            except OSError:
                continue
            self._socket = connection
            if self._account.tls is not MailboxTls.IMPLICIT:
                return connection
            context = _make_context(self._account.tls_ca)
            self._socket = context.wrap_socket(connection, server_hostname=self._account.host)
            return self._socket
        raise ImapError(f"{self._account.host} port {self._account.port} does not answer")

    @property
    def host(self) -> str:
        """The name that the certificate must have."""
        return self._account.host

    @property
    def uid_validity(self) -> int:
        """The folder's UIDVALIDITY (RFC 9051 section 2.3.1.1)."""
        with _translate_errors("the server sent no UIDVALIDITY"):
            return int(self.client.response("UIDVALIDITY")[1][0])

    def list_uids(self, last_uid: int, limit: int) -> list[int]:
        """Return up to `limit` UIDs after `last_uid`, in order."""
        with _translate_errors("could not search the folder"):
            uids = sorted(map(int, self.uids(f"UID {last_uid + 1}:*")))
        return [uid for uid in uids if uid > last_uid][:limit]

    def get_size(self, uid: int) -> int | None:
        """Return a mail's size in bytes, or None if it is gone."""
        with _translate_errors("could not read a mail"):
            _, sizes = self.client.uid("FETCH", str(uid), "(RFC822.SIZE)")
            response = b"".join(part for part in sizes if isinstance(part, bytes))
            size = response.partition(b"RFC822.SIZE ")[2].partition(b")")[0].partition(b" ")[0]
            return int(size) if size else None

    def fetch_mail(self, uid: int) -> bytes | None:
        """Return a mail and leave it unread, or None if it is gone."""
        with _translate_errors("could not read a mail"):
            _, parts = self.client.uid("FETCH", str(uid), "(BODY.PEEK[])")
        return next((part[1] for part in parts if isinstance(part, tuple)), None)

    def delete_mails(self, uids: Sequence[int]) -> None:
        """Delete mails."""
        with _translate_errors("could not delete mails"):
            self.delete([str(uid) for uid in uids])

    def close(self) -> None:
        """Log out, ignoring errors."""
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
    """An IMAP client on a given socket that refuses to read oversized data."""

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
    """Raise ImapError without quoting a server that may not be a mail server."""
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
