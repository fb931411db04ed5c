"""What a message can have besides text: what was asked for is what arrives."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.support.harness import Heloise, Tenant
from tests.support.servers.smtp_server import Received, SmtpServer

ANN: Final = "ann@example.org"
CALENDAR: Final = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nMETHOD:REQUEST\nBEGIN:VEVENT\nSUMMARY:Frühstück\n"
    "END:VEVENT\nEND:VCALENDAR\n"
)
RAW: Final = (
    b"From: =?utf-8?q?Z=C3=B6e?= <main@example.com>\r\n"
    b"To: somebody.else@example.net\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Date: Thu, 15 Jan 2026 09:30:00 +0100\r\n"
    b"Message-ID: <42@example.com>\r\n"
    b"DKIM-Signature: v=1; a=rsa-sha256; b=abc=\r\n"
    b"X-Odd:   two  blanks\t\r\n"
    b"\r\n"
    b".A dot, and  a trailing blank \r\n"
)


async def receive(tenant: Tenant, server: SmtpServer, **fields: Any) -> tuple[Received, Any]:
    """What the server got of a message, and as another parser reads it."""
    await tenant.message(await tenant.send(**fields), status="sent")
    last = server.messages[-1]
    message = message_from_bytes(last.data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return last, message


async def raw_sent(tenant: Tenant, content: bytes, query: str = f"to={ANN}", **headers: str) -> Any:
    """The answer to a message that was made elsewhere."""
    return await tenant(
        "POST",
        f"/messages/raw?{query}",
        content=content,
        headers={"Content-Type": "message/rfc822", **headers},
    )


@pytest.mark.one_database
async def test_header_fields_that_are_asked_for(heloise: Heloise, server: SmtpServer) -> None:
    """Who sends for whom, how one leaves a list, that no person wrote it, and how urgent it is."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    _, message = await receive(
        acme,
        server,
        sender="Robot <robot@example.com>",
        list_unsubscribe={
            "url": "https://example.com/leave?m=" + "4" * 200,
            "mailto": "leave@example.com",
            "one_click": True,
        },
        auto_submitted="auto-generated",
        importance="high",
    )
    assert message["Sender"] == "Robot <robot@example.com>"
    assert message["List-Unsubscribe"].split() == [
        f"<https://example.com/leave?m={'4' * 200}>,",
        "<mailto:leave@example.com?subject=unsubscribe>",
    ]
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Auto-Submitted"] == "auto-generated"
    assert (message["Importance"], message["X-Priority"]) == ("high", "1")


@pytest.mark.one_database
async def test_an_invitation_stands_beside_the_text(heloise: Heloise, server: SmtpServer) -> None:
    """As the last of the alternatives, with its method."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    _, message = await receive(acme, server, html="<p>Come</p>", calendar=CALENDAR)
    assert message.get_content_type() == "multipart/alternative"
    parts = list(message.iter_parts())
    assert [p.get_content_type() for p in parts] == ["text/plain", "text/html", "text/calendar"]
    assert parts[2].get_param("method") == "REQUEST"
    assert parts[2].get_content().splitlines() == CALENDAR.splitlines()
    for calendar in ("BEGIN:VEVENT", CALENDAR.replace("METHOD:REQUEST\n", "")):
        answer = await acme("POST", "/messages", {"to": [ANN], "calendar": calendar})
        assert answer.status_code == 422


@pytest.mark.one_database
@pytest.mark.parametrize("path", ["bounces@example.com", ""])
async def test_failures_are_reported_where_it_is_asked_for(
    heloise: Heloise, server: SmtpServer, path: str
) -> None:
    """Or to nobody; From stays as it is."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    got, message = await receive(acme, server, return_path=path)
    assert got.mail_from == path
    assert message["From"] == "main@example.com"


