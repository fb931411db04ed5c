"""Turn a draft into a storable message: resolve, validate, render once."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from app.accept.draft import Draft, DsnOptions, Importance
from app.accept.policy import AcceptPolicy, check_recipients, check_senders
from app.domain.address import verp
from app.domain.address.folding import fold
from app.domain.dsn_request import DsnRequest
from app.domain.errors import FieldError, InvalidRequest, TooLarge
from app.domain.ids import new_id
from app.domain.inbound.provider import build_trace_fields
from app.domain.mime.build import Content, build_message_id, check_header, check_subject, render
from app.domain.types import (
    MAX_RECIPIENTS,
    NamedAddress,
    NewMessage,
    Profile,
    RecipientAddress,
    RecipientKind,
)

MISSING: Final = "missing"
MAX_AGE: Final = timedelta(days=30)
MAX_SCHEDULE_AHEAD: Final = timedelta(days=366)


X_PRIORITY: Final = {Importance.HIGH: "1", Importance.LOW: "5"}


def prepare_message(
    draft: Draft,
    *,
    profile: Profile,
    policy: AcceptPolicy,
) -> NewMessage:
    """Check a draft and render the message to store and send, once (invariant 2).

    Raises InvalidRequest with every invalid field, Forbidden if a rule does not allow the sender or
    a recipient, TooLarge if the rendered message is too large.
    """
    sender = draft.sender or profile.default_from
    recipients = tuple(_collect_recipients(draft))
    errors = [*_find_errors(draft, sender, recipients), *_find_time_errors(draft, policy.now)]
    if sender is None or errors:
        raise _invalid(errors)
    check_return_path(draft, sender)
    check_senders(sender, draft.submitter, draft.return_path, profile, policy.allowed_from)
    check_recipients(recipients, policy.routing)
    check_message_size(_count_content_bytes(draft), policy.max_message_bytes)
    message_id = new_id("msg")
    header = build_message_id(message_id, sender)
    starts_at, trace = _starts_at(draft, policy.now), build_trace_fields(profile.host, message_id)
    mime = render(_build_content(draft, sender, recipients, header, starts_at, trace))
    mime = policy.signing.sign(mime, sender.domain, policy.now)
    check_message_size(len(mime), policy.max_message_bytes)
    return build_message(
        draft,
        message_id=message_id,
        sender=sender,
        recipients=recipients,
        header=header,
        mime=mime,
        profile=profile,
        policy=policy,
    )


def build_message(
    draft: Draft,
    *,
    message_id: str,
    sender: NamedAddress,
    recipients: tuple[RecipientAddress, ...],
    header: str,
    mime: bytes,
    profile: Profile,
    policy: AcceptPolicy,
) -> NewMessage:
    """Build the message with these bytes; `header` is its Message-ID."""
    now, starts_at = policy.now, _starts_at(draft, policy.now)
    return NewMessage(
        id=message_id,
        tenant_id=profile.tenant_id,
        profile_id=profile.id,
        profile_revision=profile.revision,
        profile_name=profile.name,
        origin=policy.origin,
        envelope_from=_choose_return_path(draft, sender),
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
        or starts_at + timedelta(seconds=profile.retry.max_age_seconds or policy.max_age_seconds),
        priority=draft.priority,
        guarantee=draft.guarantee,
        sealed=policy.seal_content(mime, row=message_id) if draft.is_sensitive else None,
        dsn=build_dsn_request(draft.dsn, message_id),
        has_verp=draft.has_verp,
    )


def _starts_at(draft: Draft, now: datetime) -> datetime:
    """Return when sending starts, and with it the time to live."""
    return now if draft.send_at is None else max(now, draft.send_at)


def resolve_recipients(draft: Draft, now: datetime) -> tuple[RecipientAddress, ...]:
    """Return a draft's recipients; raise InvalidRequest if they or its times are invalid."""
    recipients = tuple(_collect_recipients(draft))
    errors = [*_find_recipient_errors(draft, recipients), *_find_time_errors(draft, now)]
    if errors:
        raise _invalid(errors)
    return recipients


def check_return_path(draft: Draft, sender: NamedAddress) -> None:
    """Raise InvalidRequest if VERP is not possible."""
    if not draft.has_verp:
        return
    try:
        verp.check_base(_choose_return_path(draft, sender))
    except ValueError as error:
        raise InvalidRequest.at("verp", msg=str(error)) from None


def _choose_return_path(draft: Draft, sender: NamedAddress) -> str:
    return sender.address if draft.return_path is None else draft.return_path


def build_dsn_request(options: DsnOptions | None, message_id: str) -> DsnRequest | None:
    """Build the DSN request with the message's id as its ENVID."""
    if options is None:
        return None
    return DsnRequest(
        notify=options.notify,
        returns=options.returns,
        envelope_id=options.envelope_id or message_id,
        recipients=options.recipients,
    )


def _find_time_errors(draft: Draft, now: datetime) -> Iterator[FieldError]:
    starts_at = _starts_at(draft, now)
    if starts_at > now + MAX_SCHEDULE_AHEAD:
        yield _error("send_at", msg="write a time within the next year")
    expires_at = draft.expires_at
    if expires_at is not None and not starts_at < expires_at <= starts_at + MAX_AGE:
        since = "now" if starts_at == now else "send_at"
        yield _error("expires_at", msg=f"write a time in the future, at most 30 days after {since}")


