"""The log of sessions: "my program says it sent it" has an answer."""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from sqlalchemy import text

from app.domain.errors import Unavailable
from app.domain.outcome.replies import Reply
from app.main import create_app
from app.store import submissions
from app.store.db.database import Database
from app.submission import session_log, session_record
from app.submission.listener import Listener
from app.submission.session_log import SessionLog
from app.submission.session_record import Journal
from tests.support.api_client import EVERY_SCOPE, PROFILE, Api, Caller, HandClock
from tests.support.harness import settings
from tests.support.submission import (
    HOST,
    SubmissionServer,
    key_of,
    message_id_of,
    serving_submission,
)
from tests.support.waiting import until

pytestmark = pytest.mark.one_database

FROM: Final = b"From: billing@example.com\r\n\r\nHi\r\n"
EVIL: Final = b"From: eve@example.net\r\n\r\nHi\r\n"
ADDRESS: Final = "a" * 64 + "@" + "b" * 180 + ".example"


async def ready() -> None:
    """The tables are there."""


def new_log(
    database: Database, dropped: Counter[str] | None = None, monotonic: HandClock | None = None
) -> SessionLog:
    """A log that counts in `dropped` what it leaves out, by reason."""
    counter = Counter[str]() if dropped is None else dropped

    def count(reason: str, number: int) -> None:
        counter[reason] += number

    return SessionLog(
        database, wait_ready=ready, count_dropped=count, monotonic=monotonic or HandClock()
    )


def new_journal(client: str | None = HOST, **fields: Any) -> Journal:
    """The journal of a session that has ended."""
    journal = Journal(
        client, 50_000, lambda: datetime.now(UTC), lambda _: None, lambda _: None, **fields
    )
    journal.end("the client quit")
    return journal


@asynccontextmanager
async def logging_sessions(
    api: Api, context: ssl.SSLContext | None, **changes: Any
) -> AsyncIterator[SubmissionServer]:
    """A submission server that keeps its log."""
    log = new_log(api.services.database)
    async with (
        log.running(),
        serving_submission(api, context, keep=log.keep, **changes) as submission_server,
    ):
        yield submission_server


@pytest.fixture
async def logging_server(api: Api, server_tls: ssl.SSLContext) -> AsyncIterator[SubmissionServer]:
    """A submission server with usual settings that keeps its log."""
    async with logging_sessions(api, server_tls) as submission_server:
        yield submission_server


async def find_session(caller: Caller, query: str = "") -> dict[str, Any]:
    """The newest session that is listed, as soon as there is one."""

    async def fact() -> dict[str, Any] | None:
        page = await caller.read(f"/submissions{query}")
        return next(iter(page["items"]), None)

    return await until(fact)


async def test_a_message_that_was_accepted_is_found(
    logging_server: SubmissionServer, sender: Caller, client_tls: ssl.SSLContext
) -> None:
    """With everything that was said, by the id that the program was told."""
    async with logging_server.connect() as client:
        assert (await client("STARTTLS"))[:3] == "220"
        await client.writer.start_tls(client_tls, server_hostname=HOST)
        await client("EHLO app")
        await client.log_in("transactional", key_of(sender))
        reply = await client.submit(FROM, to=["ann@example.org", "bob@example.org"])
        await client("QUIT")
    message_id = message_id_of(reply)
    assert (await sender.read(f"/messages/{message_id}"))["client_address"] == HOST
    session = await find_session(sender, f"?message={message_id}&client_address={HOST}")
    assert session["tls"].startswith("TLSv1.3 ")
    assert session["started_at"] <= session["ended_at"]
    expected = {
        "tenant_id": sender.tenant_id,
        "key_id": sender.key_id,
        "profile_id": (await sender.read("/profiles/transactional"))["id"],
        "client_address": HOST,
        "login": "transactional",
        "login_reply": "235 2.7.0 Authenticated",
        "ehlo_name": "app",
        "outcome": "the client quit",
        "message_count": 1,
        "transaction_count": 1,
        "message_ids": [message_id],
        "transactions": [
            {
                "mail_from": "billing@example.com",
                "mail_reply": "250 2.1.0 Sender OK",
                "recipient_count": 2,
                "recipients": [
                    {"address": address, "reply": "250 2.1.5 Recipient OK"}
                    for address in ("ann@example.org", "bob@example.org")
                ],
                "reply": reply,
                "message_id": message_id,
            }
        ],
    }
    assert session.items() >= expected.items()
    received = await logging_server.content(sender, reply)
    assert f"id {session['id']}".encode() in received


