"""Define the JSON of messages in requests, and the filters."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, StrictBool, model_validator

from app.accept.draft import Draft, DsnOptions, Importance
from app.api.http.fields import Address, Instant, Line, Locale, RequestModel, Text, allow_single
from app.api.http.pagination import Paging
from app.api.messages.attachment_schemas import MAX_ATTACHMENTS, AttachmentBody
from app.domain.address.parse import MAX_ADDRESS_CHARACTERS, canonical_address, make_named_address
from app.domain.delivery.status import RecipientEvent
from app.domain.dsn_request import DsnNotify, DsnReturn
from app.domain.mime.calendar import Calendar
from app.domain.mime.list_unsubscribe import ListUnsubscribe, parse_mailto, parse_page
from app.domain.search import Search, split_words
from app.domain.types import MAX_RECIPIENTS, Guarantee, MessageSource, MessageStatus, Priority

MAX_HEADERS: Final = 50
MAX_TAGS: Final = 20
MAX_METADATA: Final = 50
MAX_REPLY_TO: Final = 50
MAX_SUBJECT_CHARACTERS: Final = 998


def _check_metadata(metadata: dict[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not 1 <= len(key) <= 64 or len(value) > 512:  # noqa: PLR2004 - said in the message
            raise ValueError(f"{key[:64]!r}: a key has 1 to 64 characters, a value at most 512")
    return metadata


def _parse_address(text: str) -> str:
    return make_named_address(text).address


def _parse_wanted_address(text: str) -> str:
    if " " in text.strip() and '"' not in text:
        raise ValueError("an address has no blank; in a URL write + as %2B")
    return canonical_address(text)


def _parse_return_path(text: str) -> str:
    return _parse_address(text) if text else text


def _check_invitation(text: str) -> str:
    Calendar(text)
    return text


Addresses = Annotated[list[Address], allow_single(Address)]
Recipients = Annotated[Addresses, Field(max_length=MAX_RECIPIENTS)]
RecipientAddress = Annotated[
    Line, Field(max_length=MAX_ADDRESS_CHARACTERS), AfterValidator(_parse_wanted_address)
]
RecipientAddresses = Annotated[list[RecipientAddress], allow_single(RecipientAddress)]
ReturnPath = Annotated[Line, Field(max_length=320), AfterValidator(_parse_return_path)]
Tag = Annotated[Line, Field(min_length=1, max_length=64)]
Metadata = Annotated[
    dict[Text, Text], Field(max_length=MAX_METADATA), AfterValidator(_check_metadata)
]
Variables = dict[str, JsonValue]


class UnsubscribeBody(RequestModel):
    """How a reader unsubscribes: by URL, by mail, or both (RFC 2369)."""

    url: Annotated[Line, Field(max_length=2000), AfterValidator(parse_page)] | None = Field(
        default=None,
        description="At most 800 bytes in ASCII.",
        examples=["https://example.com/leave?m=42"],
    )
    mailto: Annotated[Line, Field(max_length=1000), AfterValidator(parse_mailto)] | None = Field(
        default=None,
        description="An address with the subject that `POST /inbound/bounces` and mailboxes"
        " recognize: `?subject=unsubscribe` (added by default), or `?subject=unsubscribe%20TAG` to"
        " unsubscribe only from messages with that tag.",
        examples=["leave@example.com"],
    )
    one_click: bool = Field(
        default=False,
        strict=True,
        description="Whether a POST to the URL unsubscribes (RFC 8058). Large providers require it"
        " for bulk mail; the message needs a DKIM signature.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.to_list_unsubscribe()
        return self

    def to_list_unsubscribe(self) -> ListUnsubscribe:
        """Convert to the domain's value; raises ValueError."""
        return ListUnsubscribe(url=self.url, mailto=self.mailto, is_one_click=self.one_click)


