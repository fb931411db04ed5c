"""What a query costs does not grow with history: its plan is read from the database."""

import re
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.delivery.due_ranges import DueRange
from app.domain.events import Position
from app.domain.ids import new_id
from app.domain.inbound.bounce_parser import Report
from app.domain.types import (
    Destination,
    MessageSource,
    MessageStatus,
    Profile,
    Suppression,
    SuppressionReason,
)
from app.store import audit, events, suppressions
from app.store.db.database import Database
from app.store.delivery import destinations, lanes, queue
from app.store.delivery.queue import QueueScope
from app.store.inbound import reports
from app.store.messages import queries as messages
from app.store.messages.filters import MessageFilter
from app.store.outbox import acceptance, claims, destination_queues, leases
from app.store.outbox import results as outcomes
from app.store.profiles.destinations import change_destinations
from app.store.suppressions import Addressee
from app.store.tables import core as tables
from tests.support.database.statements import Statement, record_statements
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    PLENTY,
    a_message,
    leased_messages,
    made_profile,
    made_tenant,
)

OWN, OTHERS, DUE = 200, 2000, 50


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A profile with a long history and a few messages that are due, beside a long queue."""
    profile = await made_profile(database, await made_tenant(database))
    other = await made_profile(database, await made_tenant(database, "other"))
    async with database.transaction() as connection:
        for owner, count in ((other, OTHERS), (profile, OWN), (profile, DUE)):
            sent = [
                a_message(owner, f"u{n}@example.org", "ann@example.org", tags=("all", f"t{n}"))
                for n in range(count)
            ]
            await acceptance.accept(connection, sent)
            if count == OWN:
                await connection.execute(_finish(owner))
    if database.is_postgresql:  # as its autovacuum does; SQLite has no such thing
        async with database.transaction() as connection:
            await connection.execute(text("ANALYZE"))
    return profile


def _finish(owner: Profile) -> Any:
    return (
        tables.messages.update()
        .where(tables.messages.c.profile_id == owner.id)
        .values(status="sent", due_at=None, finished_at=NOW)
    )


def search(statements: list[Statement]) -> Statement:
    """The statement that looks for messages: the first that reads of them."""
    return next(
        statement
        for statement in statements
        if re.search("FROM (messages|message_|recip)", statement[0])
    )


async def plan(connection: AsyncConnection, statement: Statement) -> str:
    """How the database would run it; the connection is in a transaction."""
    sql, parameters = statement
    how = "EXPLAIN QUERY PLAN"
    if connection.dialect.name == "postgresql":
        how = "EXPLAIN"
        # What is small is cheapest read whole, and sorted; this is about what grows large.
        for way in ("seqscan", "sort", "hashjoin", "mergejoin"):
            await connection.execute(text(f"SET LOCAL enable_{way} = off"))
        await connection.execute(text("SET LOCAL random_page_cost = 1"))  # nor does it turn a disk
    rows = await connection.exec_driver_sql(f"{how} {sql}", parameters)
    return "\n".join(" ".join(map(str, row)) for row in rows)


LARGE = ("messages", "message_contents", "message_tags", "recipients")


def assert_by_index(query_plan: str, *indexes: str) -> None:
    """It goes by one of these indexes, reads no large table from end to end, and sorts nothing."""
    assert any(index in query_plan for index in indexes), query_plan
    scans = [f"{scan} {table}" for table in LARGE for scan in ("Seq Scan on", "SCAN")]
    for costly in (*scans, "Sort", "TEMP B-TREE"):
        # SQLite's SCAN of an index in its order ends with the page.
        assert not re.search(rf"{costly}\b(?! USING)", query_plan), query_plan


@pytest.mark.parametrize("is_checked", [False, True])
async def test_a_claim_goes_by_the_index_over_what_is_due(
    database: Database, profile: Profile, *, is_checked: bool
) -> None:
    """In its order, so that as much is read as is claimed, whoever's time it goes by."""
    async with database.transaction() as connection:
        with record_statements() as statements:
            claimed = await claims.claim(
                connection,
                [claims.ClaimRequest(profile.id, 10, PLENTY)],
                owner="wrk_1",
                now=NOW,
                lease_until=NOW + MINUTE,
                is_clock_checked=is_checked,
            )
        assert len(claimed) == 10
        first = await plan(connection, search(statements))
    assert_by_index(first, "ix_messages_due")


