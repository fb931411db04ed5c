"""Parse an untrusted message's parts (RFC 2046) in linear time, within limits.

Each level takes one search for its boundary, so the time is at most size times depth.
"""

from binascii import Error, a2b_base64, a2b_qp
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.domain.mime.header_reader import (
    Header,
    TooComplexError,
    check_bound,
    is_charset,
    read_header,
)

MAX_PARTS: Final = 1000
MAX_DEPTH: Final = 20
MAX_LINES_LIKE_BOUNDARIES: Final = 50_000
MAX_PART_HEADERS_BYTES: Final = 262_144  # of all parts together
MAX_BOUNDARY_CHARACTERS: Final = 200  # RFC 2046 section 5.1.1 allows 70


@dataclass(frozen=True, slots=True)
class Part:
    """A message or a part of one: start, header, end of body, and parts.

    Does not open attached messages: their parts do not belong to the outer one.
    """

    header: Header
    kind: str
    charset: str
    _content: bytes = field(repr=False)
    start: int
    end: int
    parts: list["Part"] = field(default_factory=list)

    def walk(self) -> Iterator["Part"]:
        """Yield this part and all parts in it, in order."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def decode(self, max_bytes: int) -> bytes:
        """Decode the first bytes of the body (RFC 2045 section 6)."""
        body = self._content[self.header.end : min(self.end, self.header.end + max_bytes)]
        encoding = (self.header.get("content-transfer-encoding") or "").lower()
        if encoding == "quoted-printable":
            return a2b_qp(body)
        if encoding != "base64":
            return body
        try:
            return a2b_base64(body + b"===")  # some mailers omit the padding
        except Error:
            return body

    def text(self, max_bytes: int) -> str:
        """Decode the beginning of the body as text with line feeds."""
        data = self.decode(max_bytes)
        return data.decode(self.charset, "replace").replace("\r\n", "\n")


def read_message(content: bytes) -> Part:
    """Parse a message with its parts; raise TooComplexError beyond a limit."""
    message, boundary = _read_part(content, 0, len(content))
    pending, count, lines, header_bytes = [(message, boundary, 1)], 1, 0, 0
    while pending:
        part, boundary, depth = pending.pop()
        if not boundary:
            continue
        if depth > MAX_DEPTH:
            raise TooComplexError(
                f"its parts are nested too deeply; at most {MAX_DEPTH} levels are allowed"
            )
        for place in _find_parts(content, part.header.end, part.end, boundary):
            if place is None:
                lines += 1
                check_bound(
                    "it has", lines, "lines like a boundary or more", MAX_LINES_LIKE_BOUNDARIES
                )
                continue
            count += 1
            check_bound("it has", count, "parts or more", MAX_PARTS)
            inner, inner_boundary = _read_part(content, *place)
            header_bytes += inner.header.end - place[0]
            check_bound(
                "the headers of its parts have", header_bytes, "bytes", MAX_PART_HEADERS_BYTES
            )
            part.parts.append(inner)
            pending.append((inner, inner_boundary, depth + 1))
    return message


def _read_part(content: bytes, start: int, end: int) -> tuple[Part, bytes]:
    """Read a part without its children, and their boundary; empty if there is none."""
    header = read_header(content, start, end)
    kind, parameters = header.media_type()
    charset = parameters.get("charset", "utf-8")
    boundary = parameters.get("boundary", "").rstrip() if kind.startswith("multipart/") else ""
    is_usable = len(boundary) <= MAX_BOUNDARY_CHARACTERS
    return (
        Part(header, kind, charset if is_charset(charset) else "utf-8", content, start, end),
        boundary.encode() if is_usable else b"",
    )


def _find_parts(
    content: bytes, start: int, end: int, boundary: bytes
) -> Iterator[tuple[int, int] | None]:
    """Find the children's ranges; None marks a line that only resembles a delimiter.

    The last child may lack its closing delimiter.
    """
    delimiter, part_start = b"--" + boundary, None
    at = start if content.startswith(delimiter, start, end) else -1
    while at >= 0 or (at := content.find(b"\n" + delimiter, start, end) + 1):
        line_end = content.find(b"\n", at, end)
        line_end = end if line_end < 0 else line_end
        rest = content[at + len(delimiter) : line_end].strip()
        if rest not in {b"", b"--"}:
            yield None
        elif part_start is not None:
            yield part_start, max(part_start, _exclude_line_end(content, at))
        if rest == b"--":
            return
        if not rest:
            part_start = min(line_end + 1, end)
        start, at = line_end, -1
    if part_start is not None:
        yield part_start, end


def _exclude_line_end(content: bytes, at: int) -> int:
    """Exclude the line end before a delimiter, which belongs to it (RFC 2046 section 5.1.1)."""
    for line_end in (b"\r\n", b"\n"):
        if content.startswith(line_end, at - len(line_end)):
            return at - len(line_end)
    return at
