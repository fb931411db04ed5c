"""Messages as they are read: whole, filtered, in pages, and never those of another tenant."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from app.domain.delivery.destinations import NO_DESTINATION
from app.domain.errors import NotFound
from app.domain.types import (
    MessageSource,
    MessageStatus,
    NamedAddress,
    NewMessage,
    Origin,
    Profile,
    RecipientAddress,
    RecipientKind,
    RecipientStatus,
)
from app.store.db.database import Database
from app.store.messages import queries as messages
from app.store.messages.filters import MessageFilter
from app.store.outbox import acceptance, leases
from app.store.tables import core as tables
from app.store.tenants import queries as tenants
from tests.support.database.statements import record_statements
from tests.support.rows import (
    HOUR,
    MINUTE,
    NOW,
    a_message,
    an_attempt,
    leased_messages,
    made_profile,
    made_tenant,
    queued_message,
)


@pytest.fixture
async def profile(database: Database) -> Profile:
    """A tenant's profile."""
    return await made_profile(database, await made_tenant(database))


async def list_ids(database: Database, profile: Profile, **filters: Any) -> list[str]:
    """The ids of the tenant's messages that match."""
    async with database.reading() as connection:
        options = {"limit": 100, "now": NOW}
        options |= {
            name: filters.pop(name) for name in ("limit", "now", "after") if name in filters
        }
        message_filter = MessageFilter(**filters)
        page = await messages.page(
            connection, tenant_id=profile.tenant_id, message_filter=message_filter, **options
        )
    return [view.id for view in page]


async def view_of(database: Database, message: NewMessage) -> messages.MessageView:
    """The message as it reads."""
    async with database.reading() as connection:
        return await messages.get(connection, tenant_id=message.tenant_id, message_id=message.id)


async def test_everything_that_was_accepted_reads_back(
    database: Database, profile: Profile
) -> None:
    """Recipients in their order, tags once and sorted, the bytes untouched (invariant 2)."""
    kinds = (RecipientKind.TO, RecipientKind.CC, RecipientKind.BCC)
    message = a_message(
        profile,
        recipients=tuple(
            RecipientAddress(NamedAddress(f"{kind}@example.org", kind.title()), kind)
            for kind in kinds
        ),
        tags=("spring", "receipt", "spring"),
        metadata={"order": "42", "who": "Ärzte"},
        mime=b"Subject: \xc3\xa9\r\n\r\n\x00\r\n",
    )
    async with database.transaction() as connection:
        await acceptance.accept(connection, [message])
        view = await messages.get(connection, tenant_id=message.tenant_id, message_id=message.id)
        raw = await messages.load_content(
            connection, tenant_id=message.tenant_id, message_id=message.id
        )
    assert raw == message.mime
    assert view == messages.MessageView(
        id=message.id,
        status=MessageStatus.QUEUED,
        profile_id=profile.id,
        profile_name="main",
        sender=message.sender,
        subject=message.subject,
        recipients=view.recipients,
        message_id_header=message.message_id_header,
        size_bytes=len(message.mime),
        tags=("receipt", "spring"),
        metadata=message.metadata,
        priority=message.priority,
        guarantee=message.guarantee,
        is_sensitive=False,
        content_wiped_at=None,
        due_at=NOW - MINUTE,
        destination=NO_DESTINATION,
        created_at=NOW,
        updated_at=NOW,
        send_at=None,
        expires_at=NOW + HOUR,
        finished_at=None,
        retry_of=None,
        source=MessageSource.API,
        key_id=message.origin.key_id,
        request_id=None,
        traceparent=None,
        client_address=None,
    )
    assert [
        (recipient.kind, recipient.address, recipient.name) for recipient in view.recipients
    ] == [(kind, f"{kind}@example.org", kind.title()) for kind in kinds]
    assert {recipient.status for recipient in view.recipients} == {RecipientStatus.QUEUED}


