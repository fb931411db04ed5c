"""Build a message from a template and a submission's header (`X-Heloise-Template`).

The template writes subject and body. Addresses and the header fields that `POST /messages` takes in
`headers` stay; Heloise writes the other fields anew.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import ValidationError

from app.api.messages.schemas import MessageCreate
from app.domain.address.folding import fold
from app.domain.address.parse import (
    format_named_address,
    make_named_address,
    parse_named_address,
)
from app.domain.errors import InvalidRequest
from app.domain.mime.custom_headers import ADDRESS_FIELDS, is_custom
from app.domain.mime.header_reader import Header, check_bound, decode_words
from app.domain.mime.originator import read_originator
from app.domain.mime.raw import UNIQUE_FIELDS
from app.domain.types import MAX_RECIPIENTS, NamedAddress
from app.submission.content import Content
from app.submission.dialogue import Envelope
from app.submission.header_options import first_error, is_option

Value = TypeVar("Value")

# A member of an address list, and what ends it: a colon ends the name of a group (RFC 5322 section
# 3.4). A quote without an end reaches to the end of the list, so matching takes linear time.
_MEMBER: Final = re.compile(r'((?:[^",:;]|"(?:[^"\\]|\\.?)*(?:"|$))+)([,:;]|$)')


def build_template_message(
    envelope: Envelope, content: Content, *, profile_id: str
) -> MessageCreate:
    """Build the message for the recipients of the envelope.

    Raises InvalidRequest for a field that it cannot keep.
    """
    header, options = content.header, content.options
    _check_repeated_fields(header)
    addresses = {fold(rcpt.address): rcpt.address for rcpt in envelope.rcpts}
    has_sender = header.get("sender") is not None
    values = {
        "profile": options.profile or profile_id,
        "from": _read(header, "from", read_originator),
        "sender": _read(header, "sender", read_originator) if has_sender else None,
        "reply_to": _read(header, "reply-to", _parse_addresses),
        "to": _pick(addresses, _read(header, "to", _parse_addresses)),
        "cc": _pick(addresses, _read(header, "cc", _parse_addresses)),
        "bcc": [NamedAddress(address) for address in addresses.values()],
        "return_path": envelope.mail.address,
        "headers": _read_custom_fields(header),
        "template": options.template,
        "variables": options.variables,
        "tags": options.tags,
        "metadata": options.metadata,
        "send_at": options.send_at,
        "priority": options.priority,
        "guarantee": options.guarantee,
        "sensitive": options.sensitive,
    }
    try:
        return MessageCreate.model_validate(values)
    except ValidationError as error:
        raise first_error(error) from None


def _read(header: Header, name: str, parse: Callable[[str], Value]) -> Value:
    try:
        return parse(header.get(name) or "")
    except ValueError as error:
        raise InvalidRequest(f"{name.title()}: {error}") from None


def _parse_addresses(value: str) -> list[NamedAddress]:
    """Parse addresses and groups of them; raise ValueError.

    Decodes names after it has separated the addresses: an encoded comma separates nothing (RFC 2047
    section 6.2).
    """
    members = [
        member[1] for member in _MEMBER.finditer(value) if member[2] != ":" and member[1].strip()
    ]
    check_bound("has", len(members), "addresses", MAX_RECIPIENTS)
    named_addresses = map(parse_named_address, members)
    return [
        make_named_address(named_address.address, decode_words(named_address.name))
        for named_address in named_addresses
    ]


def _pick(addresses: dict[str, str], named_addresses: list[NamedAddress]) -> list[NamedAddress]:
    """Remove from `addresses`, and return with their names, those that a field lists."""
    return [
        NamedAddress(address, named_address.name)
        for named_address in named_addresses
        if (address := addresses.pop(fold(named_address.address), None)) is not None
    ]


def _read_custom_fields(header: Header) -> dict[str, str]:
    fields = dict[str, str]()
    for field_name, value in header.fields:
        name = field_name.lower()
        if is_option(name) or not is_custom(name):
            continue
        if name in ADDRESS_FIELDS:
            named_addresses = _read(header, name, _parse_addresses)
            fields[field_name] = ", ".join(map(format_named_address, named_addresses))
        else:
            fields[field_name] = decode_words(value)
    return fields


def _check_repeated_fields(header: Header) -> None:
    counts = Counter(field_name.lower() for field_name, _ in header.fields)
    for name, count in counts.items():
        if count > 1 and (is_custom(name) or name in UNIQUE_FIELDS):
            raise InvalidRequest(f"{name.title()}: stands twice in the header; write it once")
