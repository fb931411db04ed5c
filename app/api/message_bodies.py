"""What a request says of a message, and of the messages that are wanted."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, StrictBool, model_validator

from app.accept.draft import Draft, DsnWish, Importance
from app.api.attachment_bodies import MAX_ATTACHMENTS, AttachmentBody
from app.api.bodies import Address, Body, Instant, Line, Text, one_or_several
from app.api.paging import Paging
from app.api.template_bodies import Locale
from app.domain.addresses import MAX_ADDRESS_CHARACTERS, known_address, make_mailbox
from app.domain.calendar import Calendar
from app.domain.dsn import DsnNotify, DsnReturn
from app.domain.list_unsubscribe import ListUnsubscribe, parse_mailto, parse_page
from app.domain.search import Search, words
from app.domain.status import RecipientEvent
from app.domain.types import MAX_RECIPIENTS, Guarantee, MessageStatus, Priority

MAX_HEADERS: Final = 50
MAX_TAGS: Final = 20
MAX_METADATA: Final = 50
MAX_REPLY_TO: Final = 50
MAX_SUBJECT_CHARACTERS: Final = 998


def _short_keys(metadata: dict[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not 1 <= len(key) <= 64 or len(value) > 512:  # noqa: PLR2004 - said in the message
            raise ValueError(f"{key[:64]!r}: a key has 1 to 64 characters, a value at most 512")
    return metadata


def _address(text: str) -> str:
    return make_mailbox(text).address


def _wanted(text: str) -> str:
    if " " in text.strip() and '"' not in text:
        raise ValueError("no address has a blank; in a URL write %2B where it has a +")
    return known_address(text)


def _return_path(text: str) -> str:
    return _address(text) if text else text


def _invitation(text: str) -> str:
    Calendar(text)
    return text


Addresses = Annotated[list[Address], one_or_several(Address)]
Recipients = Annotated[Addresses, Field(max_length=MAX_RECIPIENTS)]
Wanted = Annotated[Line, Field(max_length=MAX_ADDRESS_CHARACTERS), AfterValidator(_wanted)]
SomeWanted = Annotated[list[Wanted], one_or_several(Wanted)]
ReturnPath = Annotated[Line, Field(max_length=320), AfterValidator(_return_path)]
Tag = Annotated[Line, Field(min_length=1, max_length=64)]


class UnsubscribeBody(Body):
    """How a reader leaves the list: a page, an address, or both (RFC 2369)."""

    url: Annotated[Line, Field(max_length=2000), AfterValidator(parse_page)] | None = Field(
        default=None,
        description="Written in ASCII, at most 800 bytes long.",
        examples=["https://example.com/leave?m=42"],
    )
    mailto: Annotated[Line, Field(max_length=1000), AfterValidator(parse_mailto)] | None = Field(
        default=None,
        description="An address, with the subject by which `POST /inbound/bounces` and mailboxes"
        " know what the reader wants: `?subject=unsubscribe`, which is added if left out, or"
        " `?subject=unsubscribe%20TAG` for messages with that tag alone.",
        examples=["leave@example.com"],
    )
    one_click: bool = Field(
        default=False,
        strict=True,
        description="Whether a POST to the page is all it takes (RFC 8058), which large providers"
        " ask of bulk mail. The message is to have a DKIM signature then.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.value()
        return self

    def value(self) -> ListUnsubscribe:
        """The same as accept takes it; raises ValueError."""
        return ListUnsubscribe(url=self.url, mailto=self.mailto, is_one_click=self.one_click)


class DsnBody(Body):
    """Notifications to ask for, of servers that offer it (RFC 3461). The id is the message's."""

    notify: list[DsnNotify] = Field(
        default_factory=list,
        max_length=3,
        description="Of what; `never` stands alone. Left out, what servers do for anybody.",
    )
    returns: DsnReturn | None = Field(
        default=None, alias="return", description="How much of the message comes back."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if DsnNotify.NEVER in self.notify and len(self.notify) > 1:
            raise ValueError("`never` goes with none of the others")
        return self

    def wish(self) -> DsnWish:
        """The same as accept takes it."""
        return DsnWish(tuple(dict.fromkeys(self.notify)), self.returns)


class MessageCreate(Body):
    """A message to send."""

    profile: Text | None = Field(
        default=None,
        max_length=100,
        description="The profile's id or name; the tenant's default profile, if left out.",
    )
    sender: Address | None = Field(
        default=None,
        alias="from",
        description="Who sends; the profile's `default_from`, if left out.",
    )
    to: Recipients = Field(
        default_factory=list,
        description="Addresses in any script. A local part that is not ASCII goes through servers"
        " with SMTPUTF8 alone. One that has dots in other places than between letters is quoted:"
        ' `"abc."@docomo.example`.',
    )
    cc: Recipients = Field(default_factory=list)
    bcc: Recipients = Field(
        default_factory=list, description="Get the message too; stand in none of its headers."
    )
    reply_to: Addresses = Field(default_factory=list, max_length=MAX_REPLY_TO)
    subject: str = Field(default="", max_length=MAX_SUBJECT_CHARACTERS)
    text: Text | None = Field(default=None, description="The plain text. Give text, html or both.")
    html: Text | None = Field(default=None, description="The same as HTML.")
    template: Text | None = Field(
        default=None,
        max_length=100,
        description="The id or name of a template that subject, text and html are made from, now."
        " None of these is given then.",
        examples=["receipt"],
    )
    variables: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="What stands in the template as `{{ name }}`.",
        examples=[{"name": "Ann"}],
    )
    locale: Locale | None = Field(
        default=None, description="Which language of the template, as far as it has it."
    )
    calendar: Annotated[Text, AfterValidator(_invitation)] | None = Field(
        default=None,
        description="An invitation, as iCalendar text with its METHOD, beside text and HTML.",
    )
    agent: Address | None = Field(
        default=None,
        alias="sender",
        description="Who sends it in the name of `from`: the header field Sender.",
    )
    return_path: ReturnPath | None = Field(
        default=None,
        description="Where failures are reported to (MAIL FROM), if not to `from`; empty for"
        " nobody (`<>`), as automatic answers have it.",
        examples=["bounces@example.com"],
    )
    verp: StrictBool = Field(
        default=False,
        description="Whether failures of each recipient are reported to an address of its own,"
        " `bounces+<message>-<recipient>@example.com`, made from `return_path` or `from`: each is"
        " sent to in a transaction of its own then, and `POST /inbound/bounces` knows whose a"
        " report is.",
    )
    list_unsubscribe: UnsubscribeBody | None = None
    auto_submitted: Literal["auto-generated", "auto-replied"] | None = Field(
        default=None, description="That no person wrote it (RFC 3834): keeps absence notes away."
    )
    importance: Importance | None = Field(
        default=None, description="What readers are shown; it says nothing of when it is sent."
    )
    dsn: DsnBody | None = None
    attachments: list[AttachmentBody] = Field(
        default_factory=list,
        max_length=MAX_ATTACHMENTS,
        description="Files to send with it, in their order.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        max_length=MAX_HEADERS,
        description="More header fields, such as `X-Campaign`. Those that Heloise writes itself"
        " are refused.",
    )
    tags: list[Tag] = Field(
        default_factory=list, max_length=MAX_TAGS, description="To find messages by."
    )
    metadata: Annotated[
        dict[Text, Text], Field(max_length=MAX_METADATA), AfterValidator(_short_keys)
    ] = Field(
        default_factory=dict,
        description="Kept with the message and answered with it; never sent.",
    )

    send_at: Instant | None = Field(
        default=None,
        description="When to send it, within a year (RFC 3339, with its offset); at once, if left"
        " out or in the past. Until then its status is `scheduled`.",
        examples=["2026-12-24T08:00:00+01:00"],
    )
    expires_at: Instant | None = Field(
        default=None,
        description="When to give up, at most 30 days after it is to be sent. Left out, so long"
        " after that as the profile's `retry.max_age_seconds`, or the service, says.",
    )
    priority: Priority = Field(
        default=Priority.NORMAL,
        description="Which of the profile's waiting messages go first. A `high` message overtakes"
        " `normal` ones that are up to 9 minutes older, and those overtake `low` ones that are up"
        " to a minute older: nothing starves.",
    )
    guarantee: Guarantee = Field(
        default=Guarantee.AT_LEAST_ONCE,
        description="What is done where the server's answer to a transmission was lost."
        " `at_least_once` sends again; `at_most_once` never does: the recipient becomes"
        " `uncertain`, and waits for `POST /messages/{id}/resolve`.",
    )

    sensitive: bool = Field(
        default=False,
        strict=True,
        description="Whether its content is for its server alone: it is stored encrypted under a"
        " key of its own, which is destroyed once the message is final, and nobody reads it here.",
    )

    @model_validator(mode="after")
    def _made_from_one(self) -> Self:
        written = "subject" in self.model_fields_set or (self.text, self.html) != (None, None)
        if self.template is not None and written:
            raise ValueError("subject, text and html come from the template: leave them out")
        if self.template is None and (self.variables or self.locale is not None):
            raise ValueError("variables and locale go with a template: name it, or leave them out")
        return self

    def draft(self) -> Draft:
        """The message as `accept` takes it, but for what a template makes."""
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
            unsubscribe=None if self.list_unsubscribe is None else self.list_unsubscribe.value(),
            auto_submitted=self.auto_submitted,
            importance=self.importance,
            dsn=None if self.dsn is None else self.dsn.wish(),
            attachments=tuple(each.attachment() for each in self.attachments),
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
    """What became of an uncertain recipient, as somebody found out."""

    SENT = "sent"
    BOUNCED = "bounced"
    RETRY = "retry"


