"""What is submitted is what is stored, but for what RFC 6409 has a server add or take out."""

import asyncio
import re
import socket
from urllib.parse import urlsplit

import pytest

from app.api.requests.body_memory import Budget
from app.main import create_app
from app.submission.listener import Listener
from tests.support.api_client import Caller, serving
from tests.support.harness import settings
from tests.support.submission import (
    HOST,
    HOSTNAME,
    SubmissionServer,
    connecting,
    key_of,
    serving_submission,
    too_large,
)
from tests.support.waiting import until

BODY = b"Dear Ann,\r\n.\r\n..two dots\r\n\r\nthe end \r\n"
HEADER = (
    b"From: Billing <billing@example.com>\r\nTo: ann@example.org\r\nSubject: Receipt\r\n"
    b"Date: Mon, 30 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
)


def without_received(content: bytes) -> bytes:
    """The message without the Received field on its top."""
    assert content.startswith(b"Received: ")
    return re.sub(rb"\AReceived:[^\n]*\n(?:[ \t][^\n]*\n)*", b"", content)


async def test_a_message_is_stored_byte_for_byte(
    submission: SubmissionServer, sender: Caller
) -> None:
    """Dots, blanks at line ends and unknown fields stay, behind one Received field."""
    content = HEADER + b"X-Odd:\t a  b \r\n\r\n" + BODY
    async with submission.login(sender) as client:
        reply = await client.submit(content)
    assert without_received(await submission.content(sender, reply)) == content


@pytest.mark.one_database
async def test_chunks_make_one_message(submission: SubmissionServer, sender: Caller) -> None:
    """BDAT's content has no dots to undo (RFC 3030)."""
    content = HEADER + b"\r\n" + BODY
    async with submission.login(sender) as client:
        await client.envelope()
        client.send(b"BDAT 10\r\n" + content[:10])
        assert await client.reply() == "250 2.0.0 10 bytes received"
        client.send(b"BDAT %d LAST\r\n" % len(content[10:]) + content[10:])
        reply = await client.reply()
    assert without_received(await submission.content(sender, reply)) == content


@pytest.mark.one_database
async def test_a_reset_drops_chunks(submission: SubmissionServer, sender: Caller) -> None:
    """Nothing of a message that was given up is in the next one."""
    content = HEADER + b"\r\n" + BODY
    async with submission.login(sender) as client:
        for command in ("RSET", "EHLO localhost"):
            await client.envelope()
            client.send(b"BDAT 12\r\nX-Dropped: 1")
            assert (await client.reply())[:3] == "250"
            assert (await client(command))[:3] == "250"
        await client.envelope()
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        reply = await client.reply()
    assert without_received(await submission.content(sender, reply)) == content


@pytest.mark.one_database
async def test_a_chunk_without_an_envelope_is_refused(
    submission: SubmissionServer, sender: Caller
) -> None:
    """It is read, so that the next command is one; a stranger's is not read."""
    async with submission.login(sender) as client:
        client.send(b"BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n")
        assert await client.reply() == "503 5.5.1 Send MAIL first"
        assert await client.reply() == "250 2.0.0 OK"
    async with submission.connect() as client:
        client.send(b"BDAT 6 LAST\r\nNOOP\r\n")
        assert await client.reply() == "503 5.5.1 Send MAIL first"
        assert await client.reply() == ""


@pytest.mark.one_database
async def test_chunks_have_the_limits_of_data(submission: SubmissionServer, sender: Caller) -> None:
    """Too large, and beyond the memory that all clients share."""
    limit = submission.api.services.max_message_bytes
    async with submission.login(sender) as client:
        await client.envelope()
        client.send(b"BDAT %d\r\n" % (limit + 1) + b"x" * (limit + 1))
        assert await client.reply() == too_large(limit + 1, limit)
        await client.envelope()
        client.send(b"BDAT 99999999999 LAST\r\n")
        assert (await client.reply())[:9] == "552 5.3.4"
        assert await client.reply() == ""
    budget = Budget(1000, 1000)
    async with (
        serving_submission(submission.api, budget=budget) as submission_server,
        submission_server.login(sender) as client,
    ):
        await client.envelope()
        client.send(b"BDAT 2000\r\n" + b"x" * 2000)
        assert (await client.reply()).startswith("451 4.3.0 The service is receiving more than")
        assert (await client.submit(HEADER + b"\r\n1\r\n"))[:3] == "250"
    assert budget.held_bytes == 0


