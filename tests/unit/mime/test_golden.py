"""Whole messages as they go over the wire, each read by eye once: any change of them is seen.

After a change that is meant, `python -m tests.unit.mime.test_golden` writes them anew.
"""

from pathlib import Path
from typing import Any, Final

import pytest

from app.domain.mime.build import Attachment, render
from app.domain.mime.calendar import Calendar
from app.domain.types import NamedAddress
from tests.support.rendered import content, parse

GOLDEN: Final = Path(__file__).parent / "golden"
LOGO: Final = Attachment(
    filename="logo.png",
    content_type="image/png",
    content=b"\x89PNG\r\n\x1a\n\0",
    content_id="logo@example.com",
)
INVITATION: Final = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n"
    "SUMMARY:Frühstück\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
PAGE: Final = '<p style="color:#c00">Grüße, <b>Zoë</b>!</p>\n<img src="cid:logo@example.com">\n'

MESSAGES: Final[dict[str, dict[str, Any]]] = {
    "text": {"subject": "Your receipt", "text": "Thanks.\nfrom us\n.a line with a dot\n"},
    "text_in_another_script": {
        "subject": "Grüße aus Köln an alle, die den Newsletter im Januar bekommen haben",
        "sender": NamedAddress("billing@example.com", "Zoë Müller"),
        "text": "Grüße aus Köln.\nOne line that is so long that it cannot stay one line on the"
        " wire, since there are more than seventy-six characters in it.\n",
    },
    "japanese": {"subject": "ご注文の確認", "text": "ありがとうございます。\n"},
    "text_and_html": {"subject": "Hello", "text": "Grüße, Zoë!\n", "html": PAGE},
    "html_alone": {"subject": "Hello", "text": None, "html": "<p>Hello</p>\n"},
    "html_with_a_picture": {
        "subject": "Hello",
        "text": "Grüße!\n",
        "html": PAGE,
        "attachments": (LOGO,),
    },
    "files": {
        "subject": "Files",
        "attachments": (
            Attachment(filename="a.pdf", content_type="application/pdf", content=b"%PDF-1.7\0"),
            Attachment(
                filename="Rechnung für Zoë № 42.pdf",
                content_type="application/pdf",
                content=b"%PDF-1.7\n" * 12,
            ),
            Attachment(filename="", content_type="text/csv", content="a;b\n1;ü\n".encode()),
        ),
    },
    "everything": {
        "subject": "Invitation",
        "html": PAGE,
        "calendar": Calendar(INVITATION),
        "attachments": (
            LOGO,
            Attachment(filename="a.txt", content_type="text/plain", content=b"hi\n"),
        ),
        "cc": (NamedAddress("bob@example.org", "Bob, the builder"),),
        "reply_to": (NamedAddress("help@example.com"),),
        "submitter": NamedAddress("robot@example.com", "Robot"),
        "headers": {
            "X-Campaign": "spring",
            "List-Unsubscribe": "<https://example.com/u>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    },
    "an_address_in_another_script": {
        "subject": "Hi",
        "to": (NamedAddress("jörg@example.org", "Jörg"),),
    },
}


@pytest.mark.parametrize("name", MESSAGES)
def test_it_is_as_it_was_read(name: str) -> None:
    """Byte for byte."""
    assert render(content(**MESSAGES[name])) == (GOLDEN / f"{name}.eml").read_bytes()


def test_each_file_has_its_message() -> None:
    """None is left over."""
    assert {path.stem for path in GOLDEN.glob("*.eml")} == MESSAGES.keys()


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - {"an_address_in_another_script"}))
def test_another_parser_finds_no_fault(name: str) -> None:
    """No defect, no line that is too long, nothing but ASCII."""
    parse((GOLDEN / f"{name}.eml").read_bytes())


if __name__ == "__main__":
    for name, fields in MESSAGES.items():
        (GOLDEN / f"{name}.eml").write_bytes(render(content(**fields)))
