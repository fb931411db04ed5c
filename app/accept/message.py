"""From what the caller wants to a message that can be written: resolve, check, render once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.domain.addresses import is_allowed
from app.domain.attachment import Attachment
from app.domain.errors import FieldError, Forbidden, InvalidRequest, TooLarge
from app.domain.ids import new_id
from app.domain.mime import Content, check_header, check_subject, message_id_header, render
from app.domain.routing import EVERYBODY, Routing
from app.domain.types import (
    MAX_RECIPIENTS,
    Guarantee,
    Mailbox,
    NewMessage,
    Priority,
    Profile,
    RecipientAddress,
    RecipientKind,
    SealedContent,
)

MISSING: Final = "missing"
MAX_AGE: Final = timedelta(days=30)
MAX_AHEAD: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class SenderRule:
    """Whom somebody allows to send; without patterns anyone. `who` begins a sentence."""

    who: str
    patterns: Sequence[str]

    def check(self, sender: Mailbox) -> None:
        """Raise Forbidden unless a pattern matches."""
        if is_allowed(sender, self.patterns):
            return
        raise Forbidden(
            "sender-not-allowed",
            f"{self.who} does not send as {sender.address}. It allows {', '.join(self.patterns)}:"
            " use such an address in `from`, or have this one added to its allowed_from.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message as the caller gave it: each value well-formed, nothing decided yet."""

    sender: Mailbox | None
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    headers: Mapping[str, str]
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str]
    send_at: datetime | None = None
    expires_at: datetime | None = None
    priority: Priority = Priority.NORMAL
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    is_sensitive: bool = False


SealContent = Callable[..., SealedContent]  # `Vault.seal_content`


def prepare(
    draft: Draft,
    *,
    profile: Profile,
    allowed_from: Sequence[SenderRule] = (),
    routing: Routing = EVERYBODY,
    now: datetime,
    max_message_bytes: int,
    max_age_seconds: float,
    seal_content: SealContent,
) -> NewMessage:
    """The message as it will be stored and sent, rendered here and never again (invariant 2).

    Raises InvalidRequest naming every wrong field, Forbidden where the profile or another rule
    does not allow the sender or `routing` a recipient, TooLarge where the rendered message has more
    than `max_message_bytes`.
    """
    sender = draft.sender or profile.default_from
    recipients = tuple(_recipients(draft))
    # Nothing is sent before this, and its time runs from then on.
    starts_at = now if draft.send_at is None else max(now, draft.send_at)
    wrong = [*_wrong(draft, sender, recipients), *_wrong_times(draft, now, starts_at)]
    if sender is None or wrong:
        raise _invalid(wrong)
    check_sender(sender, profile, allowed_from)
    check_recipients(recipients, routing)
    _check_size(_content_bytes(draft), max_message_bytes)
    message_id = new_id("msg")
    header = message_id_header(message_id, sender)
    mime = render(_content(draft, sender, recipients, header, starts_at))
    _check_size(len(mime), max_message_bytes)
    return NewMessage(
        id=message_id,
        tenant_id=profile.tenant_id,
        profile_id=profile.id,
        profile_revision=profile.revision,
        envelope_from=sender.address,
        sender=sender,
        recipients=recipients,
        subject=draft.subject,
        message_id_header=header,
        tags=tuple(dict.fromkeys(draft.tags)),
        metadata=dict(draft.metadata),
        mime=mime,
        created_at=now,
        send_at=draft.send_at,
        expires_at=draft.expires_at
        or starts_at + timedelta(seconds=profile.retry.max_age or max_age_seconds),
        priority=draft.priority,
        guarantee=draft.guarantee,
        sealed=seal_content(mime, row=message_id) if draft.is_sensitive else None,
    )


def check_sender(sender: Mailbox, profile: Profile, rules: Iterable[SenderRule]) -> None:
    """Raise Forbidden where the profile, or another rule, does not allow the sender."""
    for rule in (SenderRule(f"The profile {profile.name!r}", profile.allowed_from), *rules):
        rule.check(sender)


def check_recipients(recipients: Iterable[RecipientAddress], routing: Routing) -> None:
    """Raise Forbidden where what is for somebody may go to nobody at all."""
    for each in recipients:
        address = each.mailbox.address
        if routing.destination(address) is None and not routing.is_simulated(address):
            allowed = [", ".join(rule.domains) for rule in routing.rules if rule.domains]
            raise Forbidden(
                "recipient-not-allowed",
                f"{address} is not sent to: only {', and of these '.join(allowed)} are"
                " (allowed_recipient_domains of the tenant, or of the service). Have its domain"
                " added, or set redirect_all_to to get yourself what is for others.",
            )


