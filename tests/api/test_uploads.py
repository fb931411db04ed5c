"""Files that come as a form: what becomes of them is what becomes of the same in JSON."""

import json
from email import message_from_bytes, policy
from typing import Any, Final

import pytest

from tests.api.client import PROFILE, Caller

pytestmark = pytest.mark.one_database

MESSAGE: Final = {"to": ["ann@example.org"], "subject": "Files", "html": '<img src="cid:logo@x">'}
PDF: Final = ("Rechnung für Zoë.pdf", b"%PDF-1.7 \x00\xff", "application/pdf")


async def posted(acme: Caller, files: Any, message: Any = MESSAGE, **headers: str) -> Any:
    """The answer to a form."""
    data = {"message": message if isinstance(message, str) else json.dumps(message)}
    return await acme("POST", "/messages", data=data, files=files, headers=headers)


async def test_files_are_attached(acme: Caller) -> None:
    """With their names in any script, their types and bytes; after those in the JSON."""
    await acme.made("/profiles", PROFILE)
    logo = ("logo.png", b"\x89PNG", "image/png", {"Content-ID": "<logo@x>"})
    given = MESSAGE | {"attachments": [{"filename": "a.txt", "content": "YQ=="}]}
    answer = await posted(acme, [("attachments", PDF), ("attachments", logo)], given)
    assert answer.status_code == 202, answer.text
    raw = await acme("GET", answer.headers["Location"] + "/raw")
    message = message_from_bytes(raw.content, policy=policy.default)
    found = {each.get_filename(): each for each in message.walk() if each.get_filename()}
    assert set(found) == {"a.txt", PDF[0], "logo.png"}
    assert found[PDF[0]].get_content() == PDF[1]
    assert found[PDF[0]].get_content_type() == "application/pdf"
    assert found["logo.png"]["Content-ID"] == "<logo@x>"


async def test_what_is_wrong_is_told(acme: Caller) -> None:
    """By its place, as in JSON, and nothing is sent."""
    await acme.made("/profiles", PROFILE)
    files = [("attachments", PDF)]
    wrong = {
        "not JSON": await posted(acme, files, "{"),
        "a JSON object": await posted(acme, files, "[]"),
        "application/pdf, not text/html": await posted(
            acme, [("attachments", ("a.pdf", b"x", "text/html"))]
        ),
        "one field 'message'": await posted(acme, [("file", PDF)]),
        "unknown field": await posted(acme, files, MESSAGE | {"subjekt": "x"}),
    }
    for said, answer in wrong.items():
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"], answer.text
    broken = await acme(
        "POST", "/messages", content=b"x", headers={"Content-Type": "multipart/form-data"}
    )
    assert broken.status_code == 422
    assert "cannot be read" in broken.json()["detail"]
    assert (await acme.read("/messages"))["items"] == []


async def test_a_form_is_repeated_once(acme: Caller) -> None:
    """By its key, whatever its boundary was; in JSON it is the same request."""
    await acme.made("/profiles", PROFILE)
    files = [("attachments", ("a.txt", b"a", "text/plain"))]
    key = {"Idempotency-Key": "order-42"}
    first, again = await posted(acme, files, **key), await posted(acme, files, **key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    other = await posted(acme, [("attachments", ("a.txt", b"b", "text/plain"))], **key)
    assert other.json()["type"] == "/problems/idempotency-key-reused"
