"""Define the log of SMTP submission sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSession:
    """A finished session of the submission server, and what the server replied.

    A field is None if the session did not get that far. `tls` has the version and the cipher,
    `login` the user name. The counts are of all transactions and messages. `transactions` has the
    first ones: `mail_from`, `mail_reply`, `recipients` (`address`, `reply`), `reply` and
    `message_id`. `message_ids` has those of accepted messages.
    """

    id: str
    tenant_id: str | None
    api_key_id: str | None
    profile_id: str | None
    client_address: str | None
    client_port: int | None
    tls: str | None
    login: str | None
    login_reply: str | None
    ehlo_name: str | None
    outcome: str
    started_at: datetime
    ended_at: datetime
    message_count: int
    transaction_count: int
    transactions: Sequence[Mapping[str, Any]]
    message_ids: Sequence[str]
