"""Read what a mail program shows of an untrusted message: headers, text, HTML and files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from app.domain.mime.header_reader import Header, decode_words, is_charset
from app.domain.mime.part_reader import Part, read_message

MAX_TEXT_BYTES: Final = 1_000_000
_DISPOSITION: Final = "content-disposition"
# `filename*0*=utf-8''…; filename*1=…` (RFC 2231 sections 3 and 4)
_SECTION: Final = re.compile(r"filename(?:\*(\d{1,3}))?(\*)?")


@dataclass(frozen=True, slots=True)
class File:
    """A file in a message."""

    name: str
    kind: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contents:
    """The decoded contents of a message; texts are cut after `MAX_TEXT_BYTES` on the wire."""

    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    files: tuple[File, ...]


def read_contents(content: bytes) -> Contents:
    """Decode a message in linear time; raise TooComplexError beyond a limit."""
    message = read_message(content)
    return Contents(
        headers=tuple((name, decode_words(value)) for name, value in message.header.fields),
        text=find_text(message, "text/plain"),
        html=find_text(message, "text/html"),
        files=tuple(_find_files(message, len(content))),
    )


def find_text(message: Part, kind: str) -> str | None:
    """Return the text of the first part of this type that is no file, or None."""
    for part in message.walk():
        if part.kind == kind and not is_attached(part):
            return part.text(MAX_TEXT_BYTES)
    return None


def _find_files(message: Part, max_bytes: int) -> Iterator[File]:
    for part in message.walk():
        name = read_file_name(part.header)
        if part.parts or not (name or is_attached(part)):
            continue
        yield File(name or "unnamed", part.kind, part.decode(max_bytes))


def is_attached(part: Part) -> bool:
    """Whether a part says that it is an attachment (RFC 2183)."""
    return (part.header.get(_DISPOSITION) or "").lower().startswith("attachment")


def read_file_name(header: Header) -> str:
    """Return the name of a part's file (RFC 2183, RFC 2231); empty without one."""
    sections = list[tuple[int, str, bool]]()
    for name, value in header.parameters(_DISPOSITION).items():
        if (match := _SECTION.fullmatch(name)) is not None:
            sections.append((int(match[1] or 0), value, match[2] is not None))
    if not sections:
        return decode_words(header.parameters("content-type").get("name", ""))
    sections.sort()
    charset, data = "utf-8", b""
    for number, value, is_encoded in sections:
        if is_encoded and not number and value.count("'") >= 2:  # noqa: PLR2004 - RFC 2231
            charset, _, value = value.split("'", 2)  # noqa: PLW2901 - the rest of it
        data += unquote_to_bytes(value) if is_encoded else value.encode()
    text = data.decode(charset if is_charset(charset) else "utf-8", "replace")
    return decode_words(text)
