"""Parse an untrusted message's header in linear time, within limits.

RFC 5322 section 2.2 (fields, folding), RFC 2045 section 5 (parameters), RFC 2047 (encoded words).
Does not use Python's `email`: some of its parsers need quadratic time and memory.
"""

import re
from binascii import Error, a2b_base64, a2b_qp
from codecs import lookup
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from app.domain.outcome.replies import make_printable

MAX_HEADER_BYTES: Final = 65_536
MAX_FIELD_BYTES: Final = 32_768
MAX_FIELDS: Final = 500
MAX_ENCODED_WORDS: Final = 500  # per field
MAX_PARAMETERS: Final = 100  # per field
MAX_SHOWN_CHARACTERS: Final = 40

_FIELD: Final = re.compile(rb"([!-9;-~]+)([ \t]*):")  # RFC 5322 section 2.2
_PARAMETER: Final = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')
_ESCAPE: Final = re.compile(r"\\(.)")
_WORD: Final = re.compile(r"=\?([A-Za-z0-9_-]{1,40})(?:\*[^?\s]*)?\?([BbQq])\?([^?\s]*)\?=")
# Python has codecs that are no mail charsets, and slow: `punycode`, `unicode_escape`.
_CHARSET: Final = re.compile(
    r"utf-?8|us-ascii|ascii|iso-8859-\d{1,2}|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|gb2312|gbk"
    r"|gb18030|big5|shift[_-]jis|euc-(?:jp|kr)|iso-2022-(?:jp|kr)|ks_c_5601-1987",
    re.IGNORECASE,
)


class TooComplexError(ValueError):
    """A message exceeds a limit; the text names the limit and the size."""


@dataclass(frozen=True, slots=True)
class Header:
    """The fields in order, names as written, values unfolded and printable.

    `values` has the values of each name, in lower case. The body begins at `end`. `stray` is the
    first line that RFC 5322 does not allow, if any.
    """

    fields: tuple[tuple[str, str], ...]
    values: dict[str, list[str]]
    end: int
    stray: str | None = None

    def get(self, name: str) -> str | None:
        """Return the first field with this name, in lower case."""
        values = self.values.get(name)
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        """Return all fields with this name, in lower case."""
        return self.values.get(name, [])

    def media_type(self) -> tuple[str, dict[str, str]]:
        """Return the Content-Type in lower case, and its parameters (RFC 2045 section 5.1)."""
        kind = (self.get("content-type") or "").partition(";")[0].strip().lower()
        return (kind if "/" in kind else "text/plain"), self.parameters("content-type")

    def parameters(self, name: str) -> dict[str, str]:
        """Return the parameters of a field, by their names in lower case (RFC 2045 section 5.1)."""
        return {
            match[1].lower(): match[3] if match[2] is None else _ESCAPE.sub(r"\1", match[2])
            for match in _PARAMETER.finditer(self.get(name) or "")
        }


def check_bound(what: str, size: int, unit: str, limit: int) -> None:
    """Raise TooComplexError if a size exceeds its limit."""
    if size > limit:
        raise TooComplexError(f"{what} {size:,} {unit}; at most {limit:,} are allowed")


def read_header(content: bytes, start: int = 0, end: int | None = None) -> Header:
    """Read the header from `start` to the empty line.

    Lines end in CRLF or LF; lines that are no fields are skipped. Raises TooComplexError.
    """
    stop, body = _find_end(content, start, len(content) if end is None else end)
    check_bound("its header has", stop - start, "bytes", MAX_HEADER_BYTES)
    names, values, stray = list[str](), list[list[bytes]](), None
    for line in _split_lines(content[start:stop]):
        match = _FIELD.match(line)
        if line[:1] in {b" ", b"\t"} and names:
            values[-1].append(line)
            is_allowed = not line.isspace()
        elif match is not None:
            names.append(match[1].decode())
            values.append([line[match.end() :]])
            is_allowed = not match[2]
        else:
            is_allowed = False
        if not is_allowed and stray is None:
            stray = make_printable(line[:MAX_SHOWN_CHARACTERS].decode("utf-8", "replace"))
    check_bound("its header has", len(names), "fields", MAX_FIELDS)
    fields = tuple(zip(names, map(_read_value, names, values), strict=True))
    values_by_name = dict[str, list[str]]()
    for name, value in fields:
        values_by_name.setdefault(name.lower(), []).append(value)
    return Header(fields, values_by_name, body, stray)


def _find_end(content: bytes, start: int, end: int) -> tuple[int, int]:
    """Return the end of the header's last line, and the start of the body."""
    for empty in (b"\n", b"\r\n"):
        if content.startswith(empty, start, end):
            return start, start + len(empty)
    ends = [
        (at + 1, at + len(line_ends))
        for line_ends in (b"\n\r\n", b"\n\n")
        if (at := content.find(line_ends, start, end)) >= 0
    ]
    return min(ends, default=(end, end))


def _split_lines(header: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in header.removesuffix(b"\n").split(b"\n")]


def _read_value(name: str, lines: list[bytes]) -> str:
    """Unfold a field's value, within limits."""
    value = b"".join(lines)
    what = f"its field {name[:MAX_SHOWN_CHARACTERS]} has"
    check_bound(what, len(value), "bytes", MAX_FIELD_BYTES)
    check_bound(what, value.count(b"=?"), "encoded words", MAX_ENCODED_WORDS)
    if name.lower().startswith("content-"):
        check_bound(what, value.count(b";"), "parameters", MAX_PARAMETERS)
    return make_printable(value.decode("utf-8", "replace")).strip()


def decode_words(text: str) -> str:
    """Decode encoded words; the result is printable and on one line.

    Drops blanks between two encoded words (RFC 2047 section 6.2). Leaves unknown charsets and other
    text as they are. Accepts a character split over words of one charset, which some mailers send
    against section 5.
    """
    pieces, last_end, charset, pending = list[str](), 0, "", b""
    for match in _WORD.finditer(text):
        data = decode_bytes(match[2], match[3].encode())
        if data is None or not is_charset(match[1]):
            continue
        between = text[last_end : match.start()]
        if charset and not between.strip():
            between = ""
        if between or charset != match[1].lower():
            pieces += [pending.decode(charset or "ascii", "replace"), between]
            charset, pending = match[1].lower(), b""
        pending += data
        last_end = match.end()
    pieces += [pending.decode(charset or "ascii", "replace"), text[last_end:]]
    return make_printable("".join(pieces)).replace("\n", " ")


def decode_bytes(encoding: str, encoded: bytes) -> bytes | None:
    """Decode the bytes of an encoded word, B or Q; None if invalid."""
    if encoding in {"Q", "q"}:
        return a2b_qp(encoded, header=True)
    try:
        return a2b_base64(encoded + b"===")  # some mailers omit the padding
    except Error:
        return None


@lru_cache(maxsize=256)
def is_charset(name: str) -> bool:
    """Whether this is a charset of mail that Python supports."""
    if _CHARSET.fullmatch(name) is None:
        return False
    try:
        lookup(name)
    except LookupError:
        return False
    return True
