"""How to log in to a mailbox, and why that fails: what callers know without the IMAP client."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from app.domain.inbound.mailbox import MailboxTls

# Few reports are larger. Larger mail is not read.
MAX_MAIL_BYTES: Final = 5_000_000


class ImapError(Exception):
    """A mailbox cannot be read. Its text gives the reason, but quotes no non-IMAP server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapAccount:
    """The server, its checked addresses, and the credentials."""

    host: str
    addresses: Sequence[str]
    port: int
    tls: MailboxTls
    tls_ca: str | None
    username: str
    password: str = field(repr=False)
    folder: str