class DsnBody(RequestModel):
    """Delivery status notifications (RFC 3461), requested from servers that support them."""

    notify: list[DsnNotify] = Field(
        default_factory=list,
        max_length=3,
        description="When servers send a notification. You cannot combine `never` with others."
        " Default: the server decides.",
    )
    returns: DsnReturn | None = Field(
        default=None, alias="return", description="How much of the message a notification returns."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if DsnNotify.NEVER in self.notify and len(self.notify) > 1:
            raise ValueError("`never` excludes the others; leave it or the others out")
        return self

    def to_dsn(self) -> DsnOptions:
        return DsnOptions(tuple(dict.fromkeys(self.notify)), self.returns)


class MessageCreate(RequestModel, defer_build=False):
    """A message to send."""

    profile: Text | None = Field(
        default=None,
        max_length=100,
        description="The profile's id or name. Default: the tenant's default profile.",
    )
    sender: Address | None = Field(
        default=None,
        alias="from",
        description="The sender. Default: the profile's `default_from`.",
    )
    to: Recipients = Field(
        default_factory=list,
        description="Addresses in any script. A non-ASCII local part needs servers with SMTPUTF8."
        ' Quote a local part with unusual dots: `"abc."@docomo.example`.',
    )
    cc: Recipients = Field(default_factory=list)
    bcc: Recipients = Field(default_factory=list, description="Recipients that no header shows.")
    reply_to: Addresses = Field(default_factory=list, max_length=MAX_REPLY_TO)
    subject: str = Field(default="", max_length=MAX_SUBJECT_CHARACTERS)
    text: Text | None = Field(default=None, description="The plain text. Set text, html or both.")
    html: Text | None = Field(default=None, description="The HTML version.")
    template: Text | None = Field(
        default=None,
        max_length=100,
        description="The id or name of a template for subject, text and html. If you set it, leave"
        " out these three. Heloise renders it at once.",
        examples=["receipt"],
    )
    variables: Variables = Field(
        default_factory=dict,
        description="Values for the template's variables, such as `{{ name }}`.",
        examples=[{"name": "Ann"}],
    )
    locale: Locale | None = Field(
        default=None,
        description="The language of the template. Missing parts come from its default language.",
    )
    calendar: Annotated[Text, AfterValidator(_check_invitation)] | None = Field(
        default=None,
        description="An invitation as iCalendar text with a METHOD, next to text and HTML.",
    )
    agent: Address | None = Field(
        default=None,
        alias="sender",
        description="The header Sender: the mailbox that sends on behalf of `from`.",
    )
    return_path: ReturnPath | None = Field(
        default=None,
        description="The address for bounces (MAIL FROM). Default: `from`. An empty text means"
        " `<>`, which is for automatic replies: no bounces.",
        examples=["bounces@example.com"],
    )
    verp: StrictBool = Field(
        default=False,
        description="Whether each recipient gets a bounce address of its own,"
        " `bounces+<message>-<recipient>@example.com`, derived from `return_path` or `from`"
        " (VERP). `POST /inbound/bounces` then knows the recipient of each bounce. Each recipient"
        " takes an SMTP transaction of its own.",
    )
    list_unsubscribe: UnsubscribeBody | None = None
    auto_submitted: Literal["auto-generated", "auto-replied"] | None = Field(
        default=None,
        description="Marks the message as automatic (RFC 3834), which suppresses"
        " out-of-office replies.",
    )
    importance: Importance | None = Field(
        default=None,
        description="The importance that mail programs show. It does not affect when"
        " Heloise sends.",
    )
    dsn: DsnBody | None = None
    attachments: list[AttachmentBody] = Field(
        default_factory=list,
        max_length=MAX_ATTACHMENTS,
        description="Files to attach, in order.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        max_length=MAX_HEADERS,
        description="More headers, such as `X-Campaign`. You cannot set headers that Heloise"
        " writes itself.",
    )
    tags: list[Tag] = Field(
        default_factory=list, max_length=MAX_TAGS, description="Words for finding messages."
    )
    metadata: Metadata = Field(
        default_factory=dict,
        description="Your own data, stored with the message and returned with it. Heloise never"
        " sends it.",
    )

    send_at: Instant | None = Field(
        default=None,
        description="When to send the message: a time within the next year (RFC 3339, with an"
        " offset). Default or in the past: at once. Until then its status is `scheduled`.",
        examples=["2026-12-24T08:00:00+01:00"],
    )
    expires_at: Instant | None = Field(
        default=None,
        description="When to give up, at most 30 days after `send_at`. Default: `send_at` plus the"
        " profile's `retry.max_age_seconds`, or the service's.",
    )
    priority: Priority = Field(
        default=Priority.NORMAL,
        description="Which of the profile's waiting messages go first. A `high` message overtakes"
        " `normal` ones that are up to 9 minutes older; `normal` ones overtake `low` ones that are"
        " up to a minute older. No message waits forever.",
    )
    guarantee: Guarantee = Field(
        default=Guarantee.AT_LEAST_ONCE,
        description="What happens if the server's reply to a transmission is lost. `at_least_once`"
        " sends again. `at_most_once` never sends again: the recipient becomes `uncertain` and"
        " waits for `POST /messages/{id}/resolve`.",
    )

    sensitive: bool = Field(
        default=False,
        strict=True,
        description="Whether only the SMTP server gets the content. Heloise encrypts it with a key"
        " of its own, destroys the key when the message is final, and never returns the content.",
    )

    @model_validator(mode="after")
    def _made_from_one(self) -> Self:
        written = "subject" in self.model_fields_set or (self.text, self.html) != (None, None)
        if self.template is not None and written:
            raise ValueError("the template sets subject, text and html; leave them out")
        if self.template is None and (self.variables or self.locale is not None):
            raise ValueError("variables and locale need a template: set it, or leave them out")
        return self

    def to_draft(self) -> Draft:
        """Convert to a draft, without the content that a template makes."""
        return Draft(
            sender=self.sender,
            to=tuple(self.to),
            cc=tuple(self.cc),
            bcc=tuple(self.bcc),
            reply_to=tuple(self.reply_to),
            subject=self.subject,
            text=self.text,
            html=self.html,
            calendar=None if self.calendar is None else Calendar(self.calendar),
            submitter=self.agent,
            return_path=self.return_path,
            has_verp=self.verp,
            unsubscribe=None
            if self.list_unsubscribe is None
            else self.list_unsubscribe.to_list_unsubscribe(),
            auto_submitted=self.auto_submitted,
            importance=self.importance,
            dsn=None if self.dsn is None else self.dsn.to_dsn(),
            attachments=tuple(attachment.to_attachment() for attachment in self.attachments),
            headers=self.headers,
            tags=tuple(self.tags),
            metadata=self.metadata,
            send_at=self.send_at,
            expires_at=self.expires_at,
            priority=self.priority,
            guarantee=self.guarantee,
            is_sensitive=self.sensitive,
        )


class Resolution(StrEnum):
    """The outcome of an uncertain recipient."""

    SENT = "sent"
    BOUNCED = "bounced"
    RETRY = "retry"


RESOLUTION_EVENTS: Final[Mapping[Resolution, RecipientEvent]] = {
    Resolution.SENT: RecipientEvent.DELIVER,
    Resolution.BOUNCED: RecipientEvent.BOUNCE,
    Resolution.RETRY: RecipientEvent.REQUEUE,
}


class MessageResolve(RequestModel):
    """The outcome of uncertain recipients."""

    recipients: RecipientAddresses | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_RECIPIENTS,
        description="The recipients' addresses. Null: all uncertain ones.",
    )
    resolution: Resolution = Field(
        alias="as",
        description="`sent`: the server accepted the message. `bounced`: the server refused it."
        " `retry`: send the message once more, although the recipient may get it twice.",
    )


