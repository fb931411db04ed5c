"""Define the JSON of mailboxes."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import Field, StrictBool

from app.api.http.fields import Line, Patch, RequestModel, ResponseModel, Secret
from app.api.http.pagination import Page
from app.api.profiles import fields
from app.domain.inbound.mailbox import Mailbox, MailboxTls

MAILBOX: Final = "mbx_0198c5a2d3f07b6e8a4c1d2e3f405162"
EXAMPLE: Final[dict[str, Any]] = {
    "id": MAILBOX,
    "name": "bounces",
    "host": "imap.example.com",
    "port": 993,
    "tls": "implicit",
    "tls_ca": None,
    "username": "bounces@example.com",
    "folder": "INBOX",
    "poll_seconds": 60,
    "delete_reports": False,
    "enabled": True,
    "polled_at": "2026-01-15T09:30:00Z",
    "failing_since": None,
    "reason": None,
    "reports": 12,
    "others": 1,
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
CREATE: Final[dict[str, Any]] = {
    "mailbox": {
        "summary": "A mailbox",
        "value": {
            "name": "bounces",
            "host": "imap.example.com",
            "username": "bounces@example.com",
            "password": "<the password>",
        },
    }
}
UPDATE: Final[dict[str, Any]] = {
    "password": {"summary": "Another password", "value": {"password": "<the new password>"}},
    "off": {"summary": "Disable a mailbox", "value": {"enabled": False}},
}

Host = Annotated[fields.Host, Field(description="The IMAP server: a host name, or an IP address.")]
Port = Annotated[fields.Port, Field(description="The TCP port: usually 993 or 143.")]
Name = Annotated[Line, Field(min_length=1, max_length=100, examples=["bounces"])]
Username = Annotated[Line, Field(min_length=1, max_length=320)]
Password = Annotated[
    Secret, Field(max_length=1000, description=("Write-only: stored encrypted, never returned."))
]
Folder = Annotated[Line, Field(min_length=1, max_length=255)]
PollSeconds = Annotated[
    int, Field(ge=10, le=86_400, strict=True, description="How often Heloise reads the mailbox.")
]
DeleteReports = Annotated[
    StrictBool,
    Field(
        description="Whether Heloise deletes reports after it has read them. It never deletes"
        " other mail."
    ),
]


class MailboxCreate(RequestModel):
    """An IMAP folder that receives reports."""

    name: Name
    host: Host
    port: Port = 993
    tls: MailboxTls = MailboxTls.IMPLICIT
    tls_ca: fields.Certificates | None = Field(
        default=None, description="CA certificates (PEM) to trust instead of the public ones."
    )
    username: Username
    password: Password
    folder: Folder = "INBOX"
    poll_seconds: PollSeconds = 60
    delete_reports: DeleteReports = False
    enabled: StrictBool = Field(default=True, description="Whether Heloise reads the mailbox.")


class MailboxUpdate(Patch, of=MailboxCreate):
    """Changes to a mailbox. Omitted fields stay."""

    password: Password | None = None
    enabled: StrictBool | None = None


class MailboxRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A mailbox and its state, without its password."""

    id: str
    name: str
    host: str
    port: int
    tls: MailboxTls
    tls_ca: str | None
    username: str
    folder: str
    poll_seconds: int
    delete_reports: bool
    enabled: bool
    polled_at: datetime | None = Field(description="When Heloise last read the mailbox.")
    failing_since: datetime | None = Field(
        description="Since when Heloise cannot read the mailbox."
    )
    reason: str | None = Field(description="Why Heloise cannot read the mailbox.")
    reports: int = Field(description="How many mails were reports.")
    others: int = Field(
        description="The number of mails that are not reports, or that Heloise skipped. They stay"
        " in the folder."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, mailbox: Mailbox) -> Self:
        return cls.build(
            mailbox,
            delete_reports=mailbox.deletes_reports,
            enabled=mailbox.disabled_at is None,
        )


class MailboxPage(Page[MailboxRead]):
    """A page of mailboxes, newest first."""
