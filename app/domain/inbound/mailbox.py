"""Define mailboxes: IMAP folders that receive bounces and complaints."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class MailboxTls(StrEnum):
    """The TLS mode of an IMAP connection (RFC 8314). Heloise verifies the certificate."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """An IMAP folder with its server, its state and no secret.

    Mails with a UID above `last_uid` are unread; UIDs are valid for `uid_validity` (RFC 3501
    section 2.3.1.1). `reports` and `others` count mails that were reports, and that were not.
    """

    id: str
    tenant_id: str
    name: str
    host: str
    port: int
    tls: MailboxTls
    tls_ca: str | None
    username: str
    folder: str
    poll_seconds: int
    deletes_reports: bool
    disabled_at: datetime | None
    uid_validity: int | None = None
    last_uid: int = 0
    next_poll_at: datetime
    polled_at: datetime | None = None
    failing_since: datetime | None = None
    reason: str | None = None
    reports: int = 0
    others: int = 0
    created_at: datetime
    updated_at: datetime
