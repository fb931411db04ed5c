"""What goes on the wire is the same in one piece and in blocks, whatever the message holds."""

from hypothesis import given
from hypothesis import strategies as st

from app.smtp.body import encode_data, encode_last_chunk, iter_chunk_blocks, iter_data_blocks

MIME = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b"a" * 20])).map(b"".join)


@given(mime=MIME, size=st.integers(1, 30))
def test_blocks_are_dot_stuffed_as_the_whole_is(mime: bytes, size: int) -> None:
    """No dot at the beginning of a line is missed where two blocks meet, and no line end."""
    assert b"".join(iter_data_blocks(mime, size)) == b"".join(encode_data(mime))


@given(mime=MIME)
def test_blocks_are_counted_as_the_whole_is(mime: bytes) -> None:
    """One chunk, whose size is told before it."""
    assert b"".join(iter_chunk_blocks(mime)) == b"".join(encode_last_chunk(mime))
