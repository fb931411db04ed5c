"""Addresses in another script (RFC 6531): through servers that take them, else a clear bounce."""

import pytest

from tests.e2e.conftest import Start
from tests.support.servers.smtp_server import SmtpServer

JOSE = "josé@example.org"
ANN = "ann@example.org"


@pytest.mark.one_database
async def test_it_goes_to_a_server_that_takes_it(start: Start) -> None:
    """With SMTPUTF8 said at MAIL, the address and the header as they are."""
    async with SmtpServer(extensions=["PIPELINING", "8BITMIME", "SMTPUTF8"]) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        await acme.message(await acme.send(JOSE), status="sent")
        await acme.message(await acme.send(ANN), status="sent")
    first, second = server.messages
    assert first.recipients == [JOSE]
    assert f"\r\nTo: {JOSE}\r\n".encode() in first.data
    mails = [line for line in server.sessions[0].commands if line.startswith("MAIL")]
    assert mails[0].endswith("BODY=8BITMIME SMTPUTF8")
    assert "SMTPUTF8" not in mails[1]
    assert second.data.isascii()


@pytest.mark.one_database
async def test_a_server_that_does_not_take_it_is_not_asked(start: Start) -> None:
    """The bounce says what to do; the connection carries the next message."""
    async with SmtpServer() as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, max_connections=1)
        message = await acme.send(JOSE)
        await acme.message(message, status="failed")
        [attempt] = await acme.attempts(message)
        assert (attempt["stage"], attempt["scope"], attempt["verdict"]) == (
            "mail",
            "message",
            "bounce",
        )
        assert attempt["classification"] == "smtputf8_not_offered"
        assert "use an address in ASCII" in attempt["detail"]
        await acme.message(await acme.send(ANN), status="sent")
        assert len(server.sessions) == 1


@pytest.mark.one_database
async def test_a_hidden_recipient_in_another_script_is_not_the_others_end(start: Start) -> None:
    """Nothing of it stands in the header: those in ASCII get the message from any server."""
    async with SmtpServer() as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        message = await acme.send(ANN, bcc=[JOSE])
        body = await acme.message(message, status="partially_sent")
        assert {recipient["address"]: recipient["status"] for recipient in body["recipients"]} == {
            ANN: "sent",
            JOSE: "bounced",
        }
        assert [received.recipients for received in server.messages] == [[ANN]]


@pytest.mark.one_database
async def test_a_header_that_is_not_ascii_is_told_as_the_reason(start: Start) -> None:
    """RFC 6531 section 3.2: it needs SMTPUTF8 whoever it goes to, also those in ASCII."""
    async with SmtpServer() as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        message = await acme.send(ANN, cc=[JOSE])
        await acme.message(message, status="failed")
        first, second = await acme.attempts(message)
        assert first["recipients"][0]["address"] == ANN
        assert first["classification"] == second["classification"] == "smtputf8_not_offered"
        assert "the header is not ASCII (Cc)" in first["detail"]
        assert "to bcc" in first["detail"]
        assert "an address of the message is not ASCII" in second["detail"]
        assert not server.messages


@pytest.mark.one_database
async def test_nothing_goes_ahead_of_the_second_half_of_a_message(start: Start) -> None:
    """Those in ASCII and the others are a transaction each; the next message comes after both."""
    extensions = ["PIPELINING", "8BITMIME", "SMTPUTF8"]
    async with SmtpServer(extensions=extensions) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port, max_connections=1)
        await acme("POST", "/profiles/main/pause")
        messages = [await acme.send(ANN, bcc=[JOSE]) for _ in range(6)]
        await acme("POST", "/profiles/main/resume")
        for message in messages:
            await acme.message(message, status="sent")
            attempts = await acme.attempts(message)
            assert [attempt["verdict"] for attempt in attempts] == ["delivered", "delivered"]
        assert len(server.sessions) == 1
