"""Write header fields: encoded, folded, and safe from injection.

RFC 5322 section 2.2 (fields, folding), RFC 2047 (encoded words). Lines have at most 998 bytes, and
78 if possible.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Final

from app.domain.types import NamedAddress

MAX_LINE_CHARACTERS: Final = 76
MIN_WORD_BYTES: Final = 4  # one character
MAX_LINE_BYTES: Final = 998
# Longer words stay whole: URLs and Message-IDs must not be encoded (RFC 2047 section 5). Beyond
# this they do not fit on a line of 998 bytes.
MAX_WORD_CHARACTERS: Final = 900
CRLF: Final = "\r\n"

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PLAIN_PHRASE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")


def check_subject(subject: str) -> None:
    """Raise ValueError if the text cannot be one header field."""
    check_control(subject, "it")


def check_control(text: str, what: str) -> None:
    """Raise ValueError, naming `what`, if a text could end a line."""
    if _CONTROL.search(text):
        raise ValueError(
            f"{what} contains a line break or another control character; leave them out"
        )


def text_field(name: str, value: str) -> str:
    """Write `Name: value` with its line end, in encoded words if needed."""
    if not value or _is_plain(value):
        return fold(name, value.split(" "))
    return f"{name}: {encode_words(value, len(name) + 2)}{CRLF}"


def address_field(name: str, named_addresses: Iterable[NamedAddress]) -> str:
    """Write `Name: address, address` with its line end, one address per line."""
    lines = [
        _format_named_address(named_address, len(name) + 2 if not number else 1)
        for number, named_address in enumerate(named_addresses)
    ]
    return f"{name}: {f',{CRLF} '.join(lines)}{CRLF}"


def phrase_field(name: str, phrase: str, inner: str) -> str:
    """Write `Name: phrase <inner>` with its line end."""
    return f"{name}: {_format_in_brackets(phrase, inner, len(name) + 2)}{CRLF}"


def _format_named_address(named_address: NamedAddress, used_characters: int) -> str:
    if not named_address.name:
        return named_address.address
    return _format_in_brackets(named_address.name, named_address.address, used_characters)


def _format_in_brackets(name: str, inner: str, used_characters: int) -> str:
    phrase = write_phrase(name, used_characters)
    last_line_length = len(phrase) - (
        phrase.rfind(CRLF) + len(CRLF) if CRLF in phrase else -used_characters
    )
    fits = last_line_length + len(inner) + 3 <= MAX_LINE_CHARACTERS
    return f"{phrase}{' ' if fits else CRLF + ' '}<{inner}>"


def write_phrase(name: str, used_characters: int) -> str:
    """Write a display name: plain, quoted, or encoded (RFC 5322 section 3.2.5)."""
    is_short = len(name) <= MAX_LINE_CHARACTERS // 2 and _is_plain(name)
    if is_short and _PLAIN_PHRASE.fullmatch(name):
        return name
    if is_short:
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return encode_words(name, used_characters)


def looks_like_encoded_word(text: str) -> bool:
    """Whether a reader may find an encoded word in the text (RFC 2047 section 2)."""
    return "=?" in text and "?=" in text


def _is_plain(text: str) -> bool:
    """Whether the text reads the same without encoding, however folded."""
    words = text.split(" ")
    return (
        text.isascii()
        and not looks_like_encoded_word(text)
        and _CONTROL.search(text) is None
        and all(words)
        and max(map(len, words)) <= MAX_WORD_CHARACTERS
    )


def encode_words(text: str, used_characters: int) -> str:
    """Write encoded words (RFC 2047 section 2); the first line has `used_characters` less.

    The standard library's `Header` may fold before the first word, which readers take for a space.
    """
    words, data = list[str](), b""
    max_bytes = max(MIN_WORD_BYTES, _compute_word_bytes(MAX_LINE_CHARACTERS - used_characters))
    for character in text:
        encoded = character.encode()
        if len(data) + len(encoded) > max_bytes:
            words.append(_encode_word(data))
            data, max_bytes = b"", _compute_word_bytes(MAX_LINE_CHARACTERS - 1)
        data += encoded
    return f"{CRLF} ".join([*words, _encode_word(data)])


def _compute_word_bytes(characters: int) -> int:
    """Return how many bytes fit into an encoded word of this many characters."""
    return (characters - len(_encode_word(b""))) // 4 * 3


def _encode_word(data: bytes) -> str:
    return f"=?utf-8?b?{b64encode(data).decode()}?="


def fold(name: str, items: Sequence[str]) -> str:
    """Write `Name: item item` with its line end, folded between items.

    Raises ValueError if an item does not fit on a line (RFC 5322 section 2.1.1).
    """
    for item in items:
        if len(item) >= MAX_LINE_BYTES:
            raise ValueError(
                f"has {len(item)} characters without a blank, so the line cannot be folded; write"
                f" at most {MAX_LINE_BYTES - 1}"
            )
    first, *others = items
    lines, line = list[str](), f"{name}: {first}"
    if len(line) > MAX_LINE_BYTES:
        lines, line = [f"{name}:"], first
    for item in others:
        if len(line) + 1 + len(item) > MAX_LINE_CHARACTERS:
            lines.append(line)
            line = item
        else:
            line = f"{line} {item}"
    return f"{CRLF} ".join([*lines, line]) + CRLF