class MessageRetry(RequestModel):
    """The recipients to retry."""

    recipients: RecipientAddresses | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_RECIPIENTS,
        description="Addresses of failed recipients. Null: all failed recipients.",
    )


class MessageUpdate(RequestModel):
    """Changes to a scheduled message. Omitted fields stay."""

    send_at: Instant | None = Field(
        default=None, description="A time within the next year. Null or in the past: at once."
    )
    expires_at: Instant | None = Field(
        default=None,
        description="When to give up, at most 30 days after `send_at`. Default: as long after"
        " `send_at` as before.",
    )
    priority: Priority | None = None


class MessageFilters(RequestModel):
    """Filters. A message must match all of them."""

    id: Annotated[list[Text], allow_single(Text)] = Field(
        default_factory=list, max_length=200, description="Only the messages with these ids."
    )
    status: Annotated[list[MessageStatus], allow_single(MessageStatus)] = Field(
        default_factory=list, max_length=20, description="Only messages with one of these statuses."
    )
    profile: Text | None = Field(
        default=None, max_length=100, description="The profile's id or name."
    )
    tag: Text | None = Field(default=None, max_length=64)
    recipient: RecipientAddress | None = Field(
        default=None, description="An address in to, cc or bcc. Case does not matter."
    )
    key: Text | None = Field(
        default=None,
        max_length=80,
        description="The id of the API key that sent it, or `admin:` and the name of an admin key.",
        examples=["key_0198c5a2d3f07b6e8a4c1d2e3f405162"],
    )
    source: MessageSource | None = Field(
        default=None, description="Only messages that reached Heloise in this way."
    )
    request_id: Text | None = Field(
        default=None,
        max_length=128,
        description="The id of the request that sent it (`X-Request-ID`), or of the SMTP session.",
        examples=["req_0198c5a2d3f07b6e8a4c1d2e3f405162"],
    )
    message_id: Text | None = Field(
        default=None,
        max_length=512,
        description="The header Message-ID, with or without brackets.",
        examples=["<0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>"],
    )
    created_after: Instant | None = Field(
        default=None,
        description="Only messages created at this time or later (RFC 3339, with an offset).",
    )
    created_before: Instant | None = Field(
        default=None, description="Only messages created before this time."
    )