@pytest.mark.one_database
async def test_whoever_is_named_as_sender_is_allowed_to_be(
    heloise: Heloise, server: SmtpServer
) -> None:
    """By the same patterns as From."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port, allowed_from=["*@example.com"])
    for fields in ({"sender": "eve@example.net"}, {"return_path": "eve@example.net"}):
        answer = await acme("POST", "/messages", {"to": [ANN], "text": "x", **fields})
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/sender-not-allowed")
    raw = RAW.replace(b"To:", b"Sender: eve@example.net\r\nTo:")
    for content, query in (
        (RAW.replace(b"main@example.com", b"eve@example.net"), f"to={ANN}"),
        (raw, f"to={ANN}"),
        (RAW, f"to={ANN}&return_path=eve@example.net"),
    ):
        answer = await raw_sent(acme, content, query)
        assert answer.json()["type"] == "/problems/sender-not-allowed"
    assert server.messages == []


@pytest.mark.one_database
async def test_notifications_are_asked_for_where_they_are_offered(heloise: Heloise) -> None:
    """With the message's id, by which they are told apart; elsewhere nothing is said of it."""
    acme = await heloise.tenant()
    dsn = {"notify": ["success", "delay"], "return": "headers"}
    offers = ("PIPELINING", "8BITMIME", "SIZE 33554432", "DSN")
    async with SmtpServer(extensions=offers) as server, SmtpServer() as other:
        await acme.profile("main", server.port, is_default=True)
        await acme.profile("other", other.port)
        message = await acme.send("a+b@example.org", dsn=dsn)
        await acme.message(message, status="sent")
        mail, rcpt = (
            command for command in server.sessions[-1].commands if command[:4] in {"MAIL", "RCPT"}
        )
        assert mail.endswith(f" RET=HDRS ENVID={message}")
        assert rcpt.endswith("> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@example.org")
        await acme.message(await acme.send(dsn=dsn, profile="other"), status="sent")
        assert "ENVID" not in "\n".join(other.sessions[-1].commands)
    both = await acme(
        "POST", "/messages", {"to": [ANN], "text": "x", "dsn": {"notify": ["never", "success"]}}
    )
    assert both.status_code == 422


@pytest.mark.one_database
async def test_a_local_part_in_quotes_is_reached(heloise: Heloise) -> None:
    """Mailboxes as `"abc."@docomo.example` exist (RFC 5321 section 4.1.2)."""
    acme = await heloise.tenant()
    to = ['"abc."@docomo.example', 'Bob <"a b"@example.org>', {"email": r'"\"x"@example.org'}]
    addresses = ['"abc."@docomo.example', '"a b"@example.org', r'"\"x"@example.org']
    async with SmtpServer(extensions=("PIPELINING", "DSN")) as server:
        await acme.profile("main", server.port)
        last, parsed = await receive(acme, server, to=to, dsn={"notify": ["failure"]})
        assert last.recipients == addresses
        assert [address.username for address in parsed["To"].addresses] == ["abc.", "a b", '"x']
        assert (
            f"\r\nTo: {addresses[0]},\r\n Bob <{addresses[1]}>,\r\n {addresses[2]}\r\n".encode()
            in last.data
        )
        rcpt = [command for command in server.sessions[-1].commands if command.startswith("RCPT")]
        assert rcpt[1].endswith('ORCPT=rfc822;"a+20b"@example.org')
    for address in addresses:
        page = await acme.read(f"/messages?recipient={quote(address.upper())}")
        assert len(page["items"]) == 1
    await acme("POST", "/suppressions", {"address": addresses[0].upper()})
    late = await acme.message(await acme.send(addresses[0]), status="failed")
    assert late["recipients"][0]["status"] == "suppressed"
    answer = await acme("POST", "/messages", {"to": "abc.@docomo.example", "text": "x"})
    assert (answer.status_code, addresses[0] in answer.json()["errors"][0]["msg"]) == (422, True)
    verp = await acme(
        "POST", "/messages", {"to": ANN, "text": "x", "return_path": addresses[0], "verp": True}
    )
    assert verp.status_code == 422


