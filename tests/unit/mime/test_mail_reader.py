"""Mail that somebody else made, read by bytes: headers, encoded words, parts, and who sent it."""

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mime.header_reader import TooComplexError, decode_words, read_header
from app.domain.mime.headers import address_field, text_field
from app.domain.mime.originator import read_originator
from app.domain.mime.part_reader import read_message
from app.domain.types import NamedAddress

LINE = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")
TEXT = st.text(LINE, max_size=200).map(lambda text: " ".join(text.split()))
NAME = TEXT.filter(lambda name: not {"<", ">", "@", "\ufffd"} & set(name))
# Bytes of which mail is made, so that random ones come near to it.
MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n"
PIECES = st.sampled_from(
    [
        *(b"a", b":", b" ", b"\r\n", b"\n", b"\r", b"--b", b"--", b"X: y\r\n", b"\xff"),
        *(b"=?utf-8?q?a?=", MULTIPART, b"\r\n\r\n", b'"', b"<a@b>", b"\0"),
    ]
)
MAIL = st.lists(PIECES, max_size=60).map(b"".join)


@given(TEXT)
def test_a_subject_reads_as_it_was_written(text: str) -> None:
    """Whatever Heloise made of it: plain, folded or encoded words."""
    field = text_field("Subject", text)
    assert decode_words(read_header(field.encode()).get("subject") or "") == text


@given(NAME)
def test_a_mailbox_reads_as_it_was_written(name: str) -> None:
    """Of names that cannot be taken for an address."""
    named_address = NamedAddress("a@example.com", name)
    field = address_field("From", [named_address])
    assert read_originator(read_header(field.encode()).get("from") or "") == named_address


@given(
    TEXT, st.sampled_from(["utf-8", "utf-16-le"]), st.sampled_from(["base64", "quoted-printable"])
)
def test_a_part_reads_as_another_library_wrote_it(text: str, charset: str, encoding: str) -> None:
    """In its charset, out of its transfer encoding, between its boundaries."""
    made = EmailMessage(policy=policy.SMTP)
    made.set_content(text, cte=encoding)
    made.add_attachment(text.encode(charset), maintype="application", subtype="x")
    message = read_message(made.as_bytes())
    assert message.kind == "multipart/mixed"
    plain, attached = message.parts
    assert plain.text(10_000).rstrip("\n") == text
    assert attached.decode(10_000) == text.encode(charset)


@given(MAIL)
def test_any_bytes_are_read_or_too_complex(content: bytes) -> None:
    """Nothing else is raised; no part reaches out of the mail."""
    try:
        message = read_message(content)
    except TooComplexError:
        return
    for part in message.walk():
        assert part.header.end <= part.end <= len(content)
        part.text(1000)


@given(MAIL)
def test_the_senders_address_is_known_or_refused(content: bytes) -> None:
    """A mailbox that is read is what Python reads in it too, where that finds no defect."""
    field = b"From: " + content.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n\r\n"
    value = read_header(field).get("from") or ""
    try:
        named_address = read_originator(value)
    except ValueError:
        return
    parsed = message_from_bytes(field, policy=policy.SMTPUTF8)["from"]
    assert [address.addr_spec.lower() for address in parsed.addresses] == [
        named_address.address.lower()
    ]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?=\t =?iso-8859-1?q?=FC?= c", "aü c"),
        ("a =?utf-8?q?b?= c", "a b c"),
        ("=?utf-8?b?w?= =?utf-8?q?=C3?= =?utf-8?q?=BC?=", "=?utf-8?b?w?= ü"),
        ("=?utf-8?b?YQ?=", "a"),
        (
            "=?punycode?q?a?= =?cp99?q?a?= =?utf-8?x?a?=",
            "=?punycode?q?a?= =?cp99?q?a?= =?utf-8?x?a?=",
        ),
        ("=?utf-8*en?q?a_b?=", "a b"),
        ("=?UTF-8?Q?a?==?utf-8?q?b?=", "ab"),
        ("=?utf-8?q??= =?utf-8?q?b?=", "b"),
    ],
)
def test_encoded_words(text: str, read: str) -> None:
    """RFC 2047, and what mailers make of it."""
    assert decode_words(text) == read