async def test_each_filter_narrows(database: Database, profile: Profile) -> None:
    """Alone and together, newest first."""
    other = await made_profile(database, await made_tenant(database, "other"))
    async with database.reading() as connection:
        tenant = await tenants.get(connection, tenant=profile.tenant_id)
    second = await made_profile(database, tenant, "second")
    one = await queued_message(database, profile, "Ann@example.org", tags=("a", "b"))
    two = await queued_message(
        database,
        second,
        "ann@example.org",
        "bob@example.org",
        tags=("b",),
        created_at=NOW + MINUTE,
        origin=Origin(MessageSource.SMTP, "key_2", "req_2"),
    )
    of_other = Origin(MessageSource.API, "key_3", "req_2")
    await queued_message(database, other, "ann@example.org", tags=("a", "b"), origin=of_other)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [two.id, one.id]),
        ({"statuses": [MessageStatus.QUEUED]}, [two.id, one.id]),
        ({"statuses": [MessageStatus.SENT]}, []),
        ({"profile_id": second.id}, [two.id]),
        ({"profile_id": other.id}, []),
        ({"tag": "a"}, [one.id]),
        ({"tag": "b"}, [two.id, one.id]),
        ({"recipient": "ANN@example.org"}, [two.id, one.id]),
        ({"recipient": "bob@example.org"}, [two.id]),
        ({"recipient": "%@example.org"}, []),
        ({"key_id": one.origin.key_id}, [one.id]),
        ({"key_id": "key_2"}, [two.id]),
        ({"source": MessageSource.API}, [one.id]),
        ({"source": MessageSource.SMTP}, [two.id]),
        ({"source": MessageSource.CLI}, []),
        ({"request_id": "req_2"}, [two.id]),
        ({"request_id": "req_2", "key_id": "key_2"}, [two.id]),
        ({"request_id": "req_2", "key_id": "key_3"}, []),
        ({"tag": "b", "recipient": "ann@EXAMPLE.org", "profile_id": profile.id}, [one.id]),
        ({"created_after": NOW + MINUTE}, [two.id]),
        ({"created_before": NOW + MINUTE}, [one.id]),
        ({"created_after": datetime.min.replace(tzinfo=UTC)}, [two.id, one.id]),
        ({"created_before": datetime.max.replace(tzinfo=UTC)}, [two.id, one.id]),
    ]
    assert [await list_ids(database, profile, **filters) for filters, _ in cases] == [
        expected for _, expected in cases
    ]


async def test_all_filters_go_together(database: Database, profile: Profile) -> None:
    """Up to three of those that fit, and all, find it, whatever else is looked at for it."""
    origin = Origin(MessageSource.SMTP, "key_2", "req_2")
    message = await queued_message(database, profile, "ann@example.org", tags=("a",), origin=origin)
    fitting: dict[str, Any] = {
        "statuses": [MessageStatus.QUEUED],
        "profile_id": profile.id,
        "tag": "a",
        "recipient": "ann@example.org",
        "key_id": "key_2",
        "source": MessageSource.SMTP,
        "request_id": "req_2",
        "created_after": NOW,
        "created_before": NOW + MINUTE,
        "profile_ids": [profile.id],
    }
    for count in (*range(4), len(fitting)):
        for chosen in combinations(fitting, count):
            filters = {name: fitting[name] for name in chosen}
            assert await list_ids(database, profile, **filters) == [message.id], chosen
            if "statuses" in filters:
                other = filters | {"statuses": [MessageStatus.FAILED]}
                assert await list_ids(database, profile, **other) == [], chosen


@pytest.mark.parametrize("offset", [-timedelta(hours=20), timedelta(hours=20)])
async def test_a_message_is_found_by_its_time_though_the_clock_was_set(
    database: Database, profile: Profile, offset: timedelta
) -> None:
    """Its id was made under another time than its row."""
    message = await queued_message(database, profile, created_at=NOW + offset)
    around = {"created_after": NOW + offset, "created_before": NOW + offset + MINUTE}
    assert await list_ids(database, profile, **around) == [message.id]


