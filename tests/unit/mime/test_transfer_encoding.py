"""Octets as lines that any server takes: as they are, quoted-printable or base64."""

import base64
import quopri
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mime.transfer_encoding import (
    BASE64_BLOCK_BYTES,
    encode_base64,
    encode_text,
    is_7bit,
)
from tests.support.rendered import BODIES

WHITE = st.text(st.sampled_from(" \t\r\n.=aé"), max_size=400)
LONG = st.lists(st.sampled_from(["x" * 73, "y", " ", "\t", "é", "=", ".", "\n"]), max_size=30).map(
    "".join
)


def canonical(text: str) -> bytes:
    """The text in CRLF lines, the last one ended."""
    lines = re.split(r"\r\n|\r|\n", text)
    if len(lines) > 1 and not lines[-1]:
        del lines[-1]
    return "".join(f"{line}\r\n" for line in lines).encode()


def decode(encoding: str, octets: bytes) -> bytes:
    """What a reader makes of it."""
    if encoding == "base64":
        return base64.b64decode(octets)
    return quopri.decodestring(octets) if encoding == "quoted-printable" else octets


@given(BODIES | WHITE | LONG)
def test_any_text_reads_back_to_the_octet(text: str) -> None:
    """Spaces at the end of lines too; a lone CR or LF has become CRLF."""
    encoding, octets = encode_text(text)
    assert decode(encoding, octets) == canonical(text)


@given(BODIES | WHITE | LONG)
def test_every_line_is_short(text: str) -> None:
    """78 octets (RFC 5322 section 2.1.1), and 76 where it is encoded (RFC 2045 section 6.7)."""
    encoding, octets = encode_text(text)
    assert octets.isascii()
    assert b"\0" not in octets
    assert octets.endswith(b"\r\n")
    assert octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r")
    assert max(map(len, octets.split(b"\r\n"))) <= (78 if encoding == "7bit" else 76)
    assert encoding == "7bit" or not re.search(rb"[ \t]\r\n", octets)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "7bit"),
        ("Thanks.", "7bit"),
        ("x" * 78, "7bit"),
        ("tab\tand form feed\f \n", "7bit"),
        ("x" * 79, "quoted-printable"),
        ("Viele Grüße aus der Stadt. " * 5, "quoted-printable"),
        ("nothing\0", "quoted-printable"),
        ("--=_heloise_mixed", "quoted-printable"),
        ("ä" * 10, "base64"),
        ("漢字", "base64"),
        ("\0", "base64"),
    ],
)
def test_the_encoding_is_the_shortest_that_is_safe(text: str, encoding: str) -> None:
    """What could be taken for a boundary is not safe as it is."""
    assert encode_text(text)[0] == encoding


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("é, and so on: a = b", b"=C3=A9, and so on: a =3D b\r\n"),
        ("é, and so on \n.\n", b"=C3=A9, and so on=20\r\n=2E\r\n"),
        (
            "é, and so on.\n" + "x" * 74 + " \n",
            b"=C3=A9, and so on.\r\n" + b"x" * 74 + b"=\r\n=20\r\n",
        ),
        ("é, and so on\r.hidden", b"=C3=A9, and so on\r\n.hidden\r\n"),
        ("é, and so on" + "\n" * 3, b"=C3=A9, and so on\r\n\r\n\r\n"),
    ],
)
def test_quoted_printable_is_as_plain_as_it_can_be(text: str, octets: bytes) -> None:
    """RFC 2045 section 6.7."""
    assert encode_text(text) == ("quoted-printable", octets)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 114, 1000])
@pytest.mark.parametrize("blocks", [0, 2])
def test_base64_has_lines_of_76(size: int, blocks: int) -> None:
    """Over the edges of lines and of blocks."""
    octets = bytes(range(251)) * ((BASE64_BLOCK_BYTES * blocks + size) // 251 + 1)
    octets = octets[: BASE64_BLOCK_BYTES * blocks + size]
    expected = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    assert b"".join(encode_base64(octets)) == expected


@pytest.mark.parametrize(
    ("octets", "clean"),
    [
        (b"", True),
        (b"Subject: Hi\r\n\r\nHello.\r\n", True),
        (b"no end", True),
        (b"x" * 998, True),
        (b"x" * 999, False),
        (b"a\nb", False),
        (b"a\rb\r\n", False),
        (b"a\0b", False),
        ("ä".encode(), False),
        (b"--=_heloise_mixed", False),
    ],
)
def test_what_is_not_encoded_must_be_clean(octets: bytes, *, clean: bool) -> None:
    """RFC 2045 section 2.7, and it holds no boundary."""
    assert is_7bit(octets) is clean
