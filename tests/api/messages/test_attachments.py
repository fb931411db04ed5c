"""Files in a message: what was given is what another parser reads back."""

import base64
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, cast

import pytest

from tests.support.api_client import MESSAGE, Api, Caller

OFFICE = "application/vnd.openxmlformats-officedocument"

pytestmark = pytest.mark.one_database


def encode(content: bytes) -> str:
    """As a request has it."""
    return base64.b64encode(content).decode()


async def read_back(caller: Caller, *attachments: dict[str, Any], **fields: Any) -> EmailMessage:
    """The message with these files, as the standard library parses it."""
    message = await caller.made("/messages", MESSAGE | fields | {"attachments": list(attachments)})
    answer = await caller("GET", f"/messages/{message['id']}/raw")
    return cast("EmailMessage", message_from_bytes(answer.content, policy=SMTP))


@pytest.fixture
async def sender(api: Api) -> Caller:
    """A tenant with a profile."""
    caller = await api.tenant()
    body = {"name": "main", "host": "smtp.example.com", "default_from": "a@example.com"}
    await caller.made("/profiles", body)
    return caller


@pytest.mark.parametrize(
    "name",
    [
        "receipt.pdf",
        "Rechnung für Zoë.pdf",
        "領収書 2026.pdf",
        "счёт.pdf",
        'a "quoted" \\ name;.pdf',
        "x" * 200 + ".pdf",
        "📎" * 60,
        "",
    ],
)
async def test_a_file_keeps_its_name_and_its_bytes(sender: Caller, name: str) -> None:
    """Whatever script the name is in, and whatever the bytes are."""
    content = bytes(range(256)) * 100
    parsed = await read_back(sender, {"filename": name, "content": encode(content)})
    [file] = parsed.iter_attachments()
    assert (file.get_filename() or "") == name
    assert file.get_content_disposition() == "attachment"
    assert file.get_payload(decode=True) == content
    body = parsed.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == MESSAGE["text"]


@pytest.mark.parametrize(
    ("name", "content_type", "expected"),
    [
        ("a.pdf", None, "application/pdf"),
        ("a.unheard-of", None, "application/octet-stream"),
        ("pdf", None, "application/octet-stream"),
        (".pdf", None, "application/octet-stream"),
        ("A.PDF", None, "application/pdf"),
        ("a.docx", None, f"{OFFICE}.wordprocessingml.document"),
        ("a.xlsx", None, f"{OFFICE}.spreadsheetml.sheet"),
        ("a.pptx", None, f"{OFFICE}.presentationml.presentation"),
        ("a.odt", None, "application/vnd.oasis.opendocument.text"),
        ("a.ics", None, "text/calendar"),
        ("a.vcf", None, "text/vcard"),
        ("a.md", None, "text/markdown"),
        ("a.xml", None, "application/xml"),
        ("a.webp", None, "image/webp"),
        ("a.heic", None, "image/heic"),
        ("export.csv.gz", None, "application/gzip"),
        ("a.tar.bz2", None, "application/x-bzip2"),
        ("factur-x.xml", "application/xml", "application/xml"),
        ("factur-x.xml", "text/xml", "text/xml"),
        ("report.csv", "application/vnd.ms-excel", "application/vnd.ms-excel"),
        ("photo.jpg", "image/png", "image/png"),
        ("Angebot Nr. 12.t", "application/pdf", "application/pdf"),
        ("a.zip", "application/x-zip-compressed", "application/x-zip-compressed"),
        ("a.docx", "application/zip", "application/zip"),
        ("a.mp3", "audio/mp3", "audio/mp3"),
        ("a.html", "application/xhtml+xml", "application/xhtml+xml"),
        ("page.html", "text/plain", "text/plain"),
        ("a.exe", "application/x-msdownload", "application/x-msdownload"),
        ("a.js", "application/octet-stream", "application/octet-stream"),
        ("page", "text/html", "text/html"),
        ("a.pdf", "application/octet-stream", "application/octet-stream"),
        ("a.csv", "text/plain", "text/plain"),
        ("", "image/png", "image/png"),
    ],
)
async def test_its_type_is_what_is_said_or_what_its_name_stands_for(
    sender: Caller, name: str, content_type: str | None, expected: str
) -> None:
    """And what nobody knows is bytes."""
    [file] = (
        await read_back(sender, {"filename": name, "content_type": content_type, "content": "eA=="})
    ).iter_attachments()
    assert file.get_content_type() == expected