@pytest.mark.one_database
async def test_a_message_made_elsewhere_goes_as_it_is(heloise: Heloise, server: SmtpServer) -> None:
    """Byte for byte, to whom the envelope names; the header says who it is from."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    answer = await raw_sent(acme, RAW, f"to={ANN}&to=bob@example.org&tag=made")
    assert answer.status_code == 202, answer.text
    message = await acme.message(answer.json()["id"], status="sent")
    [got] = server.messages
    assert got.data == RAW
    assert (got.mail_from, got.recipients) == ("main@example.com", [ANN, "bob@example.org"])
    assert message["message_id_header"] == "<42@example.com>"
    assert (message["subject"], message["tags"]) == ("Grüße", ["made"])
    assert message["from"] == "Zöe <main@example.com>"
    assert (await acme("GET", f"/messages/{message['id']}/raw")).content == RAW


@pytest.mark.one_database
async def test_what_it_lacks_is_put_before_it(heloise: Heloise, server: SmtpServer) -> None:
    """A date and an id; and lines that end in LF alone end in CRLF."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    least = b"From: main@example.com\n\nHello\n"
    answer = await raw_sent(acme, least)
    message = await acme.message(answer.json()["id"], status="sent")
    content = server.messages[-1].data
    assert content.endswith(b"From: main@example.com\r\n\r\nHello\r\n")
    parsed = message_from_bytes(content, policy=policy.default)
    assert parsed["Message-ID"] == message["message_id_header"]
    assert parsed["Date"].datetime is not None


WRONG: Final = {
    "no From": b"Subject: x\r\n\r\nx",
    "two From": b"From: main@example.com\r\nFrom: main@example.com\r\n\r\nx",
    "one address": b"From: main@example.com, b@example.com\r\n\r\nx",
    "the empty line": b"From: main@example.com",
    "not a field": b"From: main@example.com\r\nno colon here\r\n\r\nx",
    "Bcc": b"From: main@example.com\r\nBcc: x@example.com\r\n\r\nx",
    "more than 998": b"From: main@example.com\r\n\r\n" + b"x" * 999,
    "NUL": b"From: main@example.com\r\n\r\n\0",
    "end in CRLF": b"From: main@example.com\r\n\r\nx\ny\r\n",
    "a bare CR": b"From: main@example.com\r\n\r\nx\ry\r\n",
    "Message-ID": b"From: main@example.com\r\nMessage-ID: x\r\n\r\nx",
    "neither ASCII": b"From: main@example.com\r\nSubject: \xff\r\n\r\nx",
}


@pytest.mark.one_database
@pytest.mark.parametrize("case", WRONG)
async def test_one_that_is_no_message_is_refused(
    heloise: Heloise, server: SmtpServer, case: str
) -> None:
    """With what to mend."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    answer = await raw_sent(acme, WRONG[case])
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "message"]
    assert (await raw_sent(acme, RAW, "subject=x")).status_code == 422
    typed = await acme("POST", f"/messages/raw?to={ANN}", {"from": "x"})
    assert typed.status_code == 415
    assert (await acme.read("/messages"))["items"] == []


async def test_it_is_sent_once_by_its_key(heloise: Heloise, server: SmtpServer) -> None:
    """The same bytes to the same people; to others it is another request."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    key = {"Idempotency-Key": "raw-1"}
    first, second = await raw_sent(acme, RAW, **key), await raw_sent(acme, RAW, **key)
    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    other = await raw_sent(acme, RAW, "to=eve@example.org", **key)
    assert other.json()["type"] == "/problems/idempotency-key-reused"


@pytest.mark.one_database
async def test_8_bit_text_goes_where_it_is_taken(heloise: Heloise) -> None:
    """By servers that offer 8BITMIME; with others it bounces, and says why."""
    acme = await heloise.tenant()
    header = b"From: main@example.com\r\nContent-Type: text/plain; charset=utf-8\r\n"
    content = header + b"\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    async with SmtpServer() as server, SmtpServer(extensions=("SIZE 1000000",)) as old:
        await acme.profile("main", server.port, is_default=True)
        await acme.profile("old", old.port, default_from="main@example.com")
        sent = (await raw_sent(acme, content)).json()["id"]
        await acme.message(sent, status="sent")
        assert server.messages[-1].data.endswith(content)
        assert "BODY=8BITMIME" in "\n".join(server.sessions[-1].commands)
        refused = (await raw_sent(acme, content, f"to={ANN}&profile=old")).json()["id"]
        await acme.message(refused, status="failed")
        [attempt] = await acme.attempts(refused)
        assert attempt["classification"] == "8bitmime_not_offered"
        assert old.messages == []
