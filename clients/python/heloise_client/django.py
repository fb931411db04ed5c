"""Send Django's mail through Heloise: `EMAIL_BACKEND = "heloise_client.django.EmailBackend"`.

    HELOISE = {"URL": "https://mail.internal", "KEY": "hel_…", "PROFILE": "transactional"}

A message may have these attributes, most of which have the names of django-anymail: `tags`,
`metadata`, `template_id`, `merge_global_data`, `merge_data`, `merge_metadata`, `merge_headers`,
`send_at`, `envelope_sender`, `esp_extra` (any other field of the API), `profile` and
`idempotency_key`. After sending, `anymail_status` says what Heloise accepted.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from email.message import Message
from email.utils import parseaddr
from typing import Any, Final, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone

from heloise_client.attachments import attach_bytes
from heloise_client.errors import ApiError, HeloiseError
from heloise_client.operations import Heloise
from heloise_client.types import AttachmentBody, BatchResult, MessageCreate, MessageRead

MAX_BATCH: Final = 1000
UNSUPPORTED: Final = ("track_opens", "track_clicks")


class UnsupportedError(HeloiseError, ValueError):
    """A part of a message that Heloise cannot send."""


@dataclass(frozen=True)
class RecipientStatus:
    """A recipient's status: queued or invalid. Events and webhooks have what comes later."""

    status: str
    message_id: str | None


@dataclass
class Status:
    """What Heloise accepted. `esp_response` has its answers."""

    recipients: dict[str, RecipientStatus] = field(default_factory=dict)
    esp_response: list[Any] = field(default_factory=list)

    @property
    def status(self) -> set[str] | None:
        """The statuses of all recipients; None if Heloise refused the message."""
        return {recipient.status for recipient in self.recipients.values()} or None

    @property
    def message_id(self) -> str | set[str | None] | None:
        """The id of the message in Heloise, or all ids where each recipient got a message."""
        ids = {recipient.message_id for recipient in self.recipients.values()}
        return ids.pop() if len(ids) == 1 else ids or None