class MessageQuery(MessageFilters, Paging):
    """Filters and paging of messages."""

    subject: Text | None = Field(
        default=None,
        max_length=200,
        description="Words or beginnings of words in the subject, in any order and case. Heloise"
        " searches 20000 messages at a time: a page may have few items or none and still have a"
        " `next_cursor`.",
        examples=["receipt jan"],
    )
    metadata: list[Text] = Field(
        default_factory=list,
        max_length=10,
        description="`key:value` in the metadata, or a key with any value. Searched like"
        " `subject`.",
        examples=[["order:42"]],
    )

    def to_search(self) -> Search | None:
        """Parse the search terms, or return None without any."""
        if self.subject is None and not self.metadata:
            return None
        pairs = (pair.partition(":") for pair in self.metadata)
        return Search(
            subject=tuple(split_words(self.subject or "")),
            metadata=tuple((key, value if colon else None) for key, colon, value in pairs),
        )


class Action(StrEnum):
    """An action on many messages."""

    CANCEL = "cancel"
    RETRY = "retry"
    RESOLVE = "resolve"


class MessageActions(RequestModel):
    """An action and the messages that it applies to."""

    action: Action
    resolution: Resolution | None = Field(
        default=None,
        alias="as",
        description="Only with `resolve`: the outcome of every uncertain recipient.",
    )
    message_filter: MessageFilters = Field(
        alias="filter", description="The same filters as `GET /messages`. Set at least one."
    )
    dry_run: bool = Field(
        default=True,
        strict=True,
        description="By default, Heloise only counts the matching messages. Set `false` to act.",
    )
    cursor: Text | None = Field(
        default=None, max_length=64, description="The `next_cursor` of the previous response."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.action is Action.RESOLVE) is not (self.resolution is not None):
            raise ValueError("set `as` with the action resolve, and only then")
        if self.message_filter == MessageFilters():
            raise ValueError("the filter is empty; set at least one condition")
        return self


class AttemptQuery(Paging):
    """Which attempts to return, and in how much detail."""

    transcript: bool = Field(
        default=False,
        description="Whether to include the SMTP dialogue of each attempt, without secrets.",
    )
