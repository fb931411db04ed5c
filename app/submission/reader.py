"""Split a client's bytes into command lines and message content, without I/O.

RFC 5321 sections 2.3.7 (lines), 4.5.2 (transparency) and 4.5.3.1 (sizes), RFC 3030 (BDAT).
"""

from io import BytesIO
from typing import Final

from app.domain.errors import Problem

CRLF: Final = b"\r\n"
END_OF_DATA: Final = b"\r\n.\r\n"
STUFFED: Final = b"\r\n."
TAIL_BYTES: Final = range(len(END_OF_DATA) - 1, -1, -1)


class LineTooLongError(Exception):
    """A command line exceeds its limit."""


class BareLineEndError(Exception):
    """A command line ends in LF alone, or contains a lone CR.

    Servers that disagree about line ends let a client smuggle a second message into the first.
    """


class LineReader:
    """Buffer bytes and return command lines."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def __len__(self) -> int:
        return len(self._buffer)

    def next_line(self, max_bytes: int) -> bytes | None:
        """Return the next line without its CRLF, or None if it is not complete.

        `max_bytes` includes the CRLF. Raises LineTooLongError or BareLineEndError; the connection
        is out of step afterwards.
        """
        end = self._buffer.find(b"\n", 0, max_bytes)
        if end < 0:
            if len(self._buffer) >= max_bytes:
                raise LineTooLongError
            return None
        line = bytes(self._buffer[: end - 1])
        if self._buffer[end - 1 : end] != b"\r" or b"\r" in line:
            raise BareLineEndError
        del self._buffer[: end + 1]
        return line

    def take(self, max_bytes: int | None = None) -> bytes:
        """Remove and return what is buffered, at most `max_bytes`."""
        chunk = bytes(memoryview(self._buffer)[:max_bytes])
        del self._buffer[:max_bytes]
        return chunk

    def put_back(self, data: bytes) -> None:
        """Put bytes in front of what is buffered."""
        self._buffer[:0] = data


class Content:
    """The content of one message, checked as it arrives.

    It is kept up to `max_bytes`, and no longer than there is no `problem` with keeping it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = BytesIO()
        self._last = b""
        self._pairs = self._returns = self._feeds = 0
        self.size_bytes = 0
        self.problem: Problem | None = None

    @property
    def kept_bytes(self) -> int:
        """How many bytes are in memory."""
        return self._buffer.getbuffer().nbytes

    @property
    def is_too_large(self) -> bool:
        """Whether it exceeds `max_bytes`."""
        return self.size_bytes > self._max_bytes

    @property
    def has_bare_line_ends(self) -> bool:
        """Whether a CR or LF stands alone."""
        return not self._pairs == self._returns == self._feeds

    def add(self, data: bytes) -> None:
        """Append decoded bytes."""
        self._pairs += data.count(CRLF) + (self._last == b"\r" and data.startswith(b"\n"))
        self._returns += data.count(b"\r")
        self._feeds += data.count(b"\n")
        self._last = data[-1:] or self._last
        self.size_bytes += len(data)
        if self.is_too_large:
            self._buffer = BytesIO()
        elif self.problem is None:
            self._buffer.write(data)

    def drop(self, problem: Problem) -> None:
        """Keep nothing: it will be refused for this."""
        self.problem, self._buffer = problem, BytesIO()

    def take(self) -> bytes:
        """Return the content and release it."""
        content, self._buffer = self._buffer.getvalue(), BytesIO()
        return content


class DataDecoder:
    """Undo dot-stuffing until CRLF.CRLF, adding to `content` (RFC 5321 section 4.5.2).

    Only CRLF.CRLF ends the content. A chunk costs time in proportion to its size.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        # What may be the beginning of the end, so it is not decoded yet. DATA's own line end
        # counts, for the content may begin with the final dot, but is no part of the content.
        self._tail = CRLF
        self._skipped_bytes = len(CRLF)

    def feed(self, data: bytes) -> bytes | None:
        """Decode; return the bytes behind the final dot, or None while it is missing."""
        data = self._tail + data if self._tail else data
        end = data.find(END_OF_DATA)
        if end >= 0:
            self._decode(data[: end + len(CRLF)])
            return data[end + len(END_OF_DATA) :]
        tail_bytes = next(count for count in TAIL_BYTES if data.endswith(END_OF_DATA[:count]))
        end = len(data) - tail_bytes
        self._tail = data[end:]
        self._decode(data[:end])
        return None

    def _decode(self, part: bytes) -> None:
        if part:
            self._content.add(part.replace(STUFFED, CRLF)[self._skipped_bytes :])
            self._skipped_bytes = 0