RESOLUTION_EVENTS: Final[Mapping[Resolution, RecipientEvent]] = {
    Resolution.SENT: RecipientEvent.DELIVER,
    Resolution.BOUNCED: RecipientEvent.BOUNCE,
    Resolution.RETRY: RecipientEvent.REQUEUE,
}


class MessageResolve(Body):
    """What became of a message's uncertain recipients."""

    recipients: SomeWanted | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_RECIPIENTS,
        description="Their addresses; null: all that are uncertain.",
    )
    resolution: Resolution = Field(
        alias="as",
        description="`sent`: the server had taken it. `bounced`: it had refused it. `retry`: send"
        " it once more, on the caller's word that this is right.",
    )


class MessageRetry(Body):
    """Whom to send a message to once more."""

    recipients: SomeWanted | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_RECIPIENTS,
        description="The addresses of some who did not get it; null: all of those.",
    )


class MessageUpdate(Body):
    """What to change of a message that is scheduled; what is left out stays."""

    send_at: Instant | None = Field(
        default=None, description="Another time, within a year; null or a past one: at once."
    )
    expires_at: Instant | None = Field(
        default=None,
        description="When to give up, at most 30 days after it is to be sent. Left out, it stays as"
        " long after that as it was.",
    )
    priority: Priority | None = None