@pytest.mark.parametrize("filters", [{}, {"tag": "a"}, {"recipient": "ann@example.org"}])
async def test_pages_follow_each_other_under_inserts(
    database: Database, profile: Profile, filters: dict[str, str]
) -> None:
    """Keyset: nothing repeats, nothing is hidden."""
    message_ids = [(await queued_message(database, profile, tags=("a",))).id for _ in range(5)]
    first = await list_ids(database, profile, limit=2, **filters)
    await queued_message(database, profile, tags=("a",))
    rest = await list_ids(database, profile, after=first[-1], **filters)
    assert first + rest == message_ids[::-1]


async def test_a_list_never_reads_the_bytes(database: Database, profile: Profile) -> None:
    """A page of two hundred large messages is no gigabyte."""
    message = await queued_message(database, profile, tags=("a",))
    with record_statements() as statements:
        for filters in ({}, {"tag": "a"}, {"recipient": "ann@example.org"}):
            assert await list_ids(database, profile, **filters) == [message.id]
        await view_of(database, message)
    assert any("message_contents" in statement for statement, _ in statements)
    assert not any("mime" in statement for statement, _ in statements)


async def test_a_leased_message_shows_its_open_recipients(
    database: Database, profile: Profile
) -> None:
    """Those whose turn it was at the claim; derived, never stored."""
    message = await queued_message(database, profile, "ann@x.test", "bob@x.test", "eve@x.test")
    async with database.transaction() as connection:
        await connection.execute(
            _state_of(message, 1, status="deferred", next_attempt_at=NOW + HOUR)
        )
        await connection.execute(_state_of(message, 2, status="sent", finished_at=NOW))
    assert [
        recipient.status.value for recipient in (await view_of(database, message)).recipients
    ] == [
        "queued",
        "deferred",
        "sent",
    ]
    await leased_messages(database, profile, owner="wrk_1")
    view = await view_of(database, message)
    assert view.status is MessageStatus.SENDING
    assert [recipient.status.value for recipient in view.recipients] == [
        "sending",
        "deferred",
        "sent",
    ]
    async with database.transaction() as connection:
        await leases.release(connection, owner="wrk_1", message_ids=[message.id], now=NOW)
        await connection.execute(
            tables.messages.update().values(due_at=NOW + HOUR)  # as if it had been deferred
        )
    await leased_messages(database, profile, owner="wrk_1", now=NOW + HOUR)
    view = await view_of(database, message)
    assert [recipient.status.value for recipient in view.recipients] == [
        "sending",
        "sending",
        "sent",
    ]


def _state_of(message: NewMessage, position: int, **state: Any) -> Any:
    return (
        tables.recipients.update()
        .where(tables.recipients.c.message_id == message.id)
        .where(tables.recipients.c.position == position)
        .values(state)
    )


async def test_attempts_are_paged_oldest_first(database: Database, profile: Profile) -> None:
    """Each as it was noted."""
    message = await queued_message(database, profile)
    rows = [an_attempt(message, number) for number in range(3)]
    async with database.transaction() as connection:
        await connection.execute(tables.attempts.insert(), rows)
        key = {"tenant_id": message.tenant_id, "message_id": message.id}
        first = await messages.list_attempts(connection, **key, limit=2, after=None)
        rest = await messages.list_attempts(connection, **key, limit=2, after=first[-1].id)
    attempts: Sequence[messages.AttemptView] = [*first, *rest]
    assert [message.id for message in attempts] == [row["id"] for row in rows]
    assert (attempts[0].started_at, attempts[0].duration_ms, attempts[0].host) == (NOW, 12.5, None)
    assert attempts[0].recipients == rows[0]["recipients"]


async def test_another_tenants_message_is_not_there(database: Database, profile: Profile) -> None:
    """Neither it, nor its bytes, nor its attempts (invariant 10)."""
    message = await queued_message(database, profile)
    other = await made_tenant(database, "other")
    key = {"tenant_id": other.id, "message_id": message.id}
    async with database.reading() as connection:
        for read in (messages.get, messages.load_content):
            with pytest.raises(NotFound):
                await read(connection, **key)
        with pytest.raises(NotFound):
            await messages.list_attempts(connection, **key, limit=9, after=None)