async def test_a_claim_for_several_profiles_goes_by_the_same_index(
    database: Database, profile: Profile
) -> None:
    """For each of them; what belongs to the messages is found by their ids."""
    async with database.transaction() as connection:
        with record_statements() as statements:
            claimed = await claims.claim(
                connection,
                [claims.ClaimRequest(profile.id, 10, PLENTY)],
                owner="wrk_1",
                now=NOW,
                lease_until=NOW + MINUTE,
            )
        assert len(claimed) == 10
        for statement in statements:
            query_plan = await plan(connection, statement)
            large = "|".join(LARGE)
            assert not re.search(rf"(Seq Scan on|SCAN) ({large})\b(?! USING)", query_plan), (
                query_plan
            )
            if "json_each(?) AS" in statement[0] or "LATERAL" in statement[0]:
                assert "ix_messages_due" in query_plan


async def test_a_claim_by_destination_goes_by_the_same_index(
    database: Database, profile: Profile
) -> None:
    """Queue by queue, so that what waits in one costs the others nothing."""
    gmail = Destination(number=1, match=("gmail.com",), max_connections=1)
    async with database.transaction() as connection:
        after = replace(profile, destinations=(gmail,))
        await change_destinations(connection, before=profile, after=after)
        with record_statements() as statements:
            due = await destination_queues.find_due(
                connection, profile_id=profile.id, numbers=[0, 1], limit=10, now=NOW
            )
            waiting = await destinations.load_waiting(connection, profile_ids=[profile.id], now=NOW)
        assert len(due) == 10
        assert [queue.number for queue in waiting[profile.id]] == [0]
        for statement in statements:
            query_plan = await plan(connection, statement)
            assert "ix_messages_due" in query_plan, query_plan
            large = "|".join(LARGE)
            assert not re.search(rf"(Seq Scan on|SCAN) ({large})\b(?! USING)", query_plan), (
                query_plan
            )


def suppress(tenant_id: str, number: int) -> Suppression:
    """An address that this tenant alone suppresses."""
    return Suppression(
        id=new_id("sup"),
        tenant_id=tenant_id,
        address=f"{number}@{tenant_id}.example.org",
        tag="news" if number % 2 else None,
        reason=SuppressionReason.MANUAL,
        detail=None,
        created_at=NOW,
    )


async def test_a_group_is_checked_by_its_recipients(database: Database, profile: Profile) -> None:
    """However many a tenant suppresses: an address is looked up, whatever its letters' case."""
    other = await made_profile(database, await made_tenant(database, "suppressing"))
    async with database.transaction() as connection:
        for tenant_id in (profile.tenant_id, other.tenant_id):
            for n in range(OWN):
                await suppressions.insert(connection, suppression=suppress(tenant_id, n))
        if database.is_postgresql:
            await connection.execute(text("ANALYZE suppressions"))
        sent = [a_message(profile, f"{n}@Example.org") for n in range(OWN)]
        with record_statements() as statements:
            admitted = await acceptance.check_admission(connection, sent, profile_ids=[profile.id])
        assert admitted.ready == {(profile.id, profile.revision)}
        assert not admitted.may_suppress
        how = await plan(connection, statements[0])
        mine = a_message(profile, f"7@{profile.tenant_id}.Example.org")
        assert (await acceptance.check_admission(connection, [mine], profile_ids=[])).may_suppress
        others = a_message(profile, f"7@{other.tenant_id}.example.org")
        assert not (
            await acceptance.check_admission(connection, [others], profile_ids=[])
        ).may_suppress
        pattern = replace(suppress(profile.tenant_id, 0), address="*.example.org")
        await suppressions.insert(connection, suppression=pattern)
        deep = a_message(profile, "ann@eu.mail.example.org")
        assert (await acceptance.check_admission(connection, [deep], profile_ids=[])).may_suppress
        addressees = [Addressee(profile.tenant_id, "msg_0", 0, "ann@example.org")] * OWN
        with record_statements() as statements:
            assert await suppressions.apply(connection, addressees=addressees, now=NOW) == []
        at_claim = await plan(connection, statements[0])
    for found_plan in (how, at_claim):
        assert "uq_suppressions_address" in found_plan, found_plan
        scan = r"(Seq Scan on|SCAN) (suppressions|profiles|lanes)\b"
        assert not re.search(scan, found_plan), found_plan


