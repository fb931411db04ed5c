"""Record what happened in a session, for `GET /submissions`."""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from app.domain.address.parse import MAX_ADDRESS_CHARACTERS
from app.domain.api_keys import HINT_CHARACTERS, build_hint
from app.domain.api_keys import PREFIX as KEY_PREFIX
from app.domain.errors import Problem
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.ids import new_id
from app.domain.outcome.replies import Reply
from app.submission import replies
from app.submission.sasl import Credentials

# Together these keep a journal below about 100 kB. What is beyond them is counted.
MAX_TRANSACTIONS: Final = 50
MAX_RECIPIENTS: Final = 100  # of all transactions
MAX_REPLY_CHARACTERS: Final = 300
MAX_LOGIN_CHARACTERS: Final = 100
MIN_PASSWORD_CHARACTERS: Final = 4  # what is shorter is part of other words, and no secret
MAX_MESSAGE_IDS: Final = 1000

_PATH: Final = re.compile(r"<([^<>]*)>")
_KEY: Final = re.compile(rf"{KEY_PREFIX}\S{{{HINT_CHARACTERS - len(KEY_PREFIX) + 1},}}")
CLIENT_GONE: Final = "the client closed the connection"


@frozen_dataclass
class Identity:
    """Whose key a session logged in with, or tried to, and the profile it sends through."""

    tenant_id: str
    key_id: str | None
    profile_id: str | None = None


class LoginRefusedError(Exception):
    """The key is a tenant's, but it does not open this login."""

    def __init__(self, problem: Problem, owner: Identity) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.owner = owner


@dataclass(slots=True)
class Journal:
    """What is known of one session. Nothing in it grows without bound."""

    client_address: str | None
    client_port: int | None
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
    message_ids: list[str] = field(default_factory=list)
    outcome: str = ""  # until it ends
    started_at: datetime = field(init=False)
    ended_at: datetime = field(init=False)
    _current: dict[str, Any] | None = None
    _recipient_count: int = 0
    _has_commands: bool = False
    _password: str | None = field(default=None, repr=False)  # until the login is answered

    def __post_init__(self) -> None:
        self.started_at = self.ended_at = self.now()

    @property
    def entry_count(self) -> int:
        """How many transactions and recipients it holds."""
        return len(self.transactions) + self._recipient_count

    @property
    def is_probe(self) -> bool:
        """Whether the client hung up without a command, as a load balancer's probe does."""
        return not self._has_commands and self.outcome == CLIENT_GONE

    def note_command(self, client_name: str | None, reply: Reply) -> None:
        """Note that a command was answered, the name in EHLO, and the end of a message by RSET."""
        self._has_commands = True
        self.ehlo_name = client_name or self.ehlo_name
        if reply is replies.RESET:
            self._current = None

    def note_tls(self, tls: ssl.SSLObject | None) -> None:
        """Note the version of TLS and its cipher."""
        if tls is not None and (cipher := tls.cipher()) is not None:
            self.tls = f"{tls.version()} {cipher[0]}"

    def note_login(self, credentials: Credentials) -> None:
        """Note the user name of a login, but no secret that a client sends in its place."""
        self._password = credentials.password
        self.login = self._hide_secrets(credentials.username)[:MAX_LOGIN_CHARACTERS]

    def note_login_reply(self, reply: Reply, identity: Identity | None) -> None:
        """Note what a login ended in, and whose key it was."""
        self.login_reply = self._hide_secrets(str(reply))[:MAX_REPLY_CHARACTERS]
        self._password = None
        if identity is not None:
            self.tenant_id = identity.tenant_id
            self.api_key_id = identity.key_id
            self.profile_id = identity.profile_id

    def _hide_secrets(self, text: str) -> str:
        """Replace the password, and shorten keys: a client may send either as user name."""
        text = _KEY.sub(lambda match: build_hint(match[0]), text)
        if self._password is None or len(self._password) < MIN_PASSWORD_CHARACTERS:
            return text
        return text.replace(self._password, "(the password)")

    def note_login_refusal(self, reply: Reply) -> None:
        """Note why a login was refused before its credentials were checked."""
        self.login_reply = _shown(reply)

    def refuse(self, line: bytes, reply: Reply) -> None:
        """Note a command that was refused for its form or its place."""
        verb, _, argument = line.decode("utf-8", "replace").partition(" ")
        match verb.upper():
            case "AUTH":
                self.note_login_refusal(reply)
            case "MAIL":
                current = self._current
                self.mail(_find_address(argument), reply)
                if reply is replies.MAIL_TWICE:  # the message that is begun goes on
                    self._current = current
            case "RCPT":
                self.rcpt(_find_address(argument), reply)
            case "DATA" | "BDAT" if self._current is not None:
                self._current["reply"] = _shown(reply)

    def mail(self, address: str, reply: Reply) -> Reply:
        """Begin a transaction, and return the reply to MAIL."""
        self.transaction_count += 1
        self._current = {
            "mail_from": address,
            "mail_reply": _shown(reply),
            "recipient_count": 0,
            "recipients": [],
            "reply": None,
            "message_id": None,
        }
        if len(self.transactions) < MAX_TRANSACTIONS:
            self.transactions.append(self._current)
        return reply

    def rcpt(self, address: str, reply: Reply) -> Reply:
        """Note a recipient, and return the reply to RCPT."""
        if self._current is not None:
            self._current["recipient_count"] += 1
            if self._recipient_count < MAX_RECIPIENTS:
                self._recipient_count += 1
                self._current["recipients"].append({"address": address, "reply": _shown(reply)})
        return reply

    def content(
        self, reply: Reply, message_id: str | None = None, *, seconds: float | None = None
    ) -> Reply:
        """End the transaction with the reply to its content, and return the reply.

        `seconds` is the time that it took to store the message.
        """
        if self._current is not None:
            self._current |= {"reply": _shown(reply), "message_id": message_id}
            self._current = None
        if message_id is not None:
            self.message_count += 1
            if len(self.message_ids) < MAX_MESSAGE_IDS:
                self.message_ids.append(message_id)
        if seconds is not None and reply.is_positive:
            self.count_stored(seconds)
        return reply

    def count(self, reply: Reply) -> None:
        if reply.is_refusal:
            self.count_reply(reply.code)

    def end(self, outcome: str) -> None:
        """Note why the session ended; the first reason counts."""
        if not self.outcome:
            self.outcome, self.ended_at = outcome[:MAX_REPLY_CHARACTERS], self.now()


def _shown(reply: Reply) -> str:
    return str(reply)[:MAX_REPLY_CHARACTERS]


def _find_address(argument: str) -> str:
    """Return the address in an argument that need not be valid."""
    match = _PATH.search(argument)
    return (match[1] if match else argument)[:MAX_ADDRESS_CHARACTERS]
