"""Files that come as a form: what becomes of them is what becomes of the same in JSON."""

import json
from email import message_from_bytes, policy
from typing import Any, Final

import pytest

from tests.support.api_client import PROFILE, Caller

pytestmark = pytest.mark.one_database

MESSAGE: Final = {"to": ["ann@example.org"], "subject": "Files", "html": '<img src="cid:logo@x">'}
PDF: Final = ("Rechnung für Zoë.pdf", b"%PDF-1.7 \x00\xff", "application/pdf")


async def post_form(acme: Caller, files: Any, message: Any = MESSAGE, **headers: str) -> Any:
    """The answer to a form."""
    data = {"message": message if isinstance(message, str) else json.dumps(message)}
    return await acme("POST", "/messages", data=data, files=files, headers=headers)


async def test_files_are_attached(acme: Caller) -> None:
    """With their names in any script, their types and bytes; after those in the JSON."""
    await acme.made("/profiles", PROFILE)
    logo = ("logo.png", b"\x89PNG", "image/png", {"Content-ID": "<logo@x>"})
    body = MESSAGE | {"attachments": [{"filename": "a.txt", "content": "YQ=="}]}
    answer = await post_form(acme, [("attachments", PDF), ("attachments", logo)], body)
    assert answer.status_code == 202, answer.text
    raw = await acme("GET", answer.headers["Location"] + "/raw")
    message = message_from_bytes(raw.content, policy=policy.default)
    parts_by_name = {part.get_filename(): part for part in message.walk() if part.get_filename()}
    assert set(parts_by_name) == {"a.txt", PDF[0], "logo.png"}
    assert parts_by_name[PDF[0]].get_content() == PDF[1]
    assert parts_by_name[PDF[0]].get_content_type() == "application/pdf"
    assert parts_by_name["logo.png"]["Content-ID"] == "<logo@x>"


async def test_errors_name_their_part(acme: Caller) -> None:
    """By its place, as in JSON, and nothing is sent."""
    await acme.made("/profiles", PROFILE)
    files = [("attachments", PDF)]
    answers = {
        "not JSON": await post_form(acme, files, "{"),
        "a JSON object": await post_form(acme, files, "[]"),
        "application/pdf, not text/html": await post_form(
            acme, [("attachments", ("a.pdf", b"x", "text/html"))]
        ),
        "one field 'message'": await post_form(acme, [("file", PDF)]),
        "unknown field": await post_form(acme, files, MESSAGE | {"subjekt": "x"}),
    }
    for detail, answer in answers.items():
        assert answer.status_code == 422, answer.text
        assert detail in answer.json()["detail"], answer.text
    broken = await acme(
        "POST", "/messages", content=b"x", headers={"Content-Type": "multipart/form-data"}
    )
    assert broken.status_code == 422
    assert "is malformed" in broken.json()["detail"]
    assert (await acme.read("/messages"))["items"] == []


async def test_a_form_is_repeated_once(acme: Caller) -> None:
    """By its key, whatever its boundary was; in JSON it is the same request."""
    await acme.made("/profiles", PROFILE)
    files = [("attachments", ("a.txt", b"a", "text/plain"))]
    key = {"Idempotency-Key": "order-42"}
    first, second = await post_form(acme, files, **key), await post_form(acme, files, **key)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.json() == first.json()
    other = await post_form(acme, [("attachments", ("a.txt", b"b", "text/plain"))], **key)
    assert other.json()["type"] == "/problems/idempotency-key-reused"


async def post_raw_form(acme: Caller, parameter: str, content: str) -> Any:
    """The answer to a form with a file of this parameter, written by hand."""
    form = (
        '--next\r\nContent-Disposition: form-data; name="message"\r\n\r\n'
        f"{json.dumps(MESSAGE)}\r\n--next\r\n"
        f'Content-Disposition: form-data; name="attachments"; {parameter}\r\n'
        f"Content-Type: text/plain\r\n\r\n{content}\r\n--next--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=next"}
    return await acme("POST", "/messages", content=form.encode(), headers=headers)


async def filenames(acme: Caller, answer: Any) -> list[str]:
    """The names of the files in the message that was accepted."""
    assert answer.status_code == 202, answer.text
    raw = await acme("GET", answer.headers["Location"] + "/raw")
    message = message_from_bytes(raw.content, policy=policy.default)
    return [part.get_filename() or "" for part in message.walk() if part.get_content_disposition()]


async def test_the_message_may_be_a_file_itself(acme: Caller) -> None:
    """As browsers send a Blob, and curl `-F message=@message.json`."""
    await acme.made("/profiles", PROFILE)
    message = ("blob", json.dumps(MESSAGE), "application/json")
    files = [("message", message), ("attachments", PDF)]
    answer = await acme("POST", "/messages", files=files)
    assert await filenames(acme, answer) == [PDF[0]]


async def test_an_empty_file_field_is_ignored(acme: Caller) -> None:
    """Browsers send an empty one without a name."""
    await acme.made("/profiles", PROFILE)
    answer = await post_raw_form(acme, 'filename=""', "")
    assert await filenames(acme, answer) == []


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        ("filename*=iso-8859-1'en'na%EFve.txt", "naïve.txt"),
        ('filename="plain.txt"; filename*=UTF-8na%C3%AFve.txt', "plain.txt"),
        ("filename*=UTF-8''a%22%5Cb.txt", 'a"\\b.txt'),
    ],
)
async def test_a_name_may_be_extended(acme: Caller, parameter: str, name: str) -> None:
    """RFC 8187; where there is a plain one too, that one counts (RFC 7578 section 4.2)."""
    await acme.made("/profiles", PROFILE)
    answer = await post_raw_form(acme, parameter, "x")
    assert await filenames(acme, answer) == [name]


@pytest.mark.parametrize(
    "path", ["../../etc/inv.pdf", r"C:\Users\x\inv.pdf", r"..\inv.pdf", r"\\x\inv.pdf"]
)
@pytest.mark.parametrize("form", [True, False])
async def test_of_a_path_the_name_is_taken(acme: Caller, path: str, *, form: bool) -> None:
    """In a form and in JSON."""
    await acme.made("/profiles", PROFILE)
    attachment = {"filename": path, "content": "JVBERg=="}
    answer = await (
        post_form(acme, [("attachments", (path, b"%PDF", "application/pdf"))])
        if form
        else acme("POST", "/messages", MESSAGE | {"attachments": [attachment]})
    )
    assert await filenames(acme, answer) == ["inv.pdf"]