async def test_profiles_with_work_are_found_by_the_same_index(
    database: Database, profile: Profile
) -> None:
    """From one profile that has any to the next: neither history nor idle profiles are read."""
    await made_profile(database, await made_tenant(database, "idle"))
    async with database.transaction() as connection:
        with record_statements() as statements:
            waiting = await lanes.load_waiting(connection, now=NOW)
        assert profile.id in {lane.profile_id for lane in waiting}
        assert len(waiting) == 2
        query_plan = await plan(connection, statements[0])
    assert_by_index(query_plan, "ix_messages_due")
    assert not re.search(r"(Seq Scan on|SCAN) (profiles|lanes)\b", query_plan), query_plan


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.postgresql
@pytest.mark.parametrize("is_known", [True, False])
async def test_a_poll_in_ranges_goes_by_the_same_index(
    database: Database, profile: Profile, *, is_known: bool
) -> None:
    """Of profiles that it knows, and between them."""
    ranges = {profile.id: [DueRange(NOW - HOUR, NOW)]} if is_known else {}
    async with database.transaction() as connection:
        with record_statements() as statements:
            waiting = await lanes.load_waiting(connection, now=NOW, ranges=ranges)
        assert waiting
        query_plan = await plan(connection, statements[0])
    assert_by_index(query_plan, "ix_messages_due")
    assert "ix_messages_profile" not in query_plan
    assert not re.search(r"Seq Scan on (profiles|lanes|tenants)\b", query_plan), query_plan


@pytest.mark.parametrize("is_of_all", [False, True])
async def test_the_queue_is_read_without_history(
    database: Database, profile: Profile, *, is_of_all: bool
) -> None:
    """Each statement goes by an index over what is unfinished, or the end of the attempts."""
    scope = QueueScope(tenant_id=None if is_of_all else profile.tenant_id)
    async with database.transaction() as connection:
        with record_statements() as statements:
            depth = await queue.load_depth(connection, scope, NOW)
            await queue.load_moments(connection, scope, now=NOW, alive_since=NOW)
            await queue.load_throughput(connection, scope, since=NOW)
            first = await queue.page_profiles(connection, scope, now=NOW, limit=1)
            await queue.page_profiles(connection, scope, now=NOW, limit=9, after=first[0].place)
        assert sum(depth.counts.values()) == (OTHERS + DUE if is_of_all else DUE)
        plans = [await plan(connection, statement) for statement in statements]
    counts, moments, throughput, *pages = plans
    assert "ix_messages_unfinished" in counts
    assert "ix_messages_unfinished" in moments
    assert "ix_messages_due" in moments
    assert re.search("pk_attempts|sqlite_autoindex_attempts", throughput), throughput
    assert all("ix_messages_due" in page for page in pages)
    for query_plan in plans:  # a sort is of what was counted, up to its limit
        assert not re.search(r"(Seq Scan on|SCAN) (messages|attempts)\b(?! USING)", query_plan), (
            query_plan
        )
        assert "ix_messages_profile" not in query_plan
        assert "ix_messages_tenant" not in query_plan


