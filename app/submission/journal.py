"""Record what happened in a session, for `GET /submissions`."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from app.domain.ids import new_id
from app.domain.outcome.replies import Reply
from app.submission.commands import Mail, Rcpt

MAX_TRANSACTIONS: Final = 50  # all are counted
MAX_RECIPIENTS: Final = 50  # of a transaction; all are counted
MAX_REPLY_CHARACTERS: Final = 500
MAX_LOGIN_CHARACTERS: Final = 100


class Identity(Protocol):
    """Whose key a session logged in with, and the profile it sends through."""

    @property
    def tenant_id(self) -> str:
        """The tenant's id."""
        ...

    @property
    def key_id(self) -> str | None:
        """The API key's id."""
        ...

    @property
    def profile_id(self) -> str | None:
        """The profile's id."""
        ...


@dataclass(slots=True)
class Journal:
    """What is known of one session. Nothing in it grows without bound."""

    client: str | None
    port: int | None
    now: Callable[[], datetime]
    count_reply: Callable[[int], None]
    count_stored: Callable[[float], None]
    id: str = field(default_factory=lambda: new_id("sub"))
    tls: str | None = None
    login: str | None = None
    login_reply: str | None = None
    ehlo_name: str | None = None
    tenant_id: str | None = None
    api_key_id: str | None = None
    profile_id: str | None = None
    message_count: int = 0
    transaction_count: int = 0
    transactions: list[dict[str, Any]] = field(default_factory=list)
    outcome: str | None = None
    started_at: datetime = field(init=False)
    ended_at: datetime | None = None
    _current: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started_at = self.now()

    def note_client(self, name: str | None) -> None:
        """Note the name in EHLO."""
        self.ehlo_name = name or self.ehlo_name

    def note_tls(self, tls: ssl.SSLObject | None) -> None:
        """Note the version of TLS and its cipher."""
        if tls is not None and (cipher := tls.cipher()) is not None:
            self.tls = f"{tls.version()} {cipher[0]}"

    def note_login(self, username: str) -> None:
        """Note the user name of a login."""
        self.login = username[:MAX_LOGIN_CHARACTERS]

    def note_login_reply(self, reply: Reply, identity: Identity | None) -> None:
        """Note what a login ended in."""
        self.login_reply = _shown(reply)
        if identity is not None:
            self.tenant_id = identity.tenant_id
            self.api_key_id = identity.key_id
            self.profile_id = identity.profile_id

    def mail(self, mail: Mail, reply: Reply) -> Reply:
        """Begin a transaction, and return the reply to MAIL."""
        self.transaction_count += 1
        self._current = {
            "mail_from": mail.address,
            "mail_reply": _shown(reply),
            "recipient_count": 0,
            "recipients": [],
            "reply": None,
            "message_id": None,
        }
        if len(self.transactions) < MAX_TRANSACTIONS:
            self.transactions.append(self._current)
        return reply

    def rcpt(self, rcpt: Rcpt, reply: Reply) -> Reply:
        """Note a recipient, and return the reply to RCPT."""
        self._current["recipient_count"] += 1
        if len(self._current["recipients"]) < MAX_RECIPIENTS:
            recipient = {"address": rcpt.address, "reply": _shown(reply)}
            self._current["recipients"].append(recipient)
        return reply

    def content(
        self, reply: Reply, message_id: str | None = None, *, seconds: float | None = None
    ) -> Reply:
        """Note the reply to the content, which took `seconds` to store, and return it."""
        self._current["reply"] = _shown(reply)
        self._current["message_id"] = message_id
        if message_id is not None:
            self.message_count += 1
        if seconds is not None and reply.is_positive:
            self.count_stored(seconds)
        return reply

    def count(self, reply: Reply) -> None:
        """Count a refusal."""
        if reply.is_refusal:
            self.count_reply(reply.code)

    def end(self, outcome: str) -> None:
        """Note why the session ended; the first reason counts."""
        if self.outcome is None:
            self.outcome, self.ended_at = outcome[:MAX_REPLY_CHARACTERS], self.now()


def _shown(reply: Reply) -> str:
    return str(reply)[:MAX_REPLY_CHARACTERS]
