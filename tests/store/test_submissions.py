"""The log of SMTP sessions: written in one go, found by what is known of one, kept for days."""

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from app.domain.ids import first_id, new_id
from app.domain.submissions import SubmissionSession
from app.domain.tenants.retention import KEEP_FOREVER, Retention
from app.store import retention, submissions
from app.store.db.database import Database
from app.store.tables.submissions import submission_messages
from app.store.tenants import queries as tenants
from tests.store.db.test_plans import plan
from tests.support.database.statements import record_statements
from tests.support.rows import HOUR, MINUTE, NOW, made_tenant

DAY = timedelta(days=1)
JUST_NOW = timedelta(0)


def transaction(*to: str, **fields: Any) -> dict[str, Any]:
    """A transaction of a session, which the server accepted."""
    defaults = {
        "mail_from": "billing@example.com",
        "mail_reply": "250 2.1.0 Sender OK",
        "recipient_count": len(to),
        "recipients": [{"address": address, "reply": "250 2.1.5 Recipient OK"} for address in to],
        "reply": "250 2.0.0 Queued as msg_1",
        "message_id": "msg_1",
    }
    return defaults | fields


def a_session(
    number: int = 0, *, age: timedelta = timedelta(0), **fields: Any
) -> SubmissionSession:
    """A session that began at a time before now, not yet written."""
    started_at = NOW - age
    defaults: dict[str, Any] = {
        "id": f"{first_id('sub', started_at)}{number:020x}",
        "tenant_id": "ten_1",
        "api_key_id": "key_1",
        "profile_id": "prf_1",
        "client_address": "192.0.2.7",
        "client_port": 50_000,
        "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
        "login": "transactional",
        "login_reply": "235 2.7.0 Authenticated",
        "ehlo_name": "app.example.com",
        "outcome": "221 2.0.0 Bye",
        "started_at": started_at,
        "ended_at": started_at + MINUTE,
        "message_count": 1,
        "transaction_count": 1,
        "transactions": [transaction("ann@example.org")],
        "message_ids": ("msg_1",),
    }
    return SubmissionSession(**(defaults | fields))


def a_stranger(number: int = 0, **fields: Any) -> SubmissionSession:
    """A session without a login, not yet written."""
    nothing = dict.fromkeys(("tenant_id", "api_key_id", "profile_id", "tls", "ehlo_name"))
    defaults = nothing | {"transactions": [], "message_ids": (), "message_count": 0}
    return a_session(number, **(defaults | fields))


async def fill(database: Database, *sessions: SubmissionSession) -> None:
    """Write these sessions."""
    async with database.transaction() as connection:
        await submissions.insert(connection, sessions)


async def list_sessions(
    database: Database, tenant_id: str | None = "ten_1", **filters: Any
) -> list[SubmissionSession]:
    """The sessions that match."""
    options = {name: filters.pop(name) for name in ("limit", "after") if name in filters}
    async with database.reading() as connection:
        return await submissions.page(
            connection,
            tenant_id=tenant_id,
            submission_filter=submissions.SubmissionFilter(**filters),
            **({"limit": 100} | options),
        )


async def test_what_is_written_is_read_back(database: Database) -> None:
    """Whole, by one statement, however many there are and however little is known of them."""
    full = a_session(
        1, transactions=[transaction("Änne@example.org", "bob@example.org"), transaction()]
    )
    bare = a_stranger(2, client_address=None, client_port=None, login=None, login_reply=None)
    with record_statements() as statements:
        await fill(database, full, bare)
    assert len([statement for statement in statements if "INSERT" in statement[0]]) == 1
    assert await list_sessions(database, None) == [bare, full]
    async with database.reading() as connection:
        for tenant_id, expected in (("ten_1", full), (None, full), ("ten_2", None)):
            assert expected == await submissions.find(
                connection, tenant_id=tenant_id, submission_id=full.id
            )


async def test_a_repeated_write_changes_nothing(database: Database) -> None:
    """A commit without an answer is tried again, with what came meanwhile."""
    first, second = a_session(1, message_ids=("msg_1", "msg_2")), a_session(2)
    await fill(database, first)
    await fill(database, first, second)
    assert await list_sessions(database) == [second, first]


async def test_nothing_to_write_is_no_statement(database: Database) -> None:
    """Callers need not check whether there are sessions to insert."""
    with record_statements() as statements:
        await fill(database)
    assert not [statement for statement in statements if "INSERT" in statement[0]]


async def test_a_hostile_client_keeps_no_session_from_the_log(database: Database) -> None:
    """PostgreSQL stores no NUL; one text that it refuses would refuse all of the group."""
    strange = "\x00\ud800" + "x" * 300
    reply = f"535 5.7.8 {strange}"
    hostile = a_stranger(
        1,
        login=strange,
        ehlo_name=strange,
        login_reply=reply,
        outcome=reply,
        transactions=[transaction(f"{strange}@example.org", reply=reply)],
    )
    await fill(database, hostile, a_session(2))
    neighbour, session = await list_sessions(database, None)
    assert neighbour == a_session(2)
    assert session.login == ("\ufffd\ufffd" + "x" * 300)[: submissions.MAX_CHARACTERS]
    assert session.outcome == reply.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