@pytest.mark.one_database
async def test_http_and_smtp_share_the_memory(migrated_url: str, sender: Caller) -> None:
    """A message finds no room beside a large request, and does when that has ended."""
    values = settings(
        migrated_url,
        delivery=False,
        submission_allow_plaintext_auth=True,
        max_message_bytes=1024,
        max_buffered_bytes=1_048_576,
    )
    with socket.create_server((HOST, 0)) as listening:
        app = create_app(values, hostname=HOSTNAME, listeners=[Listener(listening)])
        async with (
            app.router.lifespan_context(app),
            serving(app) as url,
            connecting(listening.getsockname()[1]) as client,
        ):
            await client.log_in("transactional", key_of(sender))

            async def submit_until(start: str) -> None:
                async def fact() -> bool | None:
                    reply = await client.submit(HEADER + b"\r\n" + BODY)
                    return reply.startswith(start) or None

                await until(fact)

            _, writer = await asyncio.open_connection(HOST, urlsplit(url).port)
            body_bytes = app.state.services.max_body_bytes
            head = (
                f"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Length: {body_bytes}\r\n"
                f"Content-Type: application/json\r\nAuthorization: Bearer {key_of(sender)}\r\n\r\n"
            )
            writer.write(head.encode() + b" " * (body_bytes - 100))
            await submit_until("451 4.3.0 The service is receiving more than fits into memory")
            writer.close()
            await submit_until("250")


@pytest.mark.one_database
async def test_the_envelope_decides_who_gets_it(
    submission: SubmissionServer, sender: Caller
) -> None:
    """Bcc is taken out of the header; its recipients get the message."""
    content = HEADER + b"Bcc: eve@example.org,\r\n bob@example.org\r\n\r\n" + BODY
    async with submission.login(sender) as client:
        reply = await client.submit(content, to=("ann@example.org", "eve@example.org"))
    message = await submission.stored(sender, reply)
    assert [recipient["address"] for recipient in message["recipients"]] == [
        "ann@example.org",
        "eve@example.org",
    ]
    assert without_received(await submission.content(sender, reply)) == HEADER + b"\r\n" + BODY


@pytest.mark.one_database
async def test_date_and_message_id_are_added(submission: SubmissionServer, sender: Caller) -> None:
    """A client may leave them out (RFC 6409 section 8)."""
    async with submission.login(sender) as client:
        reply = await client.submit(b"From: billing@example.com\r\n\r\nHi\r\n")
    message = await submission.stored(sender, reply)
    content = await submission.content(sender, reply)
    assert b"\r\nDate: " in content
    assert f"\r\nMessage-ID: {message['message_id_header']}\r\n".encode() in content


@pytest.mark.one_database
@pytest.mark.parametrize("empty", [b"Message-ID:\r\n", b"message-id: \r\n \r\n"])
async def test_an_empty_message_id_is_replaced(
    submission: SubmissionServer, sender: Caller, empty: bytes
) -> None:
    """It identifies nothing, so the message is no repetition of another one."""
    content = empty + b"From: billing@example.com\r\n\r\nHi\r\n"
    async with submission.login(sender) as client:
        reply = await client.submit(content)
        assert await client.submit(content) != reply
    header = (await submission.stored(sender, reply))["message_id_header"]
    stored = without_received(await submission.content(sender, reply))
    assert stored.lower().count(b"message-id:") == 1
    assert f"\r\nMessage-ID: {header}\r\n".encode() in stored


@pytest.mark.one_database
@pytest.mark.parametrize(
    "message_id", ["abc@host", "<abc>", "<a b@example.com>", "<a@b@c>", "<1@example.com> (note)"]
)
async def test_a_malformed_message_id_stays(
    submission: SubmissionServer, sender: Caller, message_id: str
) -> None:
    """Other servers take it. Because it may not be unique, it marks no message as a repetition."""
    header = f"Message-ID: {message_id}\r\nFrom: billing@example.com\r\n"
    content = f"{header}Date: Mon, 30 Nov 2026 10:00:00 +0000\r\n\r\nHi\r\n".encode()
    async with submission.login(sender) as client:
        reply = await client.submit(content)
        assert await client.submit(content) != reply
    assert (await submission.stored(sender, reply))["message_id_header"] == message_id
    assert without_received(await submission.content(sender, reply)) == content


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("message_id", "reply"),
    [
        ("<" + "a" * 512, "the Message-ID has 513 characters; write at most 512"),
        ("äbc", "not a Message-ID; write <something@example.com>"),
        ("\N{NO-BREAK SPACE}", "not a Message-ID; write <something@example.com>"),
    ],
)
async def test_an_odd_message_id_is_refused(
    submission: SubmissionServer, sender: Caller, message_id: str, reply: str
) -> None:
    """One that is too long to store, or is not ASCII."""
    content = f"From: billing@example.com\r\nMessage-ID: {message_id}\r\n\r\nHi\r\n"
    async with submission.login(sender) as client:
        assert reply in await client.submit(content.encode())