def _wrong_times(draft: Draft, now: datetime, starts_at: datetime) -> Iterator[FieldError]:
    if starts_at > now + MAX_AHEAD:
        yield _error("send_at", msg="give a time within a year from now")
    expires_at = draft.expires_at
    if expires_at is not None and not starts_at < expires_at <= starts_at + MAX_AGE:
        since = "now" if starts_at == now else "send_at"
        yield _error("expires_at", msg=f"give a time to come, at most 30 days after {since}")


def _recipients(draft: Draft) -> Iterator[RecipientAddress]:
    """Every address once: where it is named twice, the first of to, cc, bcc counts."""
    seen: set[str] = set()
    named = (
        (RecipientKind.TO, draft.to),
        (RecipientKind.CC, draft.cc),
        (RecipientKind.BCC, draft.bcc),
    )
    for kind, mailboxes in named:
        for mailbox in mailboxes:
            address = mailbox.address.lower()
            if address not in seen:
                seen.add(address)
                yield RecipientAddress(mailbox, kind)


def _wrong(
    draft: Draft, sender: Mailbox | None, recipients: tuple[RecipientAddress, ...]
) -> Iterator[FieldError]:
    if sender is None:
        yield _error("from", msg="say who sends: this profile has no default_from", type=MISSING)
    if not recipients:
        yield _error("to", msg="name at least one recipient in to, cc or bcc", type=MISSING)
    given = len(draft.to) + len(draft.cc) + len(draft.bcc)
    if given > MAX_RECIPIENTS:
        yield _error(
            "to",
            msg=f"{given} recipients in to, cc and bcc; a message has at most {MAX_RECIPIENTS},"
            " so send several messages",
            type="too_long",
        )
    if draft.text is None and draft.html is None:
        yield _error("text", msg="give text, html or both", type=MISSING)
    yield from _wrong_content_ids(draft)
    yield from _wrong_headers(draft)


def _wrong_content_ids(draft: Draft) -> Iterator[FieldError]:
    seen: set[str] = set()
    for number, each in enumerate(draft.attachments):
        if each.content_id in seen:
            msg = "another attachment has this content_id: the HTML could show but one of them"
            yield FieldError(("body", "attachments", number, "content_id"), msg)
        if each.content_id is not None:
            seen.add(each.content_id)


def _wrong_headers(draft: Draft) -> Iterator[FieldError]:
    try:
        check_subject(draft.subject)
    except ValueError as error:
        yield _error("subject", msg=str(error))
    seen: set[str] = set()
    for name, value in draft.headers.items():
        try:
            check_header(name, value)
        except ValueError as error:
            yield _error("headers", name, msg=str(error))
        if name.lower() in seen:
            yield _error("headers", name, msg="this header is given twice; letter case is ignored")
        seen.add(name.lower())


def _error(*loc: str, msg: str, type: str = "value_error") -> FieldError:  # noqa: A002 - pydantic's word for it
    return FieldError(("body", *loc), msg, type)


def _invalid(wrong: list[FieldError]) -> InvalidRequest:
    first = wrong[0]
    place = ".".join(str(part) for part in first.loc[1:])
    detail = f"{place}: {first.msg}"
    if len(wrong) > 1:
        detail = f"{len(wrong)} fields are wrong; the first is {detail}"
    return InvalidRequest(detail, wrong)


def _content_bytes(draft: Draft) -> int:
    """What text, HTML and files have at the very least: no encoding makes them shorter."""
    texts = len((draft.text or "").encode()) + len((draft.html or "").encode())
    return texts + sum(len(each.content) for each in draft.attachments)


def _check_size(size_bytes: int, max_message_bytes: int) -> None:
    if size_bytes > max_message_bytes:
        raise TooLarge(
            "message-too-large",
            f"The message has {size_bytes} bytes or more; the limit is {max_message_bytes} bytes,"
            " encoding included. Make it smaller, or link to what is large.",
        )


def _content(
    draft: Draft,
    sender: Mailbox,
    recipients: tuple[RecipientAddress, ...],
    header: str,
    now: datetime,
) -> Content:
    return Content(
        sender=sender,
        to=tuple(_of_kind(recipients, RecipientKind.TO)),
        cc=tuple(_of_kind(recipients, RecipientKind.CC)),
        reply_to=draft.reply_to,
        subject=draft.subject,
        text=draft.text,
        html=draft.html,
        attachments=draft.attachments,
        headers=draft.headers,
        message_id=header,
        date=now,
    )


def _of_kind(recipients: Iterable[RecipientAddress], kind: RecipientKind) -> Iterator[Mailbox]:
    return (each.mailbox for each in recipients if each.kind is kind)