async def test_a_sweep_reads_no_history(database: Database, profile: Profile) -> None:
    """It looks at what is unfinished alone."""
    assert profile
    sweeps = (
        outcomes.has_expired_or_orphaned,
        partial(outcomes.expire, limit=10),
        partial(outcomes.expire, limit=10, is_clock_checked=True),
        partial(outcomes.cancel_orphans, limit=10),
        partial(outcomes.cancel_orphans, limit=10, is_clock_checked=True),
    )
    for sweep in sweeps:
        async with database.transaction() as connection:
            with record_statements() as statements:
                assert not await sweep(connection, now=NOW)
            query_plan = await plan(connection, search(statements))
        assert_by_index(query_plan, "ix_messages_due", "ix_messages_expiring")


async def test_a_list_goes_by_an_index_for_its_filter(database: Database, profile: Profile) -> None:
    """In its order: a page costs a page, of however many messages it is."""
    by_time = ["ix_messages_tenant", "pk_messages", "sqlite_autoindex_messages"]
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, by_time),
        ({"after": "msg_f"}, by_time),
        ({"statuses": [MessageStatus.FAILED]}, ["ix_messages_not_sent"]),
        ({"statuses": [MessageStatus.QUEUED]}, ["ix_messages_unfinished"]),
        ({"statuses": [MessageStatus.HELD]}, ["ix_messages_held"]),
        ({"statuses": [MessageStatus.SENT]}, by_time),
        ({"statuses": [MessageStatus.HELD, MessageStatus.QUEUED]}, ["ix_messages_unfinished"]),
        ({"profile_id": "prf_0"}, ["ix_messages_profile"]),
        ({"tag": "t7"}, ["pk_message_tags", "sqlite_autoindex_message_tags"]),
        ({"recipient": "u7@example.org"}, ["ix_recipients_address"]),
        ({"key_id": "key_0"}, ["ix_message_contents_key"]),
        ({"request_id": "req_0"}, ["ix_message_contents_request"]),
        ({"source": MessageSource.SMTP}, ["ix_messages_source"]),
        ({"source": MessageSource.API}, by_time),
        ({"created_before": NOW - timedelta(days=9)}, by_time),
        ({"created_after": NOW + timedelta(days=9)}, by_time),
    ]
    for filters, indexes in cases:
        async with database.transaction() as connection:
            with record_statements() as statements:
                after = filters.pop("after", None)
                await messages.page(
                    connection,
                    tenant_id=profile.tenant_id,
                    limit=51,
                    now=NOW,
                    after=after,
                    message_filter=MessageFilter(**filters),
                )
            query_plan = await plan(connection, search(statements))
        assert_by_index(query_plan, *indexes)


async def test_entries_of_an_object_or_actor_are_found_by_its_index(database: Database) -> None:
    """With a tenant too, of which there are more."""
    tenant = await made_tenant(database)
    cases = [
        (audit.NO_FILTER, "ix_audit_log_tenant"),
        (audit.AuditFilter(object_id="prf_0"), "ix_audit_log_object"),
        (audit.AuditFilter(actor_id="key_0"), "ix_audit_log_actor"),
    ]
    for audit_filter, index in cases:
        async with database.transaction() as connection:
            with record_statements() as statements:
                await audit.page(
                    connection, tenant_id=tenant.id, limit=51, audit_filter=audit_filter
                )
            query_plan = await plan(connection, statements[0])
        assert index in query_plan
        assert not re.search("Sort|TEMP B-TREE", query_plan), query_plan