@pytest.mark.one_database
async def test_a_message_may_have_no_body(submission: SubmissionServer, sender: Caller) -> None:
    """Then the empty line behind the header may be missing (RFC 5322 section 2.1)."""
    async with submission.login(sender) as client:
        reply = await client.submit(HEADER)
    content = await submission.content(sender, reply)
    assert without_received(content) == HEADER + b"\r\n"


@pytest.mark.one_database
async def test_received_hides_the_client(submission: SubmissionServer, sender: Caller) -> None:
    """It names the host of EHLO, and no address: not even one that the client claims."""
    async with submission.login(sender) as client:
        await client("EHLO app-1")
        named = await submission.content(sender, await client.submit(HEADER + b"\r\n1\r\n"))
        await client("EHLO 10.1.2.3")
        content = HEADER.replace(b"<1@", b"<3@") + b"\r\n1\r\n"
        bare = await submission.content(sender, await client.submit(content))
        assert b"Received: from unknown\r\n" in bare
        await client("EHLO [10.1.2.3]")
        content = HEADER.replace(b"<1@", b"<2@") + b"\r\n1\r\n"
        unnamed = await submission.content(sender, await client.submit(content))
    by = rf"\r\n by {HOSTNAME} \(Heloise\) with ESMTPA id sub_[0-9a-f]{{32}};\r\n [^\r]*\r\n"
    assert re.match(rf"Received: from app-1{by}".encode(), named)
    assert re.match(rf"Received: from unknown{by}".encode(), unnamed)


@pytest.mark.one_database
async def test_received_shows_the_client_on_request(
    sender: Caller, submission: SubmissionServer
) -> None:
    """A setting adds the address."""
    async with (
        serving_submission(submission.api, reveals_client=True) as submission_server,
        submission_server.login(sender) as client,
    ):
        content = await submission_server.content(
            sender, await client.submit(HEADER + b"\r\n1\r\n")
        )
    assert content.startswith(b"Received: from localhost ([127.0.0.1])\r\n by ")


@pytest.mark.one_database
async def test_a_loop_is_broken(submission: SubmissionServer, sender: Caller) -> None:
    """A message that came here often, or passed many servers, is refused."""
    own = f"Received: from a\r\n by {HOSTNAME} (Heloise) with ESMTPA;\r\n x\r\n".encode()
    async with submission.login(sender) as client:
        for trace in (6 * own, 51 * b"Received: from a by b\r\n"):
            reply = await client.submit(trace + HEADER + b"\r\n1\r\n")
            assert reply.startswith("554 5.4.6 The message has "), reply


@pytest.mark.one_database
async def test_long_lines_are_encoded(submission: SubmissionServer, sender: Caller) -> None:
    """SMTP allows 998 bytes; MIME has encodings for longer lines (RFC 6409 section 8.3)."""
    content = HEADER + b"\r\n" + b"x" * 3000 + b"\r\n"
    async with submission.login(sender) as client:
        stored = await submission.content(sender, await client.submit(content))
    assert b"\r\nContent-Transfer-Encoding: quoted-printable\r\n" in stored
    body = stored.partition(b"\r\n\r\n")[2]
    assert body.replace(b"=\r\n", b"") == b"x" * 3000 + b"\r\n"


@pytest.mark.one_database
async def test_a_signed_message_with_long_lines_is_refused(
    submission: SubmissionServer, sender: Caller
) -> None:
    """An encoding would break the signature."""
    signature = b"DKIM-Signature: v=1; d=example.com; s=a; b=x\r\n"
    async with submission.login(sender) as client:
        reply = await client.submit(signature + HEADER + b"\r\n" + b"x" * 3000 + b"\r\n")
    assert reply.startswith("554 5.6.0 The message cannot be sent: a line has more than 998 bytes")