async def test_a_message_that_was_repeated_is_of_both_sessions(database: Database) -> None:
    """The reply to a repetition names the message that is stored already."""
    first, second = a_session(1), a_session(2, message_ids=("msg_1", "msg_1", "msg_2"))
    await fill(database, first, second)
    assert [session.id for session in await list_sessions(database, message_id="msg_1")] == [
        second.id,
        first.id,
    ]
    assert [session.message_ids for session in await list_sessions(database)] == [
        ("msg_1", "msg_2"),
        ("msg_1",),
    ]


async def test_each_filter_narrows(database: Database) -> None:
    """Alone and together, newest first, and never another tenant's."""
    old = a_session(1, age=DAY, message_ids=("msg_1",))
    new = a_session(
        2,
        client_address="192.0.2.8",
        login="heloise",
        profile_id="prf_2",
        message_ids=("msg_2", "msg_3"),
    )
    other, stranger = a_session(3, tenant_id="ten_2"), a_stranger(4)
    await fill(database, old, new, other, stranger)
    cases: list[tuple[dict[str, Any], list[SubmissionSession]]] = [
        ({}, [new, old]),
        ({"client_address": "192.0.2.7"}, [old]),
        ({"client_address": "192.0.2.9"}, []),
        ({"login": "heloise"}, [new]),
        ({"login": "Heloise"}, []),
        ({"message_id": "msg_1"}, [old]),
        ({"message_id": "msg_3"}, [new]),
        ({"message_id": "msg_4"}, []),
        ({"started_after": NOW}, [new]),
        ({"started_before": NOW}, [old]),
        ({"started_after": NOW - 2 * DAY, "started_before": NOW + HOUR}, [new, old]),
        ({"profile_ids": ["prf_1"]}, [old]),
        ({"profile_ids": []}, []),
        ({"client_address": "192.0.2.8", "login": "heloise", "message_id": "msg_2"}, [new]),
        ({"client_address": "192.0.2.8", "login": "transactional"}, []),
    ]
    for filters, expected in cases:
        assert await list_sessions(database, **filters) == expected, filters
    assert await list_sessions(database, None, client_address="192.0.2.7") == [stranger, other, old]
    assert await list_sessions(database, None, login="transactional") == [stranger, other, old]


async def test_a_session_is_found_by_its_time_though_the_clock_was_set(database: Database) -> None:
    """Its id was made under another time than its row."""
    session = a_session(id=new_id("sub"), age=20 * HOUR)
    await fill(database, session)
    around = {"started_after": session.started_at, "started_before": session.ended_at}
    assert await list_sessions(database, **around) == [session]


async def test_pages_follow_each_other_under_inserts(database: Database) -> None:
    """Keyset: nothing repeats, nothing is hidden."""
    sessions = [a_session(number) for number in range(5)]
    await fill(database, *sessions)
    first = await list_sessions(database, limit=2)
    await fill(database, a_session(9))
    assert first + await list_sessions(database, after=first[-1].id) == sessions[::-1]


@pytest.mark.parametrize(
    ("tenant_id", "filters", "indexes"),
    [
        ("ten_1", {}, ["ix_submissions_tenant"]),
        (None, {}, ["pk_submissions", "sqlite_autoindex_submissions"]),
        ("ten_1", {"client_address": "192.0.2.7"}, ["ix_submissions_client"]),
        (None, {"client_address": "192.0.2.7"}, ["ix_submissions_client"]),
        ("ten_1", {"login": "heloise"}, ["ix_submissions_login"]),
        ("ten_1", {"profile_ids": ["prf_7"]}, ["ix_submissions_profile"]),
        (None, {"profile_ids": ["prf_7"]}, ["ix_submissions_profile"]),
        ("ten_1", {"message_id": "msg_7"}, ["ix_submission_messages_message"]),
        (None, {"message_id": "msg_7"}, ["ix_submission_messages_message"]),
        ("ten_1", {"started_before": NOW}, ["ix_submissions_tenant", "pk_submissions"]),
    ],
)
async def test_a_list_goes_by_an_index_for_its_filter(
    database: Database, tenant_id: str | None, filters: dict[str, Any], indexes: Sequence[str]
) -> None:
    """A page costs a page, of however many sessions it is."""
    await fill(
        database,
        *(
            a_session(
                number,
                tenant_id=f"ten_{number % 7}",
                client_address=f"192.0.2.{number % 50}",
                login=f"p{number % 5}",
                profile_id=f"prf_{number % 50}",
                message_ids=(f"msg_{number}",),
            )
            for number in range(1000)
        ),
    )
    async with database.transaction() as connection:
        if database.is_postgresql:
            await connection.execute(text("ANALYZE submissions, submission_messages"))
        with record_statements() as statements:
            await submissions.page(
                connection,
                tenant_id=tenant_id,
                limit=51,
                submission_filter=submissions.SubmissionFilter(**filters),
            )
        query_plan = await plan(connection, statements[0])
    assert any(index in query_plan for index in indexes), query_plan
    assert not re.search(r"(Seq Scan on|SCAN) \w+\b(?! USING)", query_plan), query_plan