class MessageWanted(Body):
    """Which messages are wanted: those that match everything given."""

    status: Annotated[list[MessageStatus], one_or_several(MessageStatus)] = Field(
        default_factory=list, max_length=20, description="One of these; any, if left out."
    )
    profile: Text | None = Field(default=None, max_length=100, description="Its id or name.")
    tag: Text | None = Field(default=None, max_length=64)
    recipient: Wanted | None = Field(
        default=None, description="An address in to, cc or bcc, in any letter case."
    )
    message_id: Text | None = Field(
        default=None,
        max_length=512,
        description="The header field Message-ID, with its brackets or without.",
        examples=["<0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>"],
    )
    created_after: Instant | None = Field(
        default=None, description="At this time or later (RFC 3339, with its offset)."
    )
    created_before: Instant | None = Field(default=None, description="Before this time.")


class MessageQuery(MessageWanted, Paging):
    """Which messages are wanted, and which part of them."""

    subject: Text | None = Field(
        default=None,
        max_length=200,
        description="Words that the subject has, or beginnings of them, in any order and case. So"
        " are 20000 messages looked through at a time: a page may have few, or none, and go on.",
        examples=["receipt jan"],
    )
    metadata: list[Text] = Field(
        default_factory=list,
        max_length=10,
        description="`key:value`, which the message has in its metadata, or a key with any value;"
        " looked through likewise.",
        examples=[["order:42"]],
    )

    def search(self) -> Search | None:
        """What is looked for by words, if anything."""
        if self.subject is None and not self.metadata:
            return None
        pairs = (each.partition(":") for each in self.metadata)
        return Search(
            subject=tuple(words(self.subject or "")),
            metadata=tuple((key, value if colon else None) for key, colon, value in pairs),
        )


class Action(StrEnum):
    """What is done to many messages."""

    CANCEL = "cancel"
    RETRY = "retry"
    RESOLVE = "resolve"


class MessageActions(Body):
    """What to do to which messages."""

    action: Action
    resolution: Resolution | None = Field(
        default=None,
        alias="as",
        description="With `resolve`: what became of every uncertain recipient.",
    )
    wanted: MessageWanted = Field(
        alias="filter", description="As the list of messages takes it; at least one thing."
    )
    dry_run: bool = Field(
        default=True,
        strict=True,
        description="Whether to count only. `false` does it.",
    )
    cursor: Text | None = Field(
        default=None, max_length=64, description="The `next_cursor` of the previous response."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.action is Action.RESOLVE) is not (self.resolution is not None):
            raise ValueError("`as` goes with the action resolve, and with no other")
        if self.wanted == MessageWanted():
            raise ValueError("the filter is empty: say which messages are meant")
        return self


class AttemptQuery(Paging):
    """Which attempts are wanted, and with how much of them."""

    transcript: bool = Field(
        default=False, description="Whether to show each attempt's dialogue, without secrets."
    )
