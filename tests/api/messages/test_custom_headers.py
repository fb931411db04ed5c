"""Header fields that a request adds: what another parser reads back, and what is refused."""

from email import message_from_bytes
from email.policy import SMTP

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Caller

pytestmark = pytest.mark.one_database

HEADERS = {
    "List-Id": "Für Zoë <news.example.com>",
    "Disposition-Notification-To": "Zoë <a@example.com>",
    "References": "<a@mail.example.com>  <b@mail.example.com>",
    "List-Unsubscribe": f"<https://example.com/u?t={'x' * 950}>",
    "X-Variables": '{"name":  "Zo\\u00eb", "n": [1, 2]}',
    "X-Note": "Grüße",
}


async def test_names_are_encoded_and_all_else_stays(acme: Caller) -> None:
    """Addresses, ids, URLs and JSON are on the wire as they were given."""
    await acme.made("/profiles", PROFILE)
    message = await acme.made("/messages", MESSAGE | {"headers": HEADERS})
    content = (await acme("GET", f"/messages/{message['id']}/raw")).content
    read = message_from_bytes(content, policy=SMTP)
    assert {name: str(read[name]) for name in HEADERS} == HEADERS | {
        "References": "<a@mail.example.com> <b@mail.example.com>"
    }
    assert b"?= <news.example.com>\r\n" in content
    assert b"?= <a@example.com>\r\n" in content
    assert HEADERS["List-Unsubscribe"].encode() in content
    assert HEADERS["X-Variables"].encode() in content


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("References", f"<{'x' * 1000}@example.com>", "has 1014 characters without a blank"),
        ("List-Unsubscribe", f"<https://example.com/{'x' * 1000}>", "has 1022 characters"),
        ("X-Variables", '{"name": "Zoë"}', r"write them as \u escapes"),
        ("X-Token", "x" * 1000, "has 1000 characters without a blank"),
        ("List-Help", "<https://example.com/hilfe/für>", "percent-encoded"),
    ],
)
async def test_what_cannot_be_written_is_refused(
    acme: Caller, name: str, value: str, says: str
) -> None:
    """With the reason; nothing is encoded that its readers would not decode."""
    await acme.made("/profiles", PROFILE)
    answer = await acme("POST", "/messages", MESSAGE | {"headers": {name: value}})
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "headers", name]
    assert says in error["msg"]


async def test_an_address_to_unsubscribe_at_is_no_fault_of_ours(acme: Caller) -> None:
    """In whatever script it is: it is written or refused."""
    await acme.made("/profiles", PROFILE)
    body = MESSAGE | {"list_unsubscribe": {"mailto": "zoë@example.com"}}
    assert (await acme("POST", "/messages", body)).status_code in {202, 422}