async def test_what_is_old_is_deleted(database: Database) -> None:
    """With its message ids; up to the moment, and no more at once than is asked."""
    old, young = [a_session(number, age=3 * DAY) for number in range(5)], a_session(age=HOUR)
    await fill(database, *old, young)
    counts = []
    for _ in range(3):
        async with database.transaction() as connection:
            counts.append(await submissions.delete_old(connection, before=NOW - DAY, limit=3))
    assert counts == [3, 2, 0]
    assert await list_sessions(database) == [young]
    async with database.reading() as connection:
        query = select(func.count()).select_from(submission_messages)
        assert (await connection.execute(query)).scalar_one() == 1


async def test_several_processes_delete_at_once(database: Database) -> None:
    """None of them fails, and nothing young goes."""
    young = a_session(age=HOUR)
    await fill(database, *(a_session(number, age=3 * DAY) for number in range(50)), young)

    async def forget() -> None:
        for _ in range(20):
            async with database.transaction() as connection:
                await submissions.delete_old(connection, before=NOW - DAY, limit=5)

    await asyncio.gather(*(forget() for _ in range(3)))
    assert await list_sessions(database) == [young]


@pytest.mark.parametrize(
    ("erased", "is_deleted"),
    [
        ("ANN@Example.org", True),
        ("billing@example.com", True),
        ("änne@bücher.example", True),
        ("bob@example.org", True),
        ("n@example.org", False),
        ("ann@example.or", False),
        ("ann_b@example.org", False),
        ("%@example.org", False),
    ],
)
async def test_sessions_that_name_an_erased_address_are_deleted(
    database: Database, erased: str, *, is_deleted: bool
) -> None:
    """As sender or recipient, refused ones too, in any case and script; of the tenant alone."""
    refused = transaction("bob@example.org", message_id=None, reply=None)
    named = transaction("Ann@example.org", "Änne@xn--bcher-kva.example", "ann.b@example.org")
    remaining = [
        a_session(2, transactions=[transaction("eve@example.org", mail_from="")]),
        a_stranger(3),
    ]
    others = a_session(4, tenant_id="ten_2", transactions=[named, refused])
    await fill(database, a_session(1, transactions=[named, refused]), *remaining, others)
    async with database.transaction() as connection:
        assert is_deleted == await submissions.delete_with_address(
            connection, tenant_id="ten_1", address=erased
        )
    left = await list_sessions(database, None)
    assert len(left) == (3 if is_deleted else 4)
    assert [session for session in left if session.id != a_session(1).id] == [
        others,
        *remaining[::-1],
    ]


@pytest.mark.parametrize("period", ["recipient_days", "message_days"])
async def test_a_tenants_retention_of_recipients_counts(database: Database, period: str) -> None:
    """A tenant that forgets its recipients earlier forgets its sessions, and nobody else's."""
    strict = await made_tenant(database, "strict", retention=Retention(**{period: 2}))
    other = await made_tenant(database, "other")
    sessions = [
        a_session(number, tenant_id=tenant.id, age=age)
        for number, (tenant, age) in enumerate(
            [(strict, 3 * DAY), (strict, DAY), (other, 3 * DAY)], start=1
        )
    ]
    await fill(database, *sessions)
    while True:
        async with database.transaction() as connection:
            purged = await retention.purge(
                connection, default=KEEP_FOREVER, before=NOW, now=NOW, limit=10
            )
        if purged is None:
            break
    assert {session.id for session in await list_sessions(database, None)} == {
        sessions[1].id,
        sessions[2].id,
    }


async def test_a_deleted_tenant_leaves_no_session(database: Database) -> None:
    """One that ends later is still written: it holds up nobody's, and goes with its days."""
    goes, stays = [await made_tenant(database, slug) for slug in ("goes", "stays")]
    mine, theirs = a_session(1, tenant_id=goes.id), a_session(2, tenant_id=stays.id)
    await fill(database, mine, theirs)
    async with database.transaction() as connection:
        await tenants.delete(connection, tenant_id=goes.id)
    assert await list_sessions(database, None) == [theirs]
    late = a_session(3, tenant_id=goes.id)
    await fill(database, late)
    assert await list_sessions(database, None) == [late, theirs]
