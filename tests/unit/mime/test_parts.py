"""The parts of a message: what the standard library would make of the same, but for the octets."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mime.build import Attachment, Content, render
from tests.support.rendered import BODIES, content, parse, render_content

PDF: Final = Attachment(filename="a.pdf", content_type="application/pdf", content=b"%PDF\0\xff")
LOGO: Final = Attachment(
    filename="logo.png", content_type="image/png", content=b"\x89PNG", content_id="logo@example.com"
)
FORWARDED: Final = b"Subject: Hi\r\n\r\nHello.\r\n"


def by_the_standard_library(given_content: Content) -> EmailMessage:
    """The same content as the standard library builds it."""
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message["Date"] = given_content.date
    message["From"] = given_content.sender.address
    message["To"] = ", ".join(recipient.address for recipient in given_content.to)
    message["Subject"] = given_content.subject
    message["Message-ID"] = given_content.message_id
    page: Any = message
    if given_content.text is not None:
        message.set_content(given_content.text)
    if given_content.html is not None and given_content.text is not None:
        message.add_alternative(given_content.html, subtype="html")
        page = message.get_payload(1)
    elif given_content.html is not None:
        message.set_content(given_content.html, subtype="html")
    for attachment in given_content.attachments:
        maintype, subtype = attachment.content_type.split("/")
        options: dict[str, Any] = {"maintype": maintype, "subtype": subtype}
        options |= {"filename": attachment.filename or None}
        if attachment.content_id is not None:
            options |= {"cid": f"<{attachment.content_id}>", "disposition": "inline"}
        if attachment.content_id is not None and given_content.html is not None:
            page.add_related(attachment.content, **options)
    for attachment in given_content.attachments:
        if attachment.content_id is None or given_content.html is None:
            _attach(message, attachment)
    return message


def _attach(message: EmailMessage, attachment: Attachment) -> None:
    maintype, subtype = attachment.content_type.split("/")
    inline = attachment.content_id is not None
    message.add_attachment(
        attachment.content,
        maintype=maintype,
        subtype=subtype,
        filename=attachment.filename or None,
        disposition="inline" if inline else "attachment",
        cid=f"<{attachment.content_id}>" if inline else None,
    )


def shape(message: EmailMessage) -> Any:
    """The tree of parts: type, how it is shown, its names, and what is in it."""
    facts = (
        message.get_content_type(),
        message.get_content_disposition(),
        message.get_filename(),
        message["Content-ID"],
        message.get_content_charset(),
    )
    if message.is_multipart():
        return (*facts, [shape(part) for part in message.iter_parts()])
    octets = message.get_payload(decode=True)
    assert isinstance(octets, bytes)
    if message.get_content_maintype() == "text" and not message.get_filename():
        return (*facts, octets.splitlines())
    return (*facts, octets)


WORDS: Final = st.text("abc äöü 漢字", max_size=30).map(lambda text: " ".join(text.split()))
FILENAMES: Final = st.text("ab.cäö漢 -_", max_size=30).map(lambda text: " ".join(text.split()))
FILES: Final = st.builds(
    Attachment,
    filename=FILENAMES,
    content_type=st.sampled_from(["application/pdf", "image/png", "text/csv", "a/b"]),
    content=st.binary(max_size=300),
    content_id=st.none() | st.sampled_from(["logo", "a@b.example"]),
)
SOME_BODIES: Final = BODIES | st.sampled_from(["--=_heloise_mixed--\n", "x" * 999, "\0", ".\n..\n"])


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """Every shape: text, HTML or both, files and pictures."""
    text, html = draw(
        st.tuples(SOME_BODIES, SOME_BODIES)
        | st.tuples(SOME_BODIES, st.none())
        | st.tuples(st.none(), SOME_BODIES)
    )
    return content(
        subject=draw(WORDS),
        text=text,
        html=html,
        attachments=tuple(draw(st.lists(FILES, max_size=3))),
    )


@given(contents())
def test_any_message_reads_as_the_standard_librarys_does(given_content: Content) -> None:
    """The same structure, header, text and files; parsed without a defect."""
    ours = parse(render(given_content))
    bytes_of_theirs = by_the_standard_library(given_content).as_bytes()
    theirs = message_from_bytes(bytes_of_theirs, policy=SMTP)
    assert isinstance(theirs, EmailMessage)
    assert shape(ours) == shape(theirs)
    for name in ("Date", "Subject", "Message-ID", "MIME-Version"):
        assert str(ours[name]) == str(theirs[name])
    for name in ("From", "To"):
        assert [address.addr_spec for address in ours[name].addresses] == [
            address.addr_spec for address in theirs[name].addresses
        ]


@given(contents())
def test_lines_are_short_wherever_they_can_be(given_content: Content) -> None:
    """RFC 5322 section 2.1.1: 78 characters, in every part and its header."""
    assert max(map(len, render(given_content).split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"attachments": (PDF,)}, ["mixed", "plain", "pdf"]),
        (
            {"html": "<img src=cid:logo@example.com>", "attachments": (PDF, LOGO)},
            ["mixed", "alternative", "plain", "related", "html", "png", "pdf"],
        ),
        ({"text": None, "html": "H", "attachments": (LOGO,)}, ["related", "html", "png"]),
        ({"attachments": (LOGO,)}, ["mixed", "plain", "png"]),
    ],
)
def test_files_are_next_to_their_parts(fields: dict[str, Any], kinds: list[str]) -> None:
    """Pictures beside the HTML that shows them (RFC 2387), all else after everything."""
    message = parse(render_content(**fields))
    assert [part.get_content_subtype() for part in message.walk()] == kinds


def test_a_whole_message_of_parts_is_as_plain_on_the_wire() -> None:
    """RFC 2046 section 5.1.1."""
    mime = render_content(text="T", attachments=(PDF,)).partition(b"\r\nContent-Type: ")[2]
    assert mime == (
        b"multipart/mixed;\r\n"
        b' boundary="=_heloise_mixed"\r\n'
        b"MIME-Version: 1.0\r\n"
        b"\r\n"
        b"--=_heloise_mixed\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"T\r\n"
        b"\r\n"
        b"--=_heloise_mixed\r\n"
        b"Content-Type: application/pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment;\r\n"
        b' filename="a.pdf"\r\n'
        b"\r\n"
        b"JVBERgD/\r\n"
        b"\r\n"
        b"--=_heloise_mixed--\r\n"
    )


BOUNDARIES: Final = [f"--=_heloise_{kind}" for kind in ("alternative", "related", "mixed")]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_no_text_and_no_file_holds_a_boundary(boundary: str) -> None:
    """Who knows it cannot end a part by it, nor by that of the part around it."""
    text = f"a\n{boundary}\nContent-Type: text/html\n\nb\n{boundary}--\n"
    eml = Attachment(filename="", content_type="message/rfc822", content=text.encode())
    csv = Attachment(filename="", content_type="text/csv", content=text.encode())
    mime = render_content(text=text, html=text, attachments=(LOGO, eml, csv))
    parts = [part for part in parse(mime).walk() if not part.is_multipart()]
    assert [part.get_content_subtype() for part in parts] == [
        *("plain", "html", "png"),
        *("octet-stream", "csv"),
    ]
    assert [part.get_content().splitlines() for part in parts[:2]] == [text.splitlines()] * 2
    assert parts[3].get_payload(decode=True) == text.encode()


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (FORWARDED, "message/rfc822"),
        (FORWARDED.replace(b"\r", b""), "application/octet-stream"),
        ("Subject: Hi\r\n\r\nGrüße\r\n".encode(), "application/octet-stream"),
    ],
)
def test_a_message_in_a_message_is_not_encoded(octets: bytes, kind: str) -> None:
    """RFC 2046 section 5.2.1; one that had to be is a file like any other, its bytes kept."""
    eml = Attachment(filename="a.eml", content_type="message/rfc822", content=octets)
    *_, file = parse(render_content(attachments=(eml,))).iter_attachments()
    assert (file.get_content_type(), file.get_filename()) == (kind, "a.eml")
    if kind == "message/rfc822":
        assert file["Content-Transfer-Encoding"] == "7bit"
        assert file.get_content()["Subject"] == "Hi"
        assert file.get_content().get_content() == "Hello.\r\n"
    else:
        assert file.get_payload(decode=True) == octets


def test_parts_made_elsewhere_are_a_file_like_any_other() -> None:
    """A multipart type would be read as parts of this message."""
    bundle = Attachment(filename="", content_type="Multipart/Mixed; boundary=x", content=b"--x--")
    *_, file = parse(render_content(attachments=(bundle,))).iter_attachments()
    assert (file.get_content_type(), file.get_content()) == ("application/octet-stream", b"--x--")


def test_a_files_type_keeps_its_parameters() -> None:
    """On one line or on several."""
    long = "; ".join(
        ["text/csv", "charset=utf-8", 'header="present, as it should be"', "a=" + "b" * 60]
    )
    for written in ("text/csv; charset=utf-8", long):
        csv = Attachment(filename="a.csv", content_type=written, content="ä".encode())
        *_, file = parse(render_content(attachments=(csv,))).iter_attachments()
        assert file["Content-Type"].params.items() >= {"charset": "utf-8"}.items()
        assert file.get_content() == "ä"
