"""Any bytes, in any chunks, are read as in one chunk, within limits."""

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from app.submission.reader import (
    END_OF_DATA,
    BareLineEndError,
    Content,
    DataDecoder,
    LineReader,
    LineTooLongError,
)

MAX_LINE_BYTES = 12
MAX_CONTENT_BYTES = 40
BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
# Bytes that mean something to a reader, and few others, so that they often stand together.
WIRE = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"\r\n.\r\n", b"\0", b"ab", b"\xff"]), max_size=30
).map(b"".join)
CUTS = st.lists(st.integers(0, 60), max_size=12).map(sorted)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in chunks, some of them empty."""
    return [data[start:end] for start, end in pairwise([0, *cuts, max([len(data), *cuts])])]


def read_lines(chunks: list[bytes]) -> list[object]:
    """The lines, and how reading ends."""
    reader, events = LineReader(), list[object]()
    for chunk in chunks:
        reader.feed(chunk)
        try:
            while (line := reader.next_line(MAX_LINE_BYTES)) is not None:
                events.append(line)
        except (LineTooLongError, BareLineEndError) as error:
            return [*events, type(error)]
        assert len(reader) < MAX_LINE_BYTES
    return [*events, reader.take()]


def decode(chunks: list[bytes]) -> tuple[Content, bytes | None]:
    """The content, and what follows it; None where its end is missing."""
    content, rest = Content(MAX_CONTENT_BYTES), None
    decoder = DataDecoder(content)
    for number, chunk in enumerate(chunks):
        if (rest := decoder.feed(chunk)) is not None:
            return content, rest + b"".join(chunks[number + 1 :])
        assert content.kept_bytes <= MAX_CONTENT_BYTES
    return content, rest


@given(WIRE, CUTS)
def test_chunks_do_not_change_lines(wire: bytes, cuts: list[int]) -> None:
    """Nor the error that ends them, nor what is left."""
    assert read_lines(split(wire, cuts)) == read_lines([wire])


@given(st.lists(st.binary(max_size=10).filter(lambda line: BARE.search(line) is None), max_size=9))
def test_lines_are_read_as_written(lines: list[bytes]) -> None:
    """A line has any bytes but CR and LF."""
    lines = [line.replace(b"\r\n", b"") for line in lines]
    assert read_lines([line + b"\r\n" for line in lines]) == [*lines, b""]


@given(WIRE, CUTS)
@example(b".\r\nNOOP\r\n", [1, 2])
@example(b"..\r\n\r\n.\r.\r\n.\n.\r\n.\r\n", [4, 5, 6, 7])
def test_chunks_do_not_change_content(wire: bytes, cuts: list[int]) -> None:
    """Content is what stands before the first CRLF.CRLF, with one dot less at its lines' starts."""
    content, rest = decode(split(wire, cuts))
    # DATA's own line end belongs to CRLF.CRLF where the content is empty.
    before, end, behind = (b"\r\n" + wire).partition(END_OF_DATA)
    if not end:
        assert rest is None
        return
    lines = (before + b"\r\n").split(b"\r\n")[1:]
    expected = b"\r\n".join(line.removeprefix(b".") for line in lines)
    assert rest == behind
    assert content.size_bytes == len(expected)
    assert content.has_bare_line_ends == (BARE.search(expected) is not None)
    assert content.take() == (b"" if len(expected) > MAX_CONTENT_BYTES else expected)


@given(WIRE, CUTS)
@example(b"\r\n" * 14 + b".\r\n", [])
def test_stuffed_content_is_read_as_written(text: bytes, cuts: list[int]) -> None:
    """A client doubles the dots at the starts of lines (RFC 5321 section 4.5.2)."""
    written = BARE.sub(b"", text[:30]) + b"\r\n"
    stuffed = re.sub(rb"(?m)^\.", b"..", written)
    content, rest = decode(split(stuffed + b".\r\nQUIT", cuts))
    assert (content.take(), rest) == (written, b"QUIT")
    assert not content.has_bare_line_ends


@given(WIRE, CUTS)
def test_bare_line_ends_show_in_any_chunks(wire: bytes, cuts: list[int]) -> None:
    """BDAT has no dots; the rule of line ends is the same."""
    content = Content(MAX_CONTENT_BYTES)
    for chunk in split(wire, cuts):
        content.add(chunk)
    assert content.has_bare_line_ends == (BARE.search(wire) is not None)
