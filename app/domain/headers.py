"""Header fields as they go on the wire: encoded where they must be, folded, injection impossible.

RFC 5322 section 2.2 (fields, folding), RFC 2047 (encoded words). Every line has 998 octets or
fewer, and 78 where it can be helped.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Final

from app.domain.types import Mailbox

MAX_LINE_CHARACTERS: Final = 76
MIN_WORD_OCTETS: Final = 4  # one character
MAX_HEADER_NAME_CHARACTERS: Final = 76
MAX_HEADER_VALUE_CHARACTERS: Final = 10_000
# A word that is longer than a line is left whole: URLs and Message-IDs must not be encoded
# (RFC 2047 section 5). Past this it could not stand on a line of 998 octets.
MAX_WORD_CHARACTERS: Final = 900
CRLF: Final = "\r\n"

INSTEAD: Final[Mapping[str, str]] = {
    "from": "`from`",
    "to": "`to`",
    "cc": "`cc`",
    "bcc": "`bcc`",
    "reply-to": "`reply_to`",
    "sender": "`sender`",
    "subject": "`subject`",
}
OWN: Final = frozenset(
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
OWN_PREFIXES: Final = ("content-", "resent-")

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FIELD_NAME: Final = re.compile(r"[!-9;-~]+")  # RFC 5322 section 3.6.8: printable, no colon
_PLAIN_PHRASE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")


def check_subject(subject: str) -> None:
    """Raises ValueError where it could not be one header field."""
    if _CONTROL.search(subject):
        raise ValueError("it holds a line break or another control character; leave them out")


def check_header(name: str, value: str) -> None:
    """Raises ValueError where a caller may not set this field, or not to this value."""
    if len(name) > MAX_HEADER_NAME_CHARACTERS or _FIELD_NAME.fullmatch(name) is None:
        raise ValueError(
            "a header's name has 1 to 76 characters of ASCII, without spaces and colons"
        )
    lower = name.lower()
    if lower in INSTEAD:
        raise ValueError(f"this header is written from {INSTEAD[lower]}; set it there")
    if lower in OWN or lower.startswith(OWN_PREFIXES):
        raise ValueError("this header is written by Heloise or by servers on the way; leave it out")
    if _CONTROL.search(value):
        raise ValueError(
            "its value holds a line break or another control character; leave them out"
        )
    if len(value) > MAX_HEADER_VALUE_CHARACTERS:
        raise ValueError(f"its value has more than {MAX_HEADER_VALUE_CHARACTERS} characters")


def text_field(name: str, value: str) -> str:
    """`Name: value` with its line end: as it is where it is plain, else in encoded words."""
    if not value or _is_plain(value):
        return _folded(name, value)
    return f"{name}: {_encoded_words(value, len(name) + 2)}{CRLF}"


def mailbox_field(name: str, mailboxes: Iterable[Mailbox]) -> str:
    """`Name: mailbox, mailbox` with its line end, each mailbox on a line of its own."""
    written = [_mailbox(each, len(name) + 2 if not n else 1) for n, each in enumerate(mailboxes)]
    return f"{name}: {f',{CRLF} '.join(written)}{CRLF}"


def _mailbox(mailbox: Mailbox, used_characters: int) -> str:
    if not mailbox.name:
        return mailbox.address
    phrase = _phrase(mailbox.name, used_characters)
    last = len(phrase) - (phrase.rfind(CRLF) + len(CRLF) if CRLF in phrase else -used_characters)
    fits = last + len(mailbox.address) + 3 <= MAX_LINE_CHARACTERS
    return f"{phrase}{' ' if fits else CRLF + ' '}<{mailbox.address}>"


def _phrase(name: str, used_characters: int) -> str:
    """A display name: plain, quoted, or in encoded words (RFC 5322 section 3.2.5)."""
    is_short = len(name) <= MAX_LINE_CHARACTERS // 2 and _is_plain(name)
    if is_short and _PLAIN_PHRASE.fullmatch(name):
        return name
    if is_short:
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _encoded_words(name, used_characters)


def _is_plain(text: str) -> bool:
    """Whether it reads the same without encoding, however it is folded."""
    words = text.split(" ")
    return (
        text.isascii()
        and not ("=?" in text and "?=" in text)  # what a reader takes for an encoded word
        and _CONTROL.search(text) is None
        and all(words)
        and max(map(len, words)) <= MAX_WORD_CHARACTERS
    )


def _encoded_words(text: str, used_characters: int) -> str:
    """Encoded words (RFC 2047 section 2), the first line of them shorter by what stands before.

    The standard library's `Header` folds before the first word where that does not fit, which
    readers take for a space.
    """
    words, octets = list[str](), b""
    room = max(MIN_WORD_OCTETS, _octets_in(MAX_LINE_CHARACTERS - used_characters))
    for character in text:
        added = character.encode()
        if len(octets) + len(added) > room:
            words.append(_encoded_word(octets))
            octets, room = b"", _octets_in(MAX_LINE_CHARACTERS - 1)
        octets += added
    return f"{CRLF} ".join([*words, _encoded_word(octets)])


def _octets_in(characters: int) -> int:
    """How many octets an encoded word of so many characters holds."""
    return (characters - len(_encoded_word(b""))) // 4 * 3


def _encoded_word(octets: bytes) -> str:
    return f"=?utf-8?b?{b64encode(octets).decode()}?="


def _folded(name: str, value: str) -> str:
    first, *words = value.split(" ")
    lines, line = list[str](), f"{name}: {first}"
    for word in words:
        if len(line) + 1 + len(word) > MAX_LINE_CHARACTERS:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}"
    return f"{CRLF} ".join([*lines, line]) + CRLF
