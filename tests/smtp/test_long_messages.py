"""Messages of many blocks: no faster than the server reads, and no doubt before the end."""

import asyncio
import gc
import logging
from typing import Final

import pytest

from app.domain.outcome.outcome import Fault, Stage
from app.smtp.body import BLOCK_BYTES
from tests.support.servers.smtp_dialogue import HALF_CLOSE
from tests.support.servers.smtp_server import DISCONNECT, RESET, SILENCE, SmtpServer
from tests.support.smtp_identities import IMPATIENT, send, session_to

LINE: Final = b".0123456789abcdef" * 4 + b"\r\n"
# More than the kernel keeps for a peer that does not read.
LONG: Final = b"Subject: long\r\n\r\n" + LINE * (24 * 1024 * 1024 // len(LINE))


def _whole(size_bytes: int) -> bytes:
    return (LINE * (size_bytes // len(LINE) + 1))[:size_bytes]


@pytest.mark.parametrize(
    "mime",
    [
        LONG,
        *(_whole(BLOCK_BYTES + more) for more in range(-6, 6)),
        b"\r\n." * BLOCK_BYTES,
    ],
    ids=len,
)
async def test_a_long_message_arrives_whole(mime: bytes) -> None:
    """Whatever the blocks cut through; and another after it."""
    async with (
        SmtpServer(extensions=[]) as server,
        session_to(server) as session,
    ):
        assert (await send(session, mime=mime)).reply is not None
        await send(session)
    assert server.messages[0].data.rstrip(b"\r\n") == mime.rstrip(b"\r\n")
    assert len(server.messages) == 2


async def test_a_server_that_stops_reading_times_out() -> None:
    """Before the end, so the message was not taken for sure (invariant 5)."""
    async with (
        SmtpServer({"body": SILENCE}, extensions=[]) as server,
        session_to(server, timeouts=IMPATIENT) as session,
    ):
        async with asyncio.timeout(60):
            transaction = await send(session, mime=LONG)
        assert transaction.failure is not None
        assert (transaction.failure.stage, transaction.failure.fault) == (
            Stage.DATA,
            Fault.TIMEOUT,
        )
        assert session.stage is Stage.DATA
        assert not session.is_open


@pytest.mark.parametrize("end", [DISCONNECT, RESET, HALF_CLOSE])
async def test_a_connection_lost_before_the_end_leaves_no_doubt(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The server cannot have seen the final dot; and nothing is left to complain.

    One that ends the connection without reading is not waited for: what it has not read would keep
    the end back.
    """
    async with (
        SmtpServer({"body": end}, extensions=[]) as server,
        session_to(server) as session,
    ):
        transaction = await send(session, mime=LONG)
    assert transaction.failure is not None
    assert (transaction.failure.stage, transaction.failure.fault) == (
        Stage.DATA,
        Fault.DISCONNECTED,
    )
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("reply", ["552 5.3.4 Message too big", "421 4.3.2 Bye"])
async def test_a_server_that_has_had_enough_is_heard(reply: str) -> None:
    """Its answer counts though the message was not over, and the connection is not used again."""
    async with (
        SmtpServer({"body": reply}, extensions=[]) as server,
        session_to(server) as session,
    ):
        transaction = await send(session, mime=LONG)
        assert not session.is_open
    assert transaction.failure is not None
    assert (transaction.failure.stage, str(transaction.failure)) == (Stage.DATA, reply)


async def test_an_answer_out_of_turn_is_no_consent() -> None:
    """250 before the end speaks of no message."""
    async with (
        SmtpServer({"body": "250 Ok"}, extensions=[]) as server,
        session_to(server) as session,
    ):
        transaction = await send(session, mime=LONG)
    assert transaction.failure is not None
    assert transaction.failure.fault is Fault.MALFORMED


async def test_a_cancelled_long_message_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No task, no complaint; and it is known that the server has not got it."""
    async with (
        SmtpServer({"body": SILENCE}, extensions=[]) as server,
        session_to(server) as session,
    ):
        sending = asyncio.create_task(send(session, mime=LONG))
        await server.wait_until(lambda it: "DATA" in it.sessions[0].commands)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert session.stage is Stage.DATA
        assert not session.is_open
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
