"""Check and complete a raw message (RFC 5322, RFC 6409, RFC 6854).

Errors describe the message, independent of how it was submitted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from app.domain.mime.byte_blocks import BLOCK_BYTES, join_blocks
from app.domain.mime.header_reader import Header, decode_words
from app.domain.mime.long_lines import TOO_LONG, has_long_line
from app.domain.mime.originator import read_originator
from app.domain.mime.part_reader import read_message
from app.domain.mime.transfer_encoding import CRLF
from app.domain.types import NamedAddress

MAX_MESSAGE_ID_CHARACTERS: Final = 512
MAX_HOPS: Final = 50  # Postfix's `hopcount_limit`; more hops are a loop
# At most one of each (RFC 5322 section 3.6).
UNIQUE_FIELDS: Final = frozenset(
    {"date", "from", "sender", "reply-to", "to", "cc", "message-id", "subject", "mime-version"}
)
ENVELOPE_ALONE: Final = "write those recipients only in the envelope, and leave this header out"
BY_SERVERS: Final = "receiving servers write this header; leave it out"
NOT_SENT: Final = {
    "bcc": ENVELOPE_ALONE,
    "return-path": "the delivering server writes this header; set `return_path` in the envelope",
    "authentication-results": BY_SERVERS,
    "received-spf": BY_SERVERS,
}
NOT_SENT_PREFIXES: Final = {
    "arc-": BY_SERVERS,
    "resent-": "send the message with your own From, Sender and To, and leave this header out",
}
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BLANK_BEFORE_COLON: Final = re.compile(r"([!-9;-~]+)[ \t]+:")
_MESSAGE_ID: Final = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_SIGNING_DOMAIN: Final = re.compile(r"(?:^|;)\s*d\s*=\s*([^;\s]*)")  # RFC 6376 section 3.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMessage:
    """The bytes with CRLF line ends, and values of the header; None if missing."""

    mime: bytes = field(repr=False)
    sender: NamedAddress
    submitter: NamedAddress | None
    subject: str
    message_id: str | None
    has_date: bool
    is_signed: bool


def parse_raw(content: bytes, *, takes_any_message_id: bool = False) -> RawMessage:
    """Parse a message and change nothing but line ends: LF becomes CRLF.

    With `takes_any_message_id`, the Message-ID may be malformed if it is printable ASCII. Raises
    ValueError with a correction.
    """
    mime = _normalize_line_ends(content)
    header = read_message(mime).header
    if not mime.endswith(CRLF + CRLF, 0, header.end):
        raise ValueError("the empty line after the header is missing; add it")
    _check_lines(mime)
    _check_fields(header)
    _check_characters(mime[: header.end])
    sender = _read_named_address(header, "From")
    signatures = header.get_all("dkim-signature")
    _check_signatures(signatures, sender)
    return RawMessage(
        mime=mime,
        sender=sender,
        submitter=_read_named_address(header, "Sender")
        if header.get("sender") is not None
        else None,
        subject=decode_words(header.get("subject") or ""),
        message_id=_check_message_id(header.get("message-id"), takes_any=takes_any_message_id),
        has_date=header.get("date") is not None,
        is_signed=bool(signatures),
    )


def _normalize_line_ends(content: bytes) -> bytes:
    """Normalize line ends; raise ValueError if they are mixed."""
    if b"\0" in content:
        raise ValueError("contains a NUL byte; encode the part in base64")
    crlf_count, cr_count, lf_count = (content.count(line_end) for line_end in (CRLF, b"\r", b"\n"))
    if crlf_count == 0 and cr_count == 0:
        starts = range(0, len(content), BLOCK_BYTES)
        content = join_blocks(content[at : at + BLOCK_BYTES].replace(b"\n", CRLF) for at in starts)
    elif not crlf_count == cr_count == lf_count:
        raise ValueError("some lines do not end in CRLF; end all lines in CRLF")
    return content if content.endswith(CRLF) else content + CRLF


def _check_lines(mime: bytes) -> None:
    """Raise ValueError if a line is too long."""
    if has_long_line(mime):
        raise ValueError(
            f"{TOO_LONG}: fold the header, and encode the body in quoted-printable or base64"
        )


def _check_characters(header: bytes) -> None:
    try:
        text = header.decode()
    except UnicodeDecodeError:
        raise ValueError("the header is neither ASCII nor UTF-8 (RFC 6532); encode it") from None
    if _CONTROL.search(text):
        raise ValueError("the header contains a control character; leave it out")


def _check_fields(header: Header) -> None:
    """Raise ValueError for lines that are no fields, and forbidden or repeated fields."""
    if header.stray is not None:
        if blank := _BLANK_BEFORE_COLON.match(header.stray):
            raise ValueError(
                f"the header has a blank before a colon: {blank[0]!r}; write '{blank[1]}:'"
            )
        raise ValueError(
            f"the header has a line that is not a field: {header.stray!r}; write 'Name: value'"
        )
    for name, values in header.values.items():
        if (reason := _find_refusal(name)) is not None:
            raise ValueError(f"the header has {name.title()}: {reason}")
        if name in UNIQUE_FIELDS and len(values) > 1:
            raise ValueError(f"the header has {name.title()} more than once; leave out all but one")
    if "from" not in header.values:
        raise ValueError("the header has no From; add it, as in From: Ann <ann@example.com>")
    if (hops := len(header.get_all("received"))) > MAX_HOPS:
        raise ValueError(
            f"the header has {hops} Received fields; more than {MAX_HOPS} mean a mail loop;"
            " send a message without them"
        )


def _find_refusal(name: str) -> str | None:
    """Return why a message may not have this field, or None."""
    reasons = (reason for prefix, reason in NOT_SENT_PREFIXES.items() if name.startswith(prefix))
    return NOT_SENT.get(name) or next(reasons, None)


def _read_named_address(header: Header, name: str) -> NamedAddress:
    try:
        return read_originator(header.get(name.lower()) or "")
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def is_message_id(value: str) -> bool:
    """Whether the value of a Message-ID has the form `<left@right>` (RFC 5322 section 3.6.4)."""
    return _MESSAGE_ID.fullmatch(value) is not None


def _check_message_id(value: str | None, *, takes_any: bool) -> str | None:
    if value is None:
        return None
    is_acceptable = takes_any and value != "" and value.isascii() and value.isprintable()
    if not is_acceptable and not is_message_id(value):
        raise ValueError("not a Message-ID; write <something@example.com>")
    if len(value) > MAX_MESSAGE_ID_CHARACTERS:
        raise ValueError(
            f"the Message-ID has {len(value)} characters; write at most {MAX_MESSAGE_ID_CHARACTERS}"
        )
    return value


def _check_signatures(signatures: Sequence[str], sender: NamedAddress) -> None:
    """Raise ValueError if a signing domain is not aligned with From's."""
    domains = [domain for signature in signatures for domain in _SIGNING_DOMAIN.findall(signature)]
    for domain in domains:
        if not _is_aligned(domain.lower(), sender.domain.lower()):
            raise ValueError(
                f"a DKIM-Signature is by {domain}, but From is at {sender.domain}: leave out"
                " signatures of other domains"
            )


def _is_aligned(domain: str, other: str) -> bool:
    """Whether two domains are equal, or one contains the other (RFC 7489 section 3.1.1)."""
    return f".{domain}".endswith(f".{other}") or f".{other}".endswith(f".{domain}")
