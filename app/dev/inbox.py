"""Store captured mails as files: the message and its envelope."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

KEEP_MAILS: Final = 1000


class Mail(BaseModel):
    """A captured mail: its session, envelope and subject."""

    model_config = ConfigDict(frozen=True)

    id: str
    received_at: datetime
    ehlo_name: str = Field(description="The client's EHLO name.")
    auth_user: str = Field(description="The user name of the login.")
    mail_from: str
    rcpt_to: tuple[str, ...]
    subject: str
    size_bytes: int


class Inbox:
    """A folder with the `keep` newest mails."""

    def __init__(self, folder: Path, *, keep: int = KEEP_MAILS) -> None:
        self._folder = folder
        self._keep = keep
        folder.mkdir(mode=0o700, exist_ok=True)
        mails = (
            Mail.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json"))
        )
        self._mails = {mail.id: mail for mail in mails}

    def add(self, mail: Mail, content: bytes) -> None:
        """Store a mail, and delete the oldest above the maximum."""
        write_private(self._content_path(mail.id), content)
        # Last, so that every listed mail is complete, even after a crash.
        write_private(self._mail_path(mail.id), mail.model_dump_json().encode())
        self._mails[mail.id] = mail
        for mail_id in list(self._mails)[: -self._keep]:
            self._delete(mail_id)

    def page(self, *, limit: int, after: str | None) -> Sequence[Mail]:
        """List at most `limit` mails that are older than `after`, newest first."""
        newest_first = sorted(self._mails, reverse=True)
        mail_ids = [mail_id for mail_id in newest_first if after is None or mail_id < after]
        return [self._mails[mail_id] for mail_id in mail_ids[:limit]]

    def find(self, mail_id: str) -> Mail | None:
        """Find a mail by id, or return None."""
        return self._mails.get(mail_id)

    def content(self, mail: Mail) -> bytes:
        """Read the message, without dot-stuffing."""
        return self._content_path(mail.id).read_bytes()

    def _delete(self, mail_id: str) -> None:
        del self._mails[mail_id]
        self._mail_path(mail_id).unlink(missing_ok=True)
        self._content_path(mail_id).unlink(missing_ok=True)

    def _mail_path(self, mail_id: str) -> Path:
        return self._folder / f"{mail_id}.json"

    def _content_path(self, mail_id: str) -> Path:
        return self._folder / f"{mail_id}.eml"


def write_private(path: Path, content: bytes) -> None:
    """Write or replace a file that only this user may read, atomically."""
    temporary_path = path.with_suffix(path.suffix + "~")
    descriptor = os.open(temporary_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary_path.replace(path)
