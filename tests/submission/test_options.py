"""Header fields set the options of a message, and are taken out of it."""

import json
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from app.domain.dsn_request import DsnNotify, DsnRequest, DsnReturn, RecipientDsn
from app.store.messages import queries as messages
from tests.support.api_client import PROFILE, Caller
from tests.support.submission import SubmissionServer, message_id_of

FROM = b"From: billing@example.com\r\n"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OF_TEMPLATE = (
    b'X-Heloise-Template: receipt\r\nX-Heloise-Variables: {"number": 7, "name": "Ann"}\r\n'
)


async def publish_template(sender: Caller) -> None:
    """Publish the template that `OF_TEMPLATE` names."""
    template = {"name": "receipt", "subject": "Receipt {{ number }}", "text": "Dear {{ name }}"}
    await sender.made("/templates", template)
    await sender("POST", "/templates/receipt/publish")


async def test_options_are_those_of_the_api(submission: SubmissionServer, sender: Caller) -> None:
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


@pytest.mark.one_database
@pytest.mark.parametrize("value", [TRACEPARENT, "tomorrow", TRACEPARENT.upper()])
async def test_a_message_belongs_to_its_session_and_trace(
    submission: SubmissionServer, sender: Caller, value: str
) -> None:
    """The session is the request. A malformed trace is ignored, as over HTTP."""
    option = f"X-Heloise-Traceparent: {value}\r\n".encode()
    async with submission.login(sender) as client:
        replies = [await client.submit(FROM + field + b"\r\nHi\r\n") for field in (option, b"")]
    traced, untraced = [await submission.stored(sender, reply) for reply in replies]
    session_id = (await submission.journal()).id
    assert traced["request_id"] == untraced["request_id"] == session_id
    expected = TRACEPARENT[3:35] if value == TRACEPARENT else None
    assert (traced["trace_id"], untraced["trace_id"]) == (expected, None)
    messages = (await sender.read(f"/messages?request_id={session_id}"))["items"]
    assert {message["id"] for message in messages} == {traced["id"], untraced["id"]}