async def test_an_invitation_says_what_it_asks(sender: Caller) -> None:
    """By the parameters of its type (RFC 5546, RFC 6047)."""
    calendar = "text/calendar; method=REQUEST; charset=utf-8"
    attachment = {
        "filename": "invite.ics",
        "content_type": calendar,
        "content": "QkVHSU46VkNBTEVOREFS",
    }
    [file] = (await read_back(sender, attachment)).iter_attachments()
    assert (file.get_content_type(), file.get_param("method")) == ("text/calendar", "REQUEST")


async def test_the_html_shows_what_has_an_id(sender: Caller) -> None:
    """Beside it, in multipart/related; what is for saving stands outside."""
    parsed = await read_back(
        sender,
        {"filename": "logo.png", "content": "iVBORw0KGgo=", "content_id": "logo@example.com"},
        {"filename": "a.pdf", "content": "JVBERi0xLjcK"},
        {"filename": "b.pdf", "content": "JVBERi0xLjcK", "disposition": "inline"},
        html='<img src="cid:logo@example.com">',
    )
    related = next(part for part in parsed.walk() if part.get_content_type() == "multipart/related")
    [page, logo] = related.iter_parts()
    assert page.get_content_type() == "text/html"
    assert (logo["Content-ID"], logo.get_content_disposition()) == ("<logo@example.com>", "inline")
    files = list(parsed.iter_parts())[1:]
    assert [(file.get_filename(), file.get_content_disposition()) for file in files] == [
        ("a.pdf", "attachment"),
        ("b.pdf", "inline"),
    ]


@pytest.mark.parametrize(
    ("attachment", "loc", "says"),
    [
        ({"filename": "a.pdf"}, ["content"], "required"),
        ({"content": "no base64!"}, ["content"], "not base64"),
        ({"content": "eA"}, ["content"], "not base64"),
        ({"content": "eA==", "filename": "a\r\nBcc: eve@example.com"}, [], "control character"),
        ({"content": "eA==", "filename": "x" * 256}, ["filename"], "255"),
        ({"content": "eA==", "content_type": "pdf"}, [], "application/pdf"),
        ({"content": "eA==", "content_type": "a/b\r\nX: y"}, [], "application/pdf"),
        ({"content": "eA==", "content_id": "<a@b>"}, [], "content id"),
        ({"content": "eA==", "disposition": "form-data"}, ["disposition"], "inline"),
        (
            {"content": "eA==", "filename": "a.pdf", "content_type": "text/html"},
            [],
            "is application/pdf, not text/html",
        ),
        (
            {
                "content": "eA==",
                "filename": "a.PNG",
                "content_type": "Image/SVG+xml; charset=utf-8",
            },
            [],
            "is image/png, not image/svg+xml",
        ),
        (
            {"content": "eA==", "filename": "a.txt", "content_type": "application/x-msdownload"},
            [],
            "is text/plain, not application/x-msdownload",
        ),
        (
            {"content": "eA==", "filename": "a.pdf.exe. ", "content_type": "application/pdf"},
            [],
            "may run when opened",
        ),
        ({"content": "eA==", "name": "a.pdf"}, ["name"], "did you mean 'filename'"),
    ],
)
async def test_a_wrong_file_is_refused(
    sender: Caller, attachment: dict[str, Any], loc: list[str], says: str
) -> None:
    """With its place in the list, and what to write instead."""
    good = {"filename": "a.pdf", "content": "eA=="}
    answer = await sender("POST", "/messages", MESSAGE | {"attachments": [good, attachment]})
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "attachments", 1, *loc]
    assert says in error["msg"]


async def test_two_files_with_one_id_are_refused(sender: Caller) -> None:
    """The page would show one of them, and nobody knows which."""
    file = {"filename": "a.png", "content": "eA==", "content_id": "logo"}
    answer = await sender("POST", "/messages", MESSAGE | {"attachments": [file, file]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "attachments", 1, "content_id"]


async def test_all_together_are_as_large_as_a_message_may_be(sender: Caller) -> None:
    """Counted as they are sent, in base64; beyond that nothing is rendered."""
    file = {"filename": "a.bin", "content": encode(bytes(30_000))}
    assert (await sender("POST", "/messages", MESSAGE | {"attachments": [file]})).status_code == 202
    for files in ([file] * 3, [file] * 4):
        answer = await sender("POST", "/messages", MESSAGE | {"attachments": files})
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/message-too-large")
