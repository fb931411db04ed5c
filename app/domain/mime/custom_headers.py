"""Validate and encode custom header fields.

Fields with a structure defined by an RFC keep it: names are encoded, addresses, ids and URLs stay
as they are, and lines are folded in between. Other fields are text. Values that encoding would
break, such as JSON, are folded at blanks or refused.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from app.domain.address.parse import parse_named_address
from app.domain.mime.headers import (
    CRLF,
    MAX_LINE_BYTES,
    address_field,
    check_control,
    encode_words,
    fold,
    looks_like_encoded_word,
    phrase_field,
    text_field,
    write_phrase,
)
from app.domain.types import NamedAddress

MAX_NAME_CHARACTERS: Final = 76
MAX_VALUE_CHARACTERS: Final = 10_000

ALTERNATIVES: Final[Mapping[str, str]] = {
    "from": "`from`",
    "to": "`to`",
    "cc": "`cc`",
    "bcc": "`bcc`",
    "reply-to": "`reply_to`",
    "sender": "`sender`",
    "subject": "`subject`",
}
RESERVED: Final = frozenset(
    {
        "arc-authentication-results",
        "arc-message-signature",
        "arc-seal",
        "authentication-results",
        "date",
        "delivered-to",
        "dkim-signature",
        "message-id",
        "mime-version",
        "received",
        "received-spf",
        "return-path",
        "x-original-to",
    }
)
RESERVED_PREFIXES: Final = ("content-", "resent-")
# RFC 8098 section 2.1; the others are in use without an RFC.
ADDRESS_FIELDS: Final = frozenset(
    {
        *("abuse-reports-to", "disposition-notification-to", "errors-to", "mail-followup-to"),
        *("mail-reply-to", "return-receipt-to", "x-confirm-reading-to", "x-errors-to"),
    }
)

_FIELD_NAME: Final = re.compile(r"[!-9;-~]+")  # RFC 5322 section 3.6.8: printable, no colon
_BLANK: Final = re.compile(r"(?<! ) ")  # fold before the last of several blanks
_ID: Final = re.compile(r"<[^<> ]*>")
_URI: Final = re.compile(r" *<([^<>]*)> *(?:\(([^()]*)\) *)?")
# An address in a list: commas only in quotes.
_MAILBOX: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")


def check_header(name: str, value: str) -> None:
    """Raise ValueError if a caller may not set this field, or not to this value."""
    if len(name) > MAX_NAME_CHARACTERS or _FIELD_NAME.fullmatch(name) is None:
        raise ValueError(
            "write a header name of 1 to 76 ASCII characters without spaces and colons"
        )
    lower = name.lower()
    if lower in ALTERNATIVES:
        raise ValueError(f"Heloise writes this header from {ALTERNATIVES[lower]}; set that instead")
    if not is_custom(lower):
        raise ValueError("Heloise or a server writes this header; leave it out")
    check_control(value, "its value")
    if len(value) > MAX_VALUE_CHARACTERS:
        raise ValueError(f"the value has more than {MAX_VALUE_CHARACTERS} characters; shorten it")
    custom_field(name, value)


def is_custom(name: str) -> bool:
    """Whether a caller may set this field, its name in lower case."""
    is_reserved = name in RESERVED or name.startswith(RESERVED_PREFIXES)
    return name not in ALTERNATIVES and not is_reserved


def custom_field(name: str, value: str) -> str:
    """Write `Name: value` with its line end, in the structure of the field.

    Raises ValueError, with a correction, for a value that cannot be written.
    """
    return _WRITERS.get(name.lower(), _write_text)(name, value)


def _write_text(name: str, value: str) -> str:
    """Write an unstructured field: JSON stays, other text is encoded if needed."""
    if _is_json(value):
        if not value.isascii():
            raise ValueError(
                "its value is JSON with characters that are not ASCII, which an encoding would"
                r" break; write them as \u escapes"
            )
        return _write_ascii(name, value)
    if value.isascii() and value == value.strip(" ") and not looks_like_encoded_word(value):
        return _write_ascii(name, value)
    return text_field(name, value)


def _write_ascii(name: str, value: str) -> str:
    """Write a field whose readers decode nothing, folded at blanks."""
    if not value.isascii():
        raise ValueError(
            "the value has non-ASCII characters, which no reader decodes in this header; write"
            " ASCII"
        )
    return fold(name, _BLANK.split(value.strip(" ")))


def _write_ids(name: str, value: str) -> str:
    """Write `<id> <id>` (RFC 5322 section 3.6.4)."""
    ids = _ID.findall(value)
    if not ids or _ID.sub("", value).strip(" ,"):
        ids = value.split()
    if not value.isascii():
        raise ValueError("message ids are ASCII; write <id@example.com>, separated by blanks")
    return fold(name, ids or [""])


def _write_uris(name: str, value: str) -> str:
    """Write `<uri>, <uri> (comment)` (RFC 2369 section 2), without blanks in URIs."""
    items, end = list[str](), 0
    while uri := _URI.match(value, end):
        if not uri[1].isascii():
            raise ValueError("write its URLs in ASCII, percent-encoded (RFC 3986)")
        items += [f"<{uri[1].replace(' ', '')}>", *_format_comment(uri[2])]
        end = uri.end()
        if not value.startswith(",", end):
            break
        items[-1] += ","
        end += 1
    if end < len(value) or not items:
        return _write_ascii(name, value)
    return fold(name, items)


def _format_comment(text: str | None) -> list[str]:
    if text is None:
        return []
    words = text.split() if text.isascii() else encode_words(text, 2).split(f"{CRLF} ")
    return f"({' '.join(words)})".split(" ")


def _write_named_addresses(name: str, value: str) -> str:
    """Write `Name <address>, address` (RFC 5322 section 3.4)."""
    try:
        named_addresses = parse_named_addresses(value)
    except ValueError:
        if value.isascii():
            return _write_ascii(name, value)  # obsolete forms
        raise
    if not all(named_address.address.isascii() for named_address in named_addresses):
        raise ValueError("write ASCII addresses; only `to`, `cc` and the like take others")
    return address_field(name, named_addresses) if named_addresses else _write_ascii(name, value)


def parse_named_addresses(value: str) -> list[NamedAddress]:
    """Parse addresses that are separated by commas; raises ValueError."""
    parts = _MAILBOX.findall(value)
    if ",".join(parts) != value:
        raise ValueError("write Name <a@example.com>; separate several with commas")
    return [parse_named_address(part.strip()) for part in parts]


def _write_list_id(name: str, value: str) -> str:
    """Write `Name <id>` (RFC 2919 section 3)."""
    head, opening, rest = value.strip(" ").rpartition("<")
    identifier, closing, remainder = rest.partition(">")
    if not opening or not closing or remainder:
        return _write_ascii(name, value)
    if not identifier.isascii():
        raise ValueError("write an ASCII id in < and >, such as <news.example.com>")
    phrase = head.strip(" ")
    if match := _QUOTED.fullmatch(phrase):
        phrase = _ESCAPED.sub(r"\1", match[1])
    if not phrase or len(identifier) + len(name) > MAX_LINE_BYTES // 2:
        return fold(name, _BLANK.split(value.strip(" ")))
    return phrase_field(name, phrase, identifier)


def _write_phrases(name: str, value: str) -> str:
    """Write `phrase, phrase` (RFC 5322 section 3.6.5)."""
    if value.isascii():
        return _write_ascii(name, value)
    phrases = [write_phrase(phrase.strip(" "), len(name) + 2) for phrase in value.split(",")]
    return f"{name}: {f',{CRLF} '.join(phrases)}{CRLF}"


def _is_json(value: str) -> bool:
    """Whether the text is a JSON object or list, not a mere number or string."""
    if not value.lstrip(" ").startswith(("{", "[")):
        return False
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


_WRITERS: Final[Mapping[str, Callable[[str, str], str]]] = {
    **dict.fromkeys(
        # RFC 5322 section 3.6.4, RFC 5536 section 3.2.12, RFC 4021 section 2.1
        ("in-reply-to", "obsoletes", "original-message-id", "references", "supersedes"),
        _write_ids,
    ),
    **dict.fromkeys(
        # RFC 2369 section 3, RFC 5064 section 2
        (
            *("archived-at", "list-archive", "list-help", "list-owner", "list-post"),
            *("list-subscribe", "list-unsubscribe"),
        ),
        _write_uris,
    ),
    **dict.fromkeys(ADDRESS_FIELDS, _write_named_addresses),
    "list-id": _write_list_id,
    "keywords": _write_phrases,
    **dict.fromkeys(
        # RFC 3834, 8098 section 2.2, 8058, 4021, 3282, 8689; the others without an RFC
        (
            *(
                "accept-language",
                "auto-submitted",
                "autoforwarded",
                "autosubmitted",
                "bimi-selector",
            ),
            *("disposition-notification-options", "expires", "expiry-date", "feedback-id"),
            *("importance", "list-unsubscribe-post", "original-recipient", "precedence"),
            *("priority", "reply-by", "sensitivity", "thread-index", "tls-required"),
            *("x-auto-response-suppress", "x-entity-ref-id", "x-msmail-priority", "x-priority"),
        ),
        _write_ascii,
    ),
}
