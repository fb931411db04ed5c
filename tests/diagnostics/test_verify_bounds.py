"""Verify ends in its time and leaves nothing behind, whatever a server does, at every stage."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from app.diagnostics.report import Status, Step
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import TlsMode
from tests.diagnostics.small_internet import CHECK, PASSWORD, PATIENT, USER, SmallInternet
from tests.diagnostics.test_verify import verify_subject
from tests.support.servers.dns_server import silent
from tests.support.servers.smtp_server import (
    DISCONNECT,
    DRIBBLE,
    ENDLESS,
    RESET,
    SILENCE,
    SmtpServer,
)
from tests.support.smtp_identities import come_true

SECONDS: Final = 6.0
# Far above it: that verify ends is what is shown, not how fast the machine is.
CLEARLY_TOO_LONG: Final = 60.0
MAX_REPORT_CHARACTERS: Final = 200_000
OPEN_STATES: Final = {"01", "08"}  # ESTABLISHED, CLOSE_WAIT
LOGIN: Final = {"username": USER, "password": PASSWORD}

# The one that verify names, the server's, and at which time it comes to it; `tls` of the server
# comes after a positive reply to STARTTLS.
STAGES: Final = [
    ("banner", "banner", 0),
    ("ehlo", "ehlo", 0),
    ("tls", "starttls", 0),
    ("tls", "tls", 0),
    ("ehlo_after_tls", "ehlo", 1),
    ("auth", "challenge", 0),
    ("auth", "auth", 0),
    ("mail", "mail", 0),
    ("rcpt", "rcpt", 0),
]


@contextmanager
def talking(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Until the client is gone."""
    try:
        with suppress(ConnectionError):
            yield
    finally:
        writer.close()