async def test_events_are_read_in_their_order_by_its_index(
    database: Database, profile: Profile
) -> None:
    """In both directions from any place on, those of one message by theirs, and none too old."""
    cases: list[tuple[events.EventFilters, str]] = [
        ({}, "ix_events_order"),
        ({"message_id": "msg_0"}, "ix_events_message"),
        ({"created_after": NOW}, "ix_events_order"),
    ]
    place, owner = Position(0, 7), profile.tenant_id
    for filters, index in cases:
        async with database.transaction() as connection:
            with record_statements() as statements:
                await events.page(connection, tenant_id=owner, limit=51, start=place, **filters)
                await events.page_newest_first(
                    connection, tenant_id=owner, limit=51, before=place, **filters
                )
            reads = [statement for statement in statements if "LEFT OUTER JOIN" in statement[0]]
            assert len(reads) == 2
            for statement in reads:
                query_plan = await plan(connection, statement)
                assert index in query_plan
                assert not re.search("Sort|TEMP B-TREE", query_plan), query_plan
            for statement in statements:
                if "events.id <" in statement[0]:
                    assert "uq_events_id" in await plan(connection, statement)


async def test_what_is_read_of_a_page_goes_by_its_messages(
    database: Database, profile: Profile
) -> None:
    """Recipients and tags are found by the ids of the page, not among all of the tenant's."""
    async with database.transaction() as connection:
        with record_statements() as statements:
            await messages.page(connection, tenant_id=profile.tenant_id, limit=51, now=NOW)
        for table in ("recipients", "message_tags"):
            reads = next(statement for statement in statements if f"FROM {table}" in statement[0])
            query_plan = await plan(connection, reads)
            assert_by_index(
                query_plan, f"pk_{table}", f"sqlite_autoindex_{table}", f"ix_{table}_message"
            )
            assert "ix_recipients_address" not in query_plan
            assert "(tenant_id=?)" not in query_plan


async def test_what_belongs_to_a_message_goes_by_its_id(
    database: Database, profile: Profile
) -> None:
    """Attempts and tags are found by the message, and a message by the Message-ID of its caller."""
    async with database.transaction() as connection:
        [message_id, *_] = await messages.list_ids(
            connection, tenant_id=profile.tenant_id, limit=1, now=NOW
        )
        with record_statements() as statements:
            await messages.list_attempts(
                connection,
                tenant_id=profile.tenant_id,
                message_id=message_id,
                limit=51,
                after=None,
            )
            await messages.get(connection, tenant_id=profile.tenant_id, message_id=message_id)
            await messages.page(
                connection,
                tenant_id=profile.tenant_id,
                limit=51,
                now=NOW,
                message_filter=MessageFilter(message_id="<a@example.com>"),
            )
        plans = [await plan(connection, statement) for statement in statements]
    for index in (
        "ix_attempts_message",
        "ix_message_tags_message",
        "ix_message_contents_given_message_id",
    ):
        assert any(index in query_plan for query_plan in plans), (index, plans)


async def test_a_renewal_goes_by_the_ids_of_messages(database: Database, profile: Profile) -> None:
    """However many others there are."""
    claimed = await leased_messages(database, profile, owner="wrk_1")
    async with database.transaction() as connection:
        with record_statements() as statements:
            await leases.renew(
                connection,
                owner="wrk_1",
                message_ids=[message.id for message in claimed],
                lease_until=NOW + MINUTE,
            )
        query_plan = await plan(connection, statements[0])
    assert not re.search(r"(Seq Scan on|SCAN) (messages|owned)\b", query_plan), query_plan


async def test_a_providers_id_goes_by_the_index_over_such_ids(
    database: Database, profile: Profile
) -> None:
    """Most attempts have none."""
    report = Report(recipients=(), provider_message_ids=("0102018f-1", "0102018f-2"))
    async with database.transaction() as connection:
        with record_statements() as statements:
            await reports.receive(connection, tenant_id=profile.tenant_id, report=report, now=NOW)
        [statement] = [
            statement for statement in statements if "provider_message_id" in statement[0]
        ]
        assert "ix_attempts_provider_message" in await plan(connection, statement)
