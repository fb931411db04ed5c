"""A message that somebody else has made: checked, and kept as it is (RFC 5322, RFC 6854)."""

import re
from dataclasses import dataclass, field
from email import policy
from email.headerregistry import AddressHeader
from email.parser import BytesHeaderParser
from typing import Final

from app.domain.addresses import make_mailbox
from app.domain.transfer_encoding import CRLF, MAX_LINE_OCTETS
from app.domain.types import Mailbox

# Each at most once (RFC 5322 section 3.6).
SINGLE: Final = frozenset(
    {"date", "from", "sender", "reply-to", "to", "cc", "message-id", "subject", "mime-version"}
)
NOT_SENT: Final = {
    "bcc": "name those in the envelope alone, and take this field out",
    "resent-bcc": "name those in the envelope alone, and take this field out",
    "return-path": "this is written by whoever delivers it; say `return_path` in the envelope",
}
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")
_MESSAGE_ID: Final = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_PARSER: Final = BytesHeaderParser(policy=policy.SMTPUTF8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMessage:
    """The bytes with CRLF line ends, and what stands in their header; None where it is missing."""

    mime: bytes = field(repr=False)
    sender: Mailbox
    submitter: Mailbox | None
    subject: str
    message_id: str | None
    has_date: bool
    is_signed: bool


def parse(content: bytes) -> RawMessage:
    """The message, of which nothing but line ends is changed: a lone LF becomes CRLF.

    Raises ValueError, whose text says what to mend.
    """
    mime = _with_crlf(content)
    header, found, _ = mime.partition(CRLF + CRLF)
    if not found:
        raise ValueError("an empty line is missing after the header")
    names = _names(header)
    for line in mime.split(CRLF):
        if len(line) > MAX_LINE_OCTETS:
            raise ValueError(
                f"a line has more than {MAX_LINE_OCTETS} bytes: fold the header, and encode the"
                " body in quoted-printable or base64"
            )
    try:
        header.decode()
    except UnicodeDecodeError:
        raise ValueError("the header is neither ASCII nor UTF-8 (RFC 6532)") from None
    fields = _PARSER.parsebytes(header + CRLF + CRLF)
    message_id = str(fields["message-id"]).strip() if "message-id" in names else None
    if message_id is not None and _MESSAGE_ID.fullmatch(message_id) is None:
        raise ValueError("the Message-ID is none; write <something@example.com>")
    return RawMessage(
        mime=mime,
        sender=_mailbox(fields["from"], "From"),
        submitter=_mailbox(fields["sender"], "Sender") if "sender" in names else None,
        subject=str(fields["subject"] or ""),
        message_id=message_id,
        has_date="date" in names,
        is_signed="dkim-signature" in names,
    )


def _with_crlf(content: bytes) -> bytes:
    """The lines with their ends; raises ValueError where some have one and some another."""
    if b"\0" in content:
        raise ValueError("it holds a NUL byte; encode the part in base64")
    pairs, returns, feeds = (content.count(each) for each in (CRLF, b"\r", b"\n"))
    if pairs == 0 and returns == 0:
        content = content.replace(b"\n", CRLF)
    elif not pairs == returns == feeds:
        raise ValueError("its lines end in CRLF and otherwise as well; end all of them in CRLF")
    return content if content.endswith(CRLF) else content + CRLF


def _names(header: bytes) -> list[str]:
    """The names of the fields, in lower case; raises ValueError where a line is no field."""
    names = list[str]()
    for line in header.split(CRLF):
        if line[:1] in {b" ", b"\t"} and names:
            continue
        if _FIELD.match(line) is None:
            shown = line[:40].decode("ascii", "replace")
            raise ValueError(f"the header has a line that is no field: {shown!r}")
        names.append(line.partition(b":")[0].strip().decode("ascii").lower())
    for name in names:
        if name in NOT_SENT:
            raise ValueError(f"the header has {name.title()}: {NOT_SENT[name]}")
        if name in SINGLE and names.count(name) > 1:
            raise ValueError(f"the header has {name.title()} more than once")
    if "from" not in names:
        raise ValueError("the header has no From")
    return names


def _mailbox(value: AddressHeader | None, name: str) -> Mailbox:
    addresses = () if value is None else value.addresses
    if len(addresses) != 1:
        raise ValueError(f"{name} is to hold one address")
    try:
        return make_mailbox(addresses[0].addr_spec, addresses[0].display_name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