def _collect_recipients(draft: Draft) -> Iterator[RecipientAddress]:
    """Yield each address once, of the first of to, cc and bcc."""
    seen_addresses: set[str] = set()
    addresses_by_kind = (
        (RecipientKind.TO, draft.to),
        (RecipientKind.CC, draft.cc),
        (RecipientKind.BCC, draft.bcc),
    )
    for kind, named_addresses in addresses_by_kind:
        for named_address in named_addresses:
            address = fold(named_address.address)
            if address not in seen_addresses:
                seen_addresses.add(address)
                yield RecipientAddress(named_address, kind)


def _find_errors(
    draft: Draft, sender: NamedAddress | None, recipients: tuple[RecipientAddress, ...]
) -> Iterator[FieldError]:
    if sender is None:
        yield _error("from", msg="set the sender: this profile has no default_from", type=MISSING)
    yield from _find_recipient_errors(draft, recipients)
    if draft.text is None and draft.html is None and draft.calendar is None:
        yield _error("text", msg="set text, html or both", type=MISSING)
    yield from _find_content_id_errors(draft)
    yield from _find_header_errors(draft)


def _find_recipient_errors(
    draft: Draft, recipients: tuple[RecipientAddress, ...]
) -> Iterator[FieldError]:
    if not recipients:
        yield _error("to", msg="add at least one recipient in to, cc or bcc", type=MISSING)
    count = len(draft.to) + len(draft.cc) + len(draft.bcc)
    if count > MAX_RECIPIENTS:
        yield _error(
            "to",
            msg=f"{count} recipients in to, cc and bcc; a message has at most {MAX_RECIPIENTS}:"
            " send several messages",
            type="too_long",
        )


def _find_content_id_errors(draft: Draft) -> Iterator[FieldError]:
    seen_ids: set[str] = set()
    for number, attachment in enumerate(draft.attachments):
        if attachment.content_id in seen_ids:
            msg = "another attachment has this content_id; use each content_id once"
            yield FieldError(("body", "attachments", number, "content_id"), msg)
        if attachment.content_id is not None:
            seen_ids.add(attachment.content_id)


def _find_header_errors(draft: Draft) -> Iterator[FieldError]:
    try:
        check_subject(draft.subject)
    except ValueError as error:
        yield _error("subject", msg=str(error))
    seen_names: set[str] = set()
    option_headers = _build_option_headers(draft)
    for name, value in option_headers.items():
        try:
            check_header(name, value)
        except ValueError as error:
            yield _error("list_unsubscribe", msg=str(error))
    option_names = {name.lower() for name in option_headers}
    for name, value in draft.headers.items():
        if name.lower() in option_names:
            yield _error(
                "headers",
                name,
                msg="another field of the message already sets this header; leave it out",
            )
        try:
            check_header(name, value)
        except ValueError as error:
            yield _error("headers", name, msg=str(error))
        if name.lower() in seen_names:
            yield _error(
                "headers", name, msg="this header is set twice (names ignore case); set it once"
            )
        seen_names.add(name.lower())


def _error(*loc: str, msg: str, type: str = "value_error") -> FieldError:  # noqa: A002 - pydantic's word for it
    return FieldError(("body", *loc), msg, type)


def _invalid(errors: list[FieldError]) -> InvalidRequest:
    first_error = errors[0]
    field = ".".join(str(part) for part in first_error.loc[1:])
    detail = f"{field}: {first_error.msg}"
    if len(errors) > 1:
        detail = f"{len(errors)} fields are invalid; the first is {detail}"
    return InvalidRequest(detail, errors)


def _count_content_bytes(draft: Draft) -> int:
    """Count the bytes of text, HTML and files: encodings only add to them."""
    calendar = "" if draft.calendar is None else draft.calendar.text
    text_bytes = sum(len(text.encode()) for text in (draft.text or "", draft.html or "", calendar))
    return text_bytes + sum(len(attachment.content) for attachment in draft.attachments)


def check_message_size(size_bytes: int, max_message_bytes: int) -> None:
    """Raise TooLarge if a message has more bytes than allowed."""
    if size_bytes > max_message_bytes:
        raise TooLarge(
            "message-too-large",
            f"The message has {size_bytes} bytes or more; the limit is {max_message_bytes} bytes,"
            " encoding included. Make it smaller, or link to large files.",
        )


def _build_content(
    draft: Draft,
    sender: NamedAddress,
    recipients: tuple[RecipientAddress, ...],
    header: str,
    now: datetime,
    trace: Mapping[str, str],
) -> Content:
    return Content(
        sender=sender,
        to=tuple(_of_kind(recipients, RecipientKind.TO)),
        cc=tuple(_of_kind(recipients, RecipientKind.CC)),
        reply_to=draft.reply_to,
        subject=draft.subject,
        text=draft.text,
        html=draft.html,
        calendar=draft.calendar,
        submitter=draft.submitter,
        attachments=draft.attachments,
        headers={**trace, **_build_option_headers(draft), **draft.headers},
        message_id=header,
        date=now,
    )


def _build_option_headers(draft: Draft) -> dict[str, str]:
    """Build the header fields of the caller's options."""
    fields = dict[str, str]()
    if draft.unsubscribe is not None:
        fields |= draft.unsubscribe.fields()
    if draft.auto_submitted is not None:
        fields["Auto-Submitted"] = draft.auto_submitted
    if draft.importance is not None:
        fields["Importance"] = draft.importance.value
        fields["X-Priority"] = X_PRIORITY[draft.importance]
    return fields


def _of_kind(recipients: Iterable[RecipientAddress], kind: RecipientKind) -> Iterator[NamedAddress]:
    return (recipient.named_address for recipient in recipients if recipient.kind is kind)
