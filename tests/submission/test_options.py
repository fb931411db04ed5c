"""Header fields set the options of a message, and are taken out of it."""

import json
from email import policy
from email.message import EmailMessage

import pytest

from tests.support.api_client import PROFILE, Caller
from tests.support.submission import Submission

FROM = b"From: billing@example.com\r\n"


async def test_options_are_those_of_the_api(submission: Submission, sender: Caller) -> None:
    """Each is on the message, and none in its header."""
    await sender.made("/profiles", PROFILE | {"name": "other"})
    options = (
        b"X-Heloise-Profile: other\r\nX-Heloise-Tags: receipt, vip\r\n"
        b'X-Heloise-Metadata: {"order":\r\n "42"}\r\n'
        b"x-heloise-send-at: 2027-01-16T09:30:00+01:00\r\nX-Heloise-Priority: high\r\n"
        b"X-Heloise-Guarantee: at_most_once\r\n"
    )
    async with submission.login(sender) as client:
        reply = await client.submit(FROM + options + b"\r\nHi\r\n")
    message = await submission.stored(sender, reply)
    assert (message["profile"], message["tags"]) == ("other", ["receipt", "vip"])
    assert (message["metadata"], message["priority"]) == ({"order": "42"}, "high")
    assert (message["send_at"], message["guarantee"]) == ("2027-01-16T08:30:00Z", "at_most_once")
    assert b"heloise-" not in (await submission.content(sender, reply)).lower()


async def test_options_are_read_as_libraries_write_them(
    submission: Submission, sender: Caller
) -> None:
    """Python's library writes what is long or not ASCII in encoded words, on several lines."""
    metadata = {"order": "4" * 200, "kind": "größe"}
    mail = EmailMessage()
    mail["From"] = "billing@example.com"
    mail["X-Heloise-Metadata"] = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False)
    mail["X-Heloise-Tags"] = "größe"
    assert b"=?utf-8?" in mail.as_bytes()
    async with submission.login(sender) as client:
        reply = await client.submit(mail.as_bytes(policy=policy.SMTP))
    message = await submission.stored(sender, reply)
    assert (message["metadata"], message["tags"]) == (metadata, ["größe"])


async def test_a_sensitive_message_is_not_shown(submission: Submission, sender: Caller) -> None:
    """As over HTTP."""
    async with submission.login(sender) as client:
        reply = await client.submit(FROM + b"X-Heloise-Sensitive: true\r\n\r\nHi\r\n")
    assert (await submission.stored(sender, reply))["sensitive"] is True


async def test_a_template_makes_the_message(submission: Submission, sender: Caller) -> None:
    """The header names who sees whom; the envelope decides who gets it."""
    template = {"name": "receipt", "subject": "Receipt {{ number }}", "text": "Dear {{ name }}"}
    made = await sender.made("/templates", template)
    assert made["name"] == "receipt"
    await sender("POST", "/templates/receipt/publish")
    fields = (
        b"To: Ann <ann@example.org>\r\nX-Heloise-Template: receipt\r\n"
        b'X-Heloise-Variables: {"number": 7, "name": "Ann"}\r\n'
    )
    async with submission.login(sender) as client:
        to = ("ann@example.org", "eve@example.org")
        reply = await client.submit(FROM + fields + b"\r\nignored\r\n", to=to)
    message = await submission.stored(sender, reply)
    assert message["subject"] == "Receipt 7"
    kinds = {each["address"]: each["kind"] for each in message["recipients"]}
    assert kinds == {"ann@example.org": "to", "eve@example.org": "bcc"}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("field", "reply"),
    [
        (b"X-Heloise-Priority: urgent", "550 5.6.0 X-Heloise-Priority: Input should be"),
        (b"X-Heloise-Send-At: tomorrow", "550 5.6.0 X-Heloise-Send-At: write a time with an"),
        (b"X-Heloise-Metadata: {", "550 5.6.0 X-Heloise-Metadata: write a JSON object such as"),
        (b"X-Heloise-Tag: a", "550 5.6.0 X-Heloise-Tag: unknown field: did you mean"),
        (b"X-Heloise-Profile: none", "550 5.6.0 There is no profile 'none' here"),
        (b"X-Heloise-Variables: {}", "550 5.6.0 X-Heloise-Variables: set X-Heloise-Template too"),
        (
            b"X-Heloise-Tags: a\r\nX-Heloise-Tags: b",
            "550 5.6.0 X-Heloise-Tags: stands twice in the header",
        ),
    ],
)
async def test_a_wrong_option_is_refused(
    submission: Submission, sender: Caller, field: bytes, reply: str
) -> None:
    """The reply names the field, and says what to write."""
    async with submission.login(sender) as client:
        assert (await client.submit(FROM + field + b"\r\n\r\nHi\r\n")).startswith(reply)


async def test_who_sent_it_is_recorded(submission: Submission, sender: Caller) -> None:
    """The key, and SMTP as the way in."""
    async with submission.login(sender) as client:
        message = await submission.stored(sender, await client.submit(FROM + b"\r\nHi\r\n"))
    assert (message["source"], message["key_id"]) == ("smtp", sender.key_id)
    page = await sender.read(f"/messages?source=smtp&key={sender.key_id}")
    assert [each["id"] for each in page["items"]] == [message["id"]]
