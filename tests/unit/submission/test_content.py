"""Any content is prepared or refused, and what is prepared is what was submitted."""

import contextlib
import email.message
import email.policy
import json
from datetime import UTC, datetime
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.domain.mime.header_reader import MAX_HEADER_BYTES
from app.submission.content import RefusedContent, Trace, build_mime, read_content

HOSTNAME = "submit.example.com"
NAMES = st.sampled_from(["Subject", "X-Odd", "To", "Cc", "x", "Received"])
PRIVATE = st.sampled_from(["Bcc", "bCC", "Idempotency-Key", "X-Heloise-Tags", "x-heloise-priority"])
VALUES = st.lists(st.sampled_from(["a", " Bcc: b", "é", ":", "\r\n ", "\r\n\tBcc:c"]), max_size=6)
BODIES = st.lists(
    st.sampled_from([b"\r\n", b"a", b"Bcc: x\r\n", b".", b"\r\n.\r\n", b"\xff", b"\0"]), max_size=20
).map(b"".join)


def field(name: str, value: str) -> bytes:
    """A field with its line end."""
    return f"{name}: {value}\r\n".encode()


FIELDS = st.builds(field, NAMES, VALUES.map("".join))
OPTIONS = st.builds(field, PRIVATE, st.sampled_from(["high", "hi\r\n gh", ""]))
PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\r\n\r\n", b": ", b"Bcc", b"X-Heloise-Metadata: ", b'{"a":', b"[" * 99, b"}"),
        *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"--b\r\n", b"--b--\r\n", b"a" * 999),
        *(b"X-Heloise-Variables: ", b"NaN", b"1e999", b'"\\ud800"', b"\xff", b"\0", b" ", b"\t"),
        *(b"Content-Transfer-Encoding: base64\r\n", b"DKIM-Signature: v=1; d=a\r\n"),
    ]
)


def build(content: bytes) -> bytes:
    """The message as it is accepted."""
    return build_mime(read_content(content, HOSTNAME))


@given(st.lists(PIECES | st.binary(max_size=4), max_size=20).map(b"".join))
def test_any_content_is_built_or_refused(content: bytes) -> None:
    """Never by another exception, which would be an internal error."""
    with contextlib.suppress(InvalidRequest):
        build(content)


@given(st.lists(FIELDS | OPTIONS, max_size=8), BODIES)
def test_only_private_fields_are_taken_out(fields: list[bytes], body: bytes) -> None:
    """All other bytes stay, whatever they look like (RFC 6409 section 8)."""
    content = b"".join(fields) + b"\r\n" + body
    try:
        mail = read_content(content, HOSTNAME)
    except InvalidRequest:  # two options of one name, or a value that is none
        return
    remaining = [
        field for field in fields if not field.lower().startswith((b"bcc", b"idem", b"x-heloise"))
    ]
    assert build_mime(mail) == b"".join(remaining) + b"\r\n" + body


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=9)
        | st.sampled_from(["x" * 998, "y" * 3000, "é" * 700, "= " * 600, "." * 1000]),
        max_size=5,
    ),
    st.sampled_from(["", "Content-Type: text/plain\r\n", "Content-Type: image/png\r\n"]),
    st.booleans(),
)
def test_long_lines_are_encoded_and_decode_to_the_same(
    lines: list[str],
    kind: str,
    is_in_part: bool,  # noqa: FBT001
) -> None:
    """Heloise's reader and Python's `email` find what was submitted."""
    body = "".join(f"{line}\r\n" for line in lines).encode()
    header = b"From: a@example.com\r\n"
    content = header + kind.encode() + b"\r\n" + body
    if is_in_part:
        outer = header + b"Content-Type: multipart/mixed; boundary=bound\r\n\r\n--bound\r\n"
        content = outer + kind.encode() + b"\r\n" + body + b"\r\n--bound--\r\n"
    mime = build(content)
    assert all(len(line) <= 998 for line in mime.split(b"\r\n"))
    if all(len(line) <= 998 for line in content.split(b"\r\n")):
        assert mime == content
        return
    message = email.message_from_bytes(mime, policy=email.policy.SMTP)
    part = message.get_payload(0) if is_in_part else message
    assert isinstance(part, email.message.Message)
    assert part.get_payload(decode=True) == body


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
def test_metadata_is_read_as_a_library_writes_it(metadata: dict[str, str]) -> None:
    """As JSON in ASCII; what a database cannot store is refused."""
    content = f"From: a@example.com\r\nX-Heloise-Metadata: {json.dumps(metadata)}\r\n\r\n".encode()
    with contextlib.suppress(InvalidRequest):
        assert read_content(content, HOSTNAME).options.metadata == metadata


@pytest.mark.parametrize(
    "piece", [b"a", b"a:", b" ", b"a\r\n", b"Bcc:\r\n ", b"=?utf-8?q?", b";a="]
)
def test_a_header_costs_linear_time(piece: bytes) -> None:
    """It is read in the event loop; a quadratic search took a minute for 64 KiB."""
    content = b"From: a@example.com\r\n" + piece * (65_000 // len(piece)) + b"\r\n\r\n"
    before = process_time()
    with contextlib.suppress(InvalidRequest):
        build(content)
    assert process_time() - before < 1


def test_content_is_in_memory_once() -> None:
    """What needs no change is not copied; what is changed is released."""
    content = b"From: a@example.com\r\n\r\nHi\r\n"
    mail = read_content(content, HOSTNAME)
    assert build_mime(mail) is content
    assert mail.data == b""
    mail = read_content(b"Bcc: b@example.com\r\n" + content, HOSTNAME)
    assert build_mime(mail) == content
    assert mail.data == b""


def test_a_header_is_bounded() -> None:
    """Without an empty line, all would be header."""
    for content in (b"a: b\r\n" * 20_000, b"a" * MAX_HEADER_BYTES + b"\r\n\r\n"):
        with pytest.raises(RefusedContent, match="its header has"):
            build(content)


@given(st.text(max_size=20))
def test_received_repeats_only_the_name_of_a_host(name: str) -> None:
    """What a client calls itself cannot add a line or a word."""
    trace = Trace(
        client=None,
        client_name=name,
        hostname=HOSTNAME,
        session_id="sub_1",
        is_tls=True,
        now=datetime(2026, 1, 5, tzinfo=UTC),
    )
    assert len(trace.field().split()) == 16
    assert trace.field().count(b"\r\n") == 3
