"""Define the JSON of SMTP sessions."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field

from app.api.http.fields import Instant, ResponseModel, Text
from app.api.http.pagination import Page, Paging
from app.domain.networks import normalize_address
from app.domain.submissions import SubmissionSession

EXAMPLE: Final[dict[str, Any]] = {
    "id": "sub_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "tenant_id": "ten_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "key_id": "key_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "profile_id": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "client_address": "192.0.2.10",
    "client_port": 50412,
    "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
    "login": "transactional",
    "login_reply": "235 2.7.0 Authenticated",
    "ehlo_name": "localhost",
    "outcome": "the client quit",
    "started_at": "2026-01-15T09:30:00Z",
    "ended_at": "2026-01-15T09:30:01Z",
    "message_count": 1,
    "transaction_count": 1,
    "transactions": [
        {
            "mail_from": "billing@example.com",
            "mail_reply": "250 2.1.0 Sender OK",
            "recipient_count": 1,
            "recipients": [{"address": "ann@example.org", "reply": "250 2.1.5 Recipient OK"}],
            "reply": "250 2.0.0 Queued as msg_0198c5a2d3f07b6e8a4c1d2e3f405162",
            "message_id": "msg_0198c5a2d3f07b6e8a4c1d2e3f405162",
        }
    ],
    "message_ids": ["msg_0198c5a2d3f07b6e8a4c1d2e3f405162"],
}


def _normalize_address(text: str) -> str:
    try:
        return normalize_address(text)
    except ValueError:
        raise ValueError("write an IP address, such as 192.0.2.10") from None


class SubmissionQuery(Paging):
    """Filters. A session must match all of them."""

    client_address: Annotated[Text, AfterValidator(_normalize_address)] | None = Field(
        default=None,
        max_length=64,
        description="The client's IP address.",
        examples=["192.0.2.10"],
    )
    login: Text | None = Field(
        default=None, max_length=100, description="The user name.", examples=["transactional"]
    )
    message: Text | None = Field(
        default=None,
        max_length=64,
        description="The id of a message that the session submitted.",
        examples=["msg_0198c5a2d3f07b6e8a4c1d2e3f405162"],
    )
    profile: Text | None = Field(
        default=None,
        max_length=100,
        description="The profile's id or name. An admin key without `Heloise-Tenant` needs the id.",
    )
    started_after: Instant | None = Field(
        default=None,
        description="Only sessions that started at this time or later (RFC 3339, with an offset).",
    )
    started_before: Instant | None = Field(
        default=None, description="Only sessions that started before this time."
    )


class SubmissionRecipient(ResponseModel):
    """A recipient in RCPT TO."""

    address: str
    reply: str = Field(description="The reply to RCPT.")


class SubmissionTransaction(ResponseModel):
    """An attempt to submit a message."""

    mail_from: str = Field(description="The address in MAIL FROM. Empty for a bounce.")
    mail_reply: str = Field(description="The reply to MAIL.")
    recipient_count: int
    recipients: list[SubmissionRecipient] = Field(
        description="The first recipients: at most 100 in all transactions of a session."
    )
    reply: str | None = Field(
        description="The reply to the content. Null if the client did not send it."
    )
    message_id: str | None = Field(
        description="The id of the message. Null if Heloise did not accept it."
    )


class SubmissionRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """An ended session of an SMTP client. A field is null if the session ended before that step."""

    id: str = Field(
        description="The session's id. The header `Received` of each message contains it, too."
    )
    tenant_id: str | None = Field(
        description="The tenant of the key. Null without a login, or with a key that is not valid."
    )
    key_id: str | None
    profile_id: str | None = Field(description="The profile that the login names.")
    client_address: str | None = Field(description="The client's IP address.")
    client_port: int | None
    tls: str | None = Field(description="The version of TLS and the cipher. Null without TLS.")
    login: str | None = Field(
        description="The user name as the client sent it, at most 100 characters. Heloise never"
        " stores the password. If the user name is an API key, it stores only the beginning of the"
        " key."
    )
    login_reply: str | None = Field(description="The reply to the login.")
    ehlo_name: str | None = Field(description="The name that the client sent in EHLO.")
    outcome: str = Field(
        description="Why the session ended: a sentence, or the reply that ended it."
    )
    started_at: datetime
    ended_at: datetime
    message_count: int = Field(description="The number of accepted messages.")
    transaction_count: int = Field(description="The number of MAIL commands.")
    transactions: list[SubmissionTransaction] = Field(description="The first 50 transactions.")
    message_ids: list[str] = Field(description="The ids of the first 1000 accepted messages.")

    @classmethod
    def of(cls, session: SubmissionSession) -> Self:
        return cls.build(session, key_id=session.api_key_id)


class SubmissionPage(Page[SubmissionRead]):
    """A page of SMTP sessions, newest first."""