@pytest.mark.one_database
async def test_options_are_read_as_libraries_write_them(
    submission: SubmissionServer, sender: Caller
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


@pytest.mark.one_database
async def test_a_sensitive_message_is_not_shown(
    submission: SubmissionServer, sender: Caller
) -> None:
    """As over HTTP."""
    async with submission.login(sender) as client:
        reply = await client.submit(FROM + b"X-Heloise-Sensitive: true\r\n\r\nHi\r\n")
    assert (await submission.stored(sender, reply))["sensitive"] is True


@pytest.mark.one_database
async def test_a_template_makes_the_message(submission: SubmissionServer, sender: Caller) -> None:
    """The header names who sees whom; the envelope decides who gets it."""
    await publish_template(sender)
    fields = (
        b"To: Ann <ann@example.org>\r\nX-Heloise-Template: receipt\r\n"
        b'X-Heloise-Variables: {"number": 7, "name": "Ann"}\r\n'
    )
    async with submission.login(sender) as client:
        to = ("ann@example.org", "eve@example.org")
        reply = await client.submit(FROM + fields + b"\r\nignored\r\n", to=to)
    message = await submission.stored(sender, reply)
    assert message["subject"] == "Receipt 7"
    kinds = {recipient["address"]: recipient["kind"] for recipient in message["recipients"]}
    assert kinds == {"ann@example.org": "to", "eve@example.org": "bcc"}


@pytest.mark.one_database
async def test_a_template_keeps_the_header(submission: SubmissionServer, sender: Caller) -> None:
    """Addresses and other fields stay; names are decoded after the addresses are separated."""
    await publish_template(sender)
    fields = (
        b"Reply-To: =?utf-8?q?Caf=C3=A9=2C_Desk?= <desk@example.com>\r\n"
        b'To: =?utf-8?q?Roe=2C_Bob?= <Roe@EXAMPLE.org>,\r\n\t"Doe; Ann" <ann@example.org>,\r\n'
        b" Team: joe@example.org;, other@example.org\r\n"
        b"Cc: =?utf-8?b?WsO8?= <zue@example.org>\r\nSubject: ignored\r\nMIME-Version: 1.0\r\n"
        b"Message-ID: <1@example.com>\r\nContent-Type: text/html\r\nReceived: from a by b\r\n"
        b"Sender: =?utf-8?q?B=C3=B6b?= <app@example.com>\r\nAuto-Submitted: auto-generated\r\n"
        b"In-Reply-To: <0@example.org>\r\nX-Note: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        b"Disposition-Notification-To: =?utf-8?q?Roe=2C_Z=C3=BC?= <zue@example.com>\r\n"
    )
    to = ("ann@example.org", "roe@example.org", "joe@example.org", "zue@example.org")
    async with submission.login(sender) as client:
        content = FROM + fields + OF_TEMPLATE + b"\r\nignored\r\n"
        reply = await client.submit(content, to=(*to, "eve@example.org"))
    recipients = (await submission.stored(sender, reply))["recipients"]
    assert {recipient["address"]: recipient["kind"] for recipient in recipients} == {
        **dict.fromkeys(to, "to"),
        "zue@example.org": "cc",
        "eve@example.org": "bcc",
    }
    mime = await submission.content(sender, reply)
    assert mime.isascii()
    message = message_from_bytes(mime, policy=policy.SMTP)
    assert message["to"] == (
        '"Roe, Bob" <roe@example.org>, "Doe; Ann" <ann@example.org>, joe@example.org'
    )
    assert message["reply-to"] == '"Café, Desk" <desk@example.com>'
    assert (message["cc"], message["sender"]) == ("Zü <zue@example.org>", "Böb <app@example.com>")
    assert (message["in-reply-to"], message["x-note"]) == ("<0@example.org>", "Grüße")
    assert message["auto-submitted"] == "auto-generated"
    assert message["disposition-notification-to"] == "Roe, Zü <zue@example.com>"
    assert message["message-id"] != "<1@example.com>"
    assert message.get_all("subject") == ["Receipt 7"]
    assert (message["received"], message.get_content_type()) == (None, "text/plain")


@pytest.mark.one_database
async def test_a_template_message_keeps_its_notifications(
    submission: SubmissionServer, sender: Caller
) -> None:
    """ENVID, RET, NOTIFY and ORCPT, for each recipient its own."""
    await publish_template(sender)
    async with submission.login(sender) as client:
        await client("MAIL FROM:<billing@example.com> RET=HDRS ENVID=order+2B42")
        await client("RCPT TO:<ann@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@example.org")
        await client("RCPT TO:<eve@example.org>")
        reply = await client.data(FROM + OF_TEMPLATE + b"\r\n")
    async with submission.api.services.database.reading() as connection:
        stored = await messages.load_original(
            connection, tenant_id=sender.tenant_id, message_id=message_id_of(reply)
        )
    assert stored.dsn == DsnRequest(
        returns=DsnReturn.HEADERS,
        envelope_id="order+42",
        recipients={
            "ann@example.org": RecipientDsn(
                (DsnNotify.SUCCESS, DsnNotify.DELAY), "rfc822;old@example.org"
            )
        },
    )


@pytest.mark.one_database
async def test_a_template_message_hides_its_recipients(
    submission: SubmissionServer, sender: Caller
) -> None:
    """An empty group names nobody (RFC 5322 section 3.4)."""
    await publish_template(sender)
    async with submission.login(sender) as client:
        fields = b"To: undisclosed-recipients:;\r\nReply-To:\r\n"
        reply = await client.submit(FROM + fields + OF_TEMPLATE + b"\r\n")
    message = await submission.stored(sender, reply)
    assert [recipient["kind"] for recipient in message["recipients"]] == ["bcc"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("fields", "reply"),
    [
        (b"From: Roe, Bob <billing@example.com>", "From: not one plain address; write Name <"),
        (FROM + b"To: root", "To: has no @; write a@b.example or Name <a@b.example>"),
        (FROM + b'Reply-To: "Bob <bob@example.com>', "Reply-To: the quotes must enclose"),
        (FROM + b"To: " + b"a@b,\r\n " * 1001 + b"a@b", "To: has 1,002 addresses; at most 1,000"),
        (FROM + b"X-A: 1\r\nx-a: 2", "X-A: stands twice in the header; write it once"),
        (FROM + b"To: ann@example.org\r\nTo: bob@example.org", "To: stands twice in the header"),
        (FROM + b"X-A: " + b"a " * 6000, "headers.X-A: the value has more than 10000 characters"),
    ],
)
async def test_a_field_that_a_template_cannot_keep_is_refused(
    submission: SubmissionServer, sender: Caller, fields: bytes, reply: str
) -> None:
    """It is not left out silently."""
    await publish_template(sender)
    async with submission.login(sender) as client:
        content = fields.strip() + b"\r\n" + OF_TEMPLATE + b"\r\n"
        assert (await client.submit(content)).startswith(f"550 5.6.0 {reply}")


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
    submission: SubmissionServer, sender: Caller, field: bytes, reply: str
) -> None:
    """The reply names the field, and says what to write."""
    async with submission.login(sender) as client:
        assert (await client.submit(FROM + field + b"\r\n\r\nHi\r\n")).startswith(reply)


async def test_who_sent_it_is_recorded(submission: SubmissionServer, sender: Caller) -> None:
    """The key, and SMTP as the way in."""
    async with submission.login(sender) as client:
        message = await submission.stored(sender, await client.submit(FROM + b"\r\nHi\r\n"))
    assert (message["source"], message["key_id"]) == ("smtp", sender.key_id)
    page = await sender.read(f"/messages?source=smtp&key={sender.key_id}")
    assert [found_message["id"] for found_message in page["items"]] == [message["id"]]