async def one_line(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A line that does not end."""
    with talking(writer):
        while True:
            writer.write(b"220 " + b"x" * 10_000)
            await writer.drain()


async def chatting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A greeting, and then line upon line to every command."""
    with talking(writer):
        writer.write(b"220 mx.test.invalid ESMTP\r\n")
        await reader.readline()
        while not writer.is_closing():
            writer.write(b"250-and this is not all\r\n")
            await asyncio.sleep(0.01)


def subject(net: SmallInternet, server: Any, **fields: Any) -> Any:
    """A patient profile that logs in, over STARTTLS, and asks about a recipient."""
    defaults = {"tls": TlsMode.STARTTLS, "check": CHECK, "timeouts": PATIENT} | LOGIN
    return net.subject(server, **(defaults | fields))


def connections_to(port: int) -> int:
    """How many connections to a port this process has not closed (proc(5), `/proc/net/tcp`)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[2].endswith(f":{port:04X}") and row[3] in OPEN_STATES}
    return len(inodes & set(list_own_sockets()))


def list_own_sockets() -> Iterator[str]:
    """The inodes of this process's open sockets."""
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            if match := re.fullmatch(r"socket:\[(\d+)\]", str(path.readlink())):
                yield match[1]


def list_left_tasks(before: set[asyncio.Task[Any]]) -> list[str]:
    """The tasks that were begun since and go on, the server's too: its client is still there."""
    return [str(task) for task in asyncio.all_tasks() - before - {asyncio.current_task()}]


@pytest.mark.parametrize("action", [DISCONNECT, RESET, ENDLESS])
@pytest.mark.parametrize(("stage", "at_server", "time"), STAGES)
async def test_it_ends_whatever_a_server_does(
    net: SmallInternet, stage: str, at_server: str, time: int, action: str
) -> None:
    """Gone, or without an end: that stage failed, and what comes after was not reached.

    What was found before is told, and no connection is left.
    """
    await check_failure(net, stage, at_server, time, action)


@pytest.mark.parametrize("action", [SILENCE, DRIBBLE])
async def test_it_ends_where_nothing_comes(net: SmallInternet, action: str) -> None:
    """The same of a mute server, at every stage; all of them are waited for together."""
    async with asyncio.TaskGroup() as tasks:
        for stage, at_server, time in STAGES:
            tasks.create_task(check_failure(net, stage, at_server, time, action))


async def check_failure(
    net: SmallInternet, stage: str, at_server: str, time: int, action: str
) -> None:
    """Verify a server that does this at a stage, and check the report."""
    script = {at_server: [None] * time + [action]}
    async with SmtpServer(script, tls=net.server_tls(), users={USER: PASSWORD}) as server:
        async with asyncio.timeout(CLEARLY_TOO_LONG):
            report = await verify_subject(net, subject(net, server), seconds=SECONDS)
        await come_true(lambda: connections_to(server.port) == 0)
    case = (at_server, action, str(report))
    assert report.failed_stage is not None, case
    assert report.failed_stage.stage.value == stage, case
    at = [step.stage for step in report.stages].index(report.failed_stage.stage)
    for later in report.stages[at + 1 :]:
        assert later.status is Status.SKIPPED, case
    for before in report.stages[3:at]:
        assert before.status is Status.OK, case
        assert "None" not in before.detail, case
        has_details = before.greeting or before.tls_cipher or before.mechanism
        assert has_details or before.stage is Step.MAIL, case
    assert len(str(report)) < MAX_REPORT_CHARACTERS, case
    if action == SILENCE:  # what was waited for in vain is its time
        longest = max(report.stages, key=lambda step: step.duration_ms)
        assert longest is report.failed_stage, case
    assert report.failed_stage.code, case
    assert report.failed_stage.hint, case
    assert report.failed_stage.detail, case


async def test_a_verify_that_is_cancelled_before_its_login_leaves_no_connection(
    net: SmallInternet,
) -> None:
    """It is connected already when it waits for its access token."""
    is_asked = asyncio.Event()

    async def wait_forever() -> None:
        is_asked.set()
        await asyncio.Event().wait()

    async with SmtpServer() as server:
        verifying = asyncio.create_task(
            verify_subject(net, net.subject(server, token=wait_forever), seconds=CLEARLY_TOO_LONG)
        )
        await is_asked.wait()
        verifying.cancel()
        with suppress(asyncio.CancelledError):
            await verifying
        await come_true(lambda: connections_to(server.port) == 0)


@pytest.mark.parametrize("serve", [one_line, chatting])
async def test_it_ends_where_a_line_or_a_reply_never_does(net: SmallInternet, serve: Any) -> None:
    """Nor does what it says fill the memory or the report."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        before = asyncio.all_tasks()
        async with SmtpServer() as known:
            server_subject = subject(
                net, known, port=port, tls=TlsMode.NONE, username=None, password=None
            )
        async with asyncio.timeout(CLEARLY_TOO_LONG):
            report = await verify_subject(net, server_subject, seconds=SECONDS)
        await come_true(lambda: connections_to(port) == 0)
        await come_true(lambda: list_left_tasks(before) == [])
    assert report.failed_stage is not None
    assert report.failed_stage.stage in {Step.BANNER, Step.EHLO}
    assert len(str(report)) < MAX_REPORT_CHARACTERS


async def test_a_token_that_does_not_come_is_not_waited_for(net: SmallInternet) -> None:
    """The login failed, for want of a token."""

    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with SmtpServer(tls=net.server_tls(), tokens={}) as server:
        async with asyncio.timeout(CLEARLY_TOO_LONG):
            report = await verify_subject(net, subject(net, server, token=never), seconds=SECONDS)
        await server.wait_until(lambda server: server.open_connections == 0)
    assert report.failed_stage is not None
    assert (report.failed_stage.stage, report.failed_stage.code) == (
        Step.AUTH,
        "oauth_token_unavailable",
    )


async def test_a_refused_token_is_told_where_it_is_needed(net: SmallInternet) -> None:
    """What the token server said stands at the login."""
    refusal = Failure(Stage.AUTH, fault=Fault.TOKEN_REFUSED, detail="invalid_client: no such app")

    async def refused() -> Failure:
        return refusal

    async with SmtpServer(tls=net.server_tls(), tokens={}) as server:
        report = await verify_subject(net, subject(net, server, token=refused))
    assert report.failed_stage is not None
    assert (report.failed_stage.stage, report.failed_stage.code) == (
        Step.AUTH,
        "oauth_token_refused",
    )
    assert "no such app" in report.failed_stage.detail


async def test_a_refused_name_and_a_mute_dns_together_end_in_time(net: SmallInternet) -> None:
    """What is kept for finding out why is part of the whole time."""
    refusal = "504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname"
    async with SmtpServer({"ehlo": refusal}) as server:
        server_subject = net.subject(server, host="127.0.0.1", timeouts=PATIENT)
        for name in ("mail.example.com", "out.example.com", "1.0.0.127.in-addr.arpa"):
            net.dns.behave(name, silent)
        async with asyncio.timeout(CLEARLY_TOO_LONG):
            report = await verify_subject(net, server_subject, seconds=SECONDS)
    assert report.failed_stage is not None
    assert report.failed_stage.code == "ehlo_rejected"
    assert report.diagnosis is not None
    assert {name.is_accepted for name in report.diagnosis.names} <= {False, None}