async def test_a_refused_sender_is_found(logging_server: SubmissionServer, sender: Caller) -> None:
    """The commands that a client sent on in one go too."""
    async with logging_server.login(sender) as client:
        client.send(b"MAIL FROM:<eve@example.net>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        assert [(await client.reply())[:3] for _ in range(3)] == ["553", "503", "503"]
    session = await find_session(sender)
    [transaction] = session["transactions"]
    assert transaction["mail_from"] == "eve@example.net"
    assert transaction["mail_reply"].startswith("553 5.7.1 ")
    assert transaction["recipients"] == [
        {"address": "ann@example.org", "reply": "503 5.5.1 Send MAIL first"}
    ]
    assert transaction["reply"] == "503 5.5.1 Send MAIL first"
    assert session["message_ids"] == []


async def test_a_refused_recipient_is_found(
    logging_server: SubmissionServer, sender: Caller
) -> None:
    """What is no address as the client wrote it."""
    async with logging_server.login(sender) as client:
        await client("MAIL FROM:<billing@example.com>")
        refusal = await client("RCPT TO:<ann@>")
        assert refusal[0] == "5"
        await client("RCPT TO:<bob@example.org>")
        await client("RSET")
        await client("RCPT TO:<eve@example.net>")  # of no message
    [transaction] = (await find_session(sender))["transactions"]
    assert transaction["recipients"] == [
        {"address": "ann@", "reply": refusal.replace("\n", " ")},
        {"address": "bob@example.org", "reply": "250 2.1.5 Recipient OK"},
    ]
    assert transaction["reply"] is None


async def test_a_refused_content_is_found(logging_server: SubmissionServer, sender: Caller) -> None:
    """And a client that hung up is told from one that quit."""
    async with logging_server.login(sender) as client:
        refusal = await client.submit(EVIL)
    session = await find_session(sender)
    [transaction] = session["transactions"]
    assert transaction["reply"].startswith(refusal[:10])
    assert transaction["reply"].startswith("550 5.7.1 ")
    assert transaction["message_id"] is None
    assert (session["outcome"], session["message_count"]) == ("the client closed the connection", 0)


async def test_a_second_sender_does_not_replace_the_first(
    logging_server: SubmissionServer, sender: Caller
) -> None:
    """The message is of the one that was accepted."""
    async with logging_server.login(sender) as client:
        await client("MAIL FROM:<billing@example.com>")
        assert (await client("MAIL FROM:<news@example.com>"))[:3] == "503"
        await client("RCPT TO:<ann@example.org>")
        reply = await client.data(FROM)
    first, second = (await find_session(sender))["transactions"]
    assert (first["mail_from"], first["reply"]) == ("billing@example.com", reply)
    assert (second["mail_from"], second["reply"]) == ("news@example.com", None)


async def test_a_message_too_large_by_its_size_is_found(
    logging_server: SubmissionServer, sender: Caller
) -> None:
    """It is refused before anything is asked of the account."""
    async with logging_server.login(sender) as client:
        await client("MAIL FROM:<billing@example.com> SIZE=99999999999")
    [transaction] = (await find_session(sender))["transactions"]
    assert transaction["mail_from"] == "billing@example.com"
    assert transaction["mail_reply"].startswith("552 5.3.4 ")


async def test_a_wrong_password_is_found(logging_server: SubmissionServer, sender: Caller) -> None:
    """By admins: it is no tenant's. The password is nowhere in it."""
    async with logging_server.connect() as client:
        await client.log_in("transactional", "hel_canary-wrong-password")
        await client("QUIT")
    session = await find_session(logging_server.api.admin, "?login=transactional")
    assert session["login_reply"].startswith("535 5.7.8 This key is unknown")
    assert (session["tenant_id"], session["key_id"]) == (None, None)
    assert "canary" not in str(session)
    assert (await sender.read("/submissions"))["items"] == []


@pytest.mark.parametrize(
    ("username", "password", "shown"),
    [
        ("postmark hel_canary-secret", "hel_canary-secret", "postmark hel_cana…"),
        ("hel_canary-secret", "hel_canary-secret", "hel_cana…"),
        ("hel_canary-secret", "x", "hel_cana…"),
        ("canary-secret", "canary-secret", "(the password)"),
        ("admin\r\n" * 100, "canary-secret", ("admin\r\n" * 100)[:100]),
    ],
)
async def test_no_secret_is_kept_as_user_name(
    logging_server: SubmissionServer, username: str, password: str, shown: str
) -> None:
    """Other services want their key in both fields."""
    async with logging_server.connect() as client:
        await client.log_in(username, password)
    session = await find_session(logging_server.api.admin)
    assert session["login"] == shown
    assert "secret" not in str(session)


async def test_a_key_as_user_name_is_not_kept(
    logging_server: SubmissionServer, sender: Caller
) -> None:
    """A valid one: the reply says what to write instead."""
    key = key_of(sender)
    async with logging_server.connect() as client:
        reply = await client.log_in(key, key)
    assert reply == (
        "535 5.7.8 The user name is an API key: write the name of a profile, or heloise."
    )
    assert key not in str(await find_session(sender))


async def test_a_bound_key_sees_no_session_with_messages_of_other_profiles(
    logging_server: SubmissionServer, sender: Caller
) -> None:
    """They name their recipients."""
    await sender.made("/profiles", PROFILE | {"name": "other"})
    bound = await logging_server.api.key(sender.tenant_id, EVERY_SCOPE, profiles=["transactional"])
    for option in (b"X-Heloise-Profile: transactional\r\n", b"X-Heloise-Profile: other\r\n"):
        async with logging_server.login(sender) as client:
            assert (await client.submit(option + FROM))[:3] == "250"
            await client("QUIT")

    async def fact() -> list[Any] | None:
        items = (await sender.read("/submissions"))["items"]
        return items if len(items) == 2 else None

    _, first = await until(fact)
    assert [session["id"] for session in (await bound.read("/submissions"))["items"]] == [
        first["id"]
    ]


async def test_a_session_is_one_tenants(logging_server: SubmissionServer, sender: Caller) -> None:
    """It ends when its key is revoked, so no other tenant's login gets its log."""
    mortal = await logging_server.api.key(sender.tenant_id, ["messages:send"])
    async with logging_server.login(mortal) as client:
        await client.submit(FROM)
        await sender("DELETE", f"/keys/{mortal.key_id}")
        assert (await client("MAIL FROM:<billing@example.com>"))[:3] == "535"
        assert await client.reply() == ""
    session = await find_session(sender)
    assert session["message_count"] == 1
    assert session["outcome"].startswith("535 5.7.8 ")


async def test_a_key_that_may_not_send_is_found_by_its_tenant(
    logging_server: SubmissionServer, sender: Caller
) -> None:
    """It is theirs to mend."""
    reader = await logging_server.api.key(sender.tenant_id, ["messages:read"])
    async with logging_server.connect() as client:
        await client.log_in("transactional", key_of(reader))
    session = await find_session(reader)
    assert session["login_reply"].startswith("535 5.7.8 This key lacks the scope messages:send")
    assert session["key_id"] == reader.key_id
    assert session["tenant_id"] == sender.tenant_id
    bound = await logging_server.api.key(sender.tenant_id, EVERY_SCOPE, profiles=["transactional"])
    assert (await bound.read("/submissions"))["items"] == []


async def test_a_program_without_a_login_is_found(logging_server: SubmissionServer) -> None:
    """With the message that it had for Heloise."""
    async with logging_server.connect() as client:
        await client("MAIL FROM:<app@example.com>")
        await client("RCPT TO:<ann@example.org>")
        await client("QUIT")
    session = await find_session(logging_server.api.admin)
    assert session["login"] is None
    [transaction] = session["transactions"]
    assert transaction["mail_from"] == "app@example.com"
    assert transaction["mail_reply"].startswith("530 5.7.0 ")
    assert [recipient["address"] for recipient in transaction["recipients"]] == ["ann@example.org"]


async def test_a_probe_is_not_kept(logging_server: SubmissionServer) -> None:
    """It connects and hangs up every few seconds; a client that says anything is kept."""
    _, writer = await asyncio.open_connection(HOST, logging_server.tls_port)
    writer.close()
    await writer.wait_closed()
    for request in (b"", b"", b"NOOP\r\n"):
        reader, writer = await asyncio.open_connection(HOST, logging_server.port)
        await reader.readline()
        writer.write(request)
        if request:
            await reader.readline()
        writer.close()
        await writer.wait_closed()
    await find_session(logging_server.api.admin)
    [session] = (await logging_server.api.admin.read("/submissions"))["items"]
    assert (session["outcome"], session["ehlo_name"]) == ("the client closed the connection", None)


async def test_a_login_without_tls_is_found(logging_server: SubmissionServer) -> None:
    """Whether it is one command or two, and with no part of a password."""
    async with logging_sessions(
        logging_server.api, None, allows_plaintext_login=False
    ) as submission_server:
        async with submission_server.connect() as client:
            await client(f"AUTH PLAIN {b64encode(b'canary').decode()}")
        session = await find_session(logging_server.api.admin)
    assert session["login_reply"][:3] in {"530", "538"}
    assert b64encode(b"canary").decode() not in str(session)


async def test_a_login_that_is_not_finished_is_found(logging_server: SubmissionServer) -> None:
    """A line of its exchange is no command, whatever it looks like."""
    async with logging_server.connect() as client:
        assert (await client("AUTH PLAIN")) == "334 "
        await client("MAIL FROM:<canary@example.com>")
    session = await find_session(logging_server.api.admin)
    assert session["login_reply"].startswith("501 5.5.2 ")
    assert "canary" not in str(session)


async def test_a_failed_handshake_is_found(logging_server: SubmissionServer) -> None:
    """Of a program that speaks without TLS to the port of TLS."""
    reader, writer = await asyncio.open_connection(HOST, logging_server.tls_port)
    writer.write(b"EHLO app\r\n")
    with suppress(ConnectionError):
        await reader.read()
    writer.close()
    session = await find_session(logging_server.api.admin)
    assert session["outcome"].startswith("the TLS handshake failed: ")
    assert session["client_address"] == HOST


async def test_a_failed_starttls_is_found(logging_server: SubmissionServer) -> None:
    """As of a program that does not trust the certificate."""
    async with logging_server.connect() as client:
        assert (await client("STARTTLS"))[:3] == "220"
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.writer.start_tls(ssl.create_default_context(), server_hostname=HOST)
    session = await find_session(logging_server.api.admin)
    assert session["outcome"].startswith("the TLS handshake failed: ")
    assert session["tls"] is None


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_client"])
async def test_a_connection_too_many_is_found(
    logging_server: SubmissionServer, server_tls: ssl.SSLContext, bound: str
) -> None:
    """From which address it came."""
    async with (
        logging_sessions(logging_server.api, server_tls, **{bound: 1}) as submission_server,
        submission_server.connect(),
    ):
        reader, writer = await asyncio.open_connection(HOST, submission_server.port)
        await reader.read()
        writer.close()
        session = await find_session(logging_server.api.admin)
    assert session["outcome"] == "421 4.3.2 Too many connections; try again later"
    assert session["client_address"] == HOST


async def test_a_guesser_that_is_sent_away_is_found(logging_server: SubmissionServer) -> None:
    """With the reply that ended it."""
    async with logging_server.connect() as client:
        replies = [await client.log_in("x", f"hel_wrong-{number}") for number in range(3)]
    session = await find_session(logging_server.api.admin)
    assert session["login_reply"].startswith(replies[-1][:9])
    assert session["outcome"][:4] == "421 "


def test_a_journal_is_bounded() -> None:
    """At about 100 kB; what is beyond its bounds is counted."""
    full_journal = new_journal()
    reply = Reply(250, "x" * 2000, "2.0.0")
    for number in range(2000):
        full_journal.mail(ADDRESS, reply)
        for _ in range(10):
            full_journal.rcpt(ADDRESS, reply)
        full_journal.content(reply, f"msg_{number:032x}")
    assert (full_journal.message_count, full_journal.transaction_count) == (2000, 2000)
    assert [transaction["recipient_count"] for transaction in full_journal.transactions] == [
        10
    ] * 50
    assert (
        sum(len(transaction["recipients"]) for transaction in full_journal.transactions)
        == session_record.MAX_RECIPIENTS
    )
    assert len(full_journal.message_ids) == session_record.MAX_MESSAGE_IDS
    assert len(str(full_journal.transactions)) < 110_000


def test_strangers_are_bounded() -> None:
    """A flood leaves room for others, fills no table, and begins anew in the next minute."""
    dropped, monotonic = Counter[str](), HandClock()
    log = new_log(Database("sqlite:///none.db"), dropped, monotonic)
    for _ in range(1000):
        log.keep(new_journal("192.0.2.7"))
    assert dropped == {"rate": 1000 - session_log.MAX_STRANGERS_PER_CLIENT}
    for number in range(1000):
        log.keep(new_journal(f"2001:db8::{number:x}"))
    assert dropped["rate"] == 2000 - session_log.MAX_STRANGERS_PER_MINUTE
    log.keep(new_journal(tenant_id="ten_1"))
    assert dropped["rate"] == 2000 - session_log.MAX_STRANGERS_PER_MINUTE
    monotonic.seconds += 61
    log.keep(new_journal("192.0.2.7"))
    assert dropped["rate"] == 2000 - session_log.MAX_STRANGERS_PER_MINUTE


async def test_smtp_goes_on_while_the_log_cannot_be_written(
    api: Api, sender: Caller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest sessions are dropped, which is counted, and logged once."""
    monkeypatch.setattr(session_log, "MAX_WAITING", 2)
    monkeypatch.setattr(session_log, "LAST_FLUSH_SECONDS", 0.1)
    away, dropped = Database("postgresql://heloise@127.0.0.1:1/none"), Counter[str]()
    log = new_log(away, dropped)
    async with log.running():
        async with serving_submission(api, keep=log.keep) as submission_server:
            for _ in range(5):
                async with submission_server.login(sender) as client:
                    assert (await client.submit(FROM))[:3] == "250"

        async def has_dropped() -> bool | None:
            return dropped == {"queue": 3} or None  # fewer while a group is being tried

        await until(has_dropped)
    assert dropped == {"queue": 5}
    messages = [record.message for record in caplog.records if record.name == session_log.__name__]
    assert messages == ["the database does not take the log of SMTP sessions: dropping sessions"]
    await away.close()


async def test_a_group_whose_commit_was_unknown_is_written_once(
    api: Api, sender: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repetition neither fails nor doubles anything."""
    insert, written = submissions.insert, list[str]()

    async def insert_and_lose_the_answer(connection: Any, sessions: Any) -> None:
        await insert(connection, sessions)
        written.extend(session.id for session in sessions)
        if len(written) == 1:
            await connection.commit()
            raise Unavailable("commit-unknown", "The connection broke.")

    async def is_repeated() -> bool | None:
        return len(written) > 1 or None

    monkeypatch.setattr(submissions, "insert", insert_and_lose_the_answer)
    log, journal = new_log(api.services.database), new_journal(tenant_id=sender.tenant_id)
    journal.content(Reply(250, "OK"), "msg_1")
    async with log.running():
        log.keep(journal)
        await until(is_repeated)
    assert set(written) == {journal.id}
    [session] = (await sender.read("/submissions"))["items"]
    assert (session["id"], session["message_ids"]) == (journal.id, ["msg_1"])


async def test_the_end_of_the_service_loses_no_session(api: Api, sender: Caller) -> None:
    """What has ended is written before the process ends."""
    log = new_log(api.services.database)
    async with log.running():
        for _ in range(250):
            log.keep(new_journal(tenant_id=sender.tenant_id))
    assert await count_sessions(api.services.database) == 250


@pytest.mark.parametrize("days", [0, 7])
async def test_the_service_keeps_the_log_for_days(
    migrated_url: str, database: Database, days: int
) -> None:
    """With zero days it keeps nothing, not even for a moment."""
    values = settings(
        migrated_url,
        delivery=False,
        submission_log_days=days,
        submission_allow_plaintext_auth=True,
    )
    with socket.create_server((HOST, 0)) as listening:
        app = create_app(values, hostname="mx.example.com", listeners=[Listener(listening)])
        async with app.router.lifespan_context(app):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(b"QUIT\r\n")
            await reader.read()
            writer.close()
            exposition = await app.state.services.metrics()
    assert b"heloise_submission_sessions_total 1.0" in exposition
    assert await count_sessions(database) == min(days, 1)


async def count_sessions(database: Database) -> int:
    """How many sessions are stored."""
    async with database.reading() as connection:
        count = await connection.execute(text("SELECT count(*) FROM submissions"))
    return int(count.scalar_one())