class EmailBackend(BaseEmailBackend):  # type: ignore[misc] # Django has no types
    """Sends through the API of Heloise. Arguments override `settings.HELOISE`."""

    def __init__(
        self,
        fail_silently: bool = False,  # noqa: FBT001, FBT002 - Django passes it by position
        *,
        url: str | None = None,
        key: str | None = None,
        tenant: str | None = None,
        profile: str | None = None,
        **kwargs: Any,  # noqa: ANN401 - of all backends, such as `username`
    ) -> None:
        super().__init__(**kwargs)
        self.fail_silently = fail_silently
        configured: Mapping[str, Any] = getattr(settings, "HELOISE", {})
        if not (url or configured.get("URL")) or not (key or configured.get("KEY")):
            raise ImproperlyConfigured('Set HELOISE = {"URL": "https://…", "KEY": "hel_…"}.')
        self._url: str = url or configured["URL"]
        self._key: str = key or configured["KEY"]
        self._tenant: str | None = tenant or configured.get("TENANT")
        self._profile: str | None = profile or configured.get("PROFILE")
        self._heloise: Heloise | None = None
        self._lock = threading.RLock()

    def open(self) -> bool:
        """Open a client that `send_messages` uses until `close`."""
        if self._heloise is not None:
            return False
        self._heloise = Heloise(self._url, self._key, tenant=self._tenant)
        return True

    def close(self) -> None:
        """Close all connections."""
        if self._heloise is not None:
            self._heloise.close()
            self._heloise = None

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Send messages, and return how many Heloise accepted."""
        with self._lock:
            is_opened = self.open()
            try:
                return sum(self._send(message) for message in email_messages)
            finally:
                if is_opened:
                    self.close()

    def _send(self, message: EmailMessage) -> bool:
        message.anymail_status = Status()
        if not message.recipients():
            return False
        try:
            self._accept(message)
        except HeloiseError:
            if not self.fail_silently:
                raise
            return False
        return True

    def _accept(self, message: EmailMessage) -> None:
        heloise = cast("Heloise", self._heloise)
        body = build_body(message, self._profile)
        key: str | None = _read(message, "idempotency_key")
        if _is_merge(message):
            _send_to_each(heloise, message, body, key)
        else:
            _add_status(message.anymail_status, heloise.send_message(body, idempotency_key=key))


def _send_to_each(
    heloise: Heloise, message: EmailMessage, body: MessageCreate, key: str | None
) -> None:
    """Send a message of its own to each recipient; raise only if Heloise refused all."""
    status: Status = message.anymail_status
    refusals: list[BatchResult] = []
    if not message.to:
        raise UnsupportedError("Merge data needs recipients in `to`.")
    for start in range(0, len(message.to), MAX_BATCH):
        recipients = message.to[start : start + MAX_BATCH]
        results = heloise.send_batch(
            {"messages": split_body(message, body, recipients)},
            idempotency_key=f"{key}-{start}" if key and start else key,
        )["results"]
        for recipient, result in zip(recipients, results, strict=True):
            if result["message"] is not None:
                _add_status(status, result["message"])
            else:
                refusals.append(result)
                status.recipients[parseaddr(recipient)[1]] = RecipientStatus("invalid", None)
                status.esp_response.append(result)
    if len(refusals) == len(message.to):
        raise ApiError(refusals[0]["status"], dict(refusals[0]["problem"] or {}))


def _add_status(status: Status, accepted: MessageRead) -> None:
    status.esp_response.append(accepted)
    for recipient in accepted["recipients"]:
        address = recipient["address"] or ""
        status.recipients[address] = RecipientStatus("queued", accepted["id"])


def build_body(message: EmailMessage, profile: str | None = None) -> MessageCreate:
    """Return the body of `POST /messages` for a message of Django."""
    for name in UNSUPPORTED:
        if _read(message, name):
            raise UnsupportedError(f"Heloise does not support {name}; remove it.")
    headers = {str(name): str(value) for name, value in message.extra_headers.items()}
    fields: dict[str, Any] = {
        "profile": _read(message, "profile") or profile,
        "from": message.from_email,
        "to": message.to,
        "cc": message.cc,
        "bcc": message.bcc,
        "reply_to": message.reply_to or _pop(headers, "Reply-To"),
        "sender": _pop(headers, "Sender"),
        "return_path": _read(message, "envelope_sender"),
        "subject": str(message.subject),
        "template": _read(message, "template_id"),
        "variables": _read(message, "merge_global_data"),
        "attachments": [_encode_attachment(part) for part in message.attachments],
        "tags": _read(message, "tags"),
        "metadata": _as_texts(_read(message, "metadata")),
        "send_at": _parse_time(_read(message, "send_at")),
    }
    # As Django's SMTP backend: the header shows one sender, bounces go to the other.
    if (shown := _pop(headers, "From")) is not None:
        fields["return_path"] = fields["return_path"] or parseaddr(message.from_email)[1]
        fields["from"] = shown
    fields |= _find_bodies(message) | {"headers": headers}
    body = {name: value for name, value in fields.items() if value or value is False}
    return cast("MessageCreate", body | (_read(message, "esp_extra") or {}))


def _read(message: EmailMessage, name: str) -> Any:  # noqa: ANN401 - of the program
    """Return an attribute; None if it is not set: in AnymailMessage it is then a class."""
    value = getattr(message, name, None)
    return None if isinstance(value, type) else value


def _is_merge(message: EmailMessage) -> bool:
    names = ("merge_data", "merge_metadata", "merge_headers")
    return any(_read(message, name) is not None for name in names)


def split_body(
    message: EmailMessage, body: MessageCreate, recipients: Sequence[str]
) -> Sequence[MessageCreate]:
    """Return a body for each recipient, with its own data."""
    bodies: list[MessageCreate] = []
    for recipient in recipients:
        address = parseaddr(recipient)[1]

        def merge(field_name: str, attribute: str, address: str = address) -> dict[str, Any]:
            shared: Mapping[str, Any] = cast("Any", body).get(field_name) or {}
            own: Mapping[str, Any] = (_read(message, attribute) or {}).get(address) or {}
            return {**shared, **own}

        own_body: MessageCreate = {**body, "to": [recipient]}
        if variables := merge("variables", "merge_data"):
            own_body["variables"] = variables
        if metadata := _as_texts(merge("metadata", "merge_metadata")):
            own_body["metadata"] = metadata
        if headers := merge("headers", "merge_headers"):
            own_body["headers"] = headers
        bodies.append(own_body)
    return bodies


def _find_bodies(message: EmailMessage) -> dict[str, str]:
    """Return the text, the HTML and the invitation of a message."""
    kinds = {"text/plain": "text", "text/html": "html", "text/calendar": "calendar"}
    parts = [(message.body, f"text/{message.content_subtype}")]
    parts += [(part[0], part[1]) for part in getattr(message, "alternatives", ())]
    bodies: dict[str, str] = {}
    for content, content_type in parts:
        name = kinds.get(content_type.partition(";")[0])
        if name is None or (name in bodies and content):
            raise UnsupportedError(
                f"Heloise sends one text, one HTML and one calendar; remove the {content_type}."
            )
        if content:
            bodies[name] = content if isinstance(content, str) else content.decode()
    return bodies


def _encode_attachment(part: Any) -> AttachmentBody:  # noqa: ANN401 - Django takes many types
    """Encode Django's attachment: a tuple, or a part of the package `email`."""
    if isinstance(part, Message):
        return _encode_part(part)
    filename, content, content_type = part
    if isinstance(content, EmailMessage):
        content = content.message()
    if isinstance(content, Message):
        content = content.as_bytes()
    elif isinstance(content, str):
        content = content.encode()
        if (content_type or "").startswith("text/") and ";" not in content_type:
            content_type += "; charset=utf-8"
    return attach_bytes(content, filename or "", content_type=content_type)


def _encode_part(part: Message) -> AttachmentBody:
    content_id = str(part.get("Content-ID") or "").strip("<> ") or None
    content_type = part.get_content_type()
    if charset := part.get_content_charset():
        content_type += f"; charset={charset}"
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):  # of message/rfc822
        payload = cast("list[Message]", part.get_payload())[0].as_bytes()
    attachment = attach_bytes(
        payload, part.get_filename() or "", content_type=content_type, content_id=content_id
    )
    if part.get_content_disposition() == "inline":
        attachment["disposition"] = "inline"
    return attachment


def _pop(headers: dict[str, str], name: str) -> str | None:
    """Remove a header, in whatever case, and return its value."""
    key = next((key for key in headers if key.lower() == name.lower()), None)
    return None if key is None else headers.pop(key)


def _as_texts(values: Mapping[str, object] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (values or {}).items()}


def _parse_time(value: date | float | str | None) -> str | None:
    """Return a time as text: of a datetime, a date, a Unix time or a text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, timezone.get_current_timezone()).isoformat()
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    return (timezone.make_aware(moment) if timezone.is_naive(moment) else moment).isoformat()
