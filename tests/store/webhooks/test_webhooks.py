"""Webhooks as rows: taken away, claimed, given back untold, and their secrets sealed anew."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from app.domain.errors import NotFound
from app.domain.events import EventFilter, EventType, Position
from app.domain.ids import new_id
from app.domain.secret_keys import generate_key, parse_key
from app.domain.webhooks import MAX_PROBE_WAIT, Webhook, WebhookResponse
from app.store import events
from app.store.db.database import Database
from app.store.events import NewEvent
from app.store.key_rotation import RESEAL
from app.store.outbox import wiping
from app.store.secrets.contexts import webhook_secret
from app.store.secrets.encryption import Vault
from app.store.tables.events import events as event_rows
from app.store.tables.events import webhook_deliveries as delivery_rows
from app.store.tables.events import webhooks as webhook_rows
from app.store.webhooks import deliveries as webhook_deliveries
from app.store.webhooks import enqueueing
from app.store.webhooks import queries as webhooks
from app.store.webhooks.deliveries import ClaimedDelivery, DeliveryResult
from app.store.webhooks.enqueueing import ENQUEUE_BATCH, MAX_DUE
from tests.store.db.test_plans import plan
from tests.support.database.statements import record_statements
from tests.support.rows import MINUTE, NOW, a_webhook, made_tenant

OLD, NEW = parse_key(generate_key()), parse_key(generate_key())
SECRET = "whsec_a-secret-of-somebody"


async def make_webhook(database: Database, **event_filter: Any) -> Webhook:
    """A webhook, by default for every event, its secret sealed under the old key."""
    tenant = await made_tenant(database)
    webhook = a_webhook(tenant.id, event_filter=EventFilter(**event_filter))
    sealed = Vault([OLD]).seal(SECRET, webhook_secret(webhook))
    async with database.transaction() as connection:
        await webhooks.insert(
            connection, webhook=webhook, sealed_secret=sealed, start=Position(0, 0)
        )
    return webhook


async def claim_delivery(database: Database, webhook: Webhook) -> str:
    """An event for the webhook that the worker `wrk_1` has leased for a minute; answers its id."""
    async with database.transaction() as connection:
        event = NewEvent(EventType.PROFILE_PAUSED, NOW, webhook.tenant_id, "prf_1")
        await events.append(connection, [event])
    async with database.transaction() as connection:
        await enqueueing.enqueue_deliveries(connection, webhook_id=webhook.id, now=NOW)
        [claimed] = await webhook_deliveries.claim(
            connection,
            webhook=webhook,
            owner="wrk_1",
            limit=10,
            now=NOW,
            lease_until=NOW + MINUTE,
        )
    return claimed.id


async def waiting_events(database: Database, webhook: Webhook, count: int) -> None:
    """So many events that were looked through for no webhook."""
    new = [NewEvent(EventType.PROFILE_PAUSED, NOW, webhook.tenant_id, "prf_1")] * count
    async with database.transaction() as connection:
        await events.append(connection, new)


async def spread_all(database: Database, webhook: Webhook) -> int:
    """Look events through for the webhook until that is enough; answers how many are pending."""
    while True:
        async with database.transaction() as connection:
            news = await enqueueing.find_backlogs(connection, now=NOW)
            if not news:
                result = await connection.execute(select(func.count()).select_from(delivery_rows))
                return int(result.scalar_one())
            await enqueueing.enqueue_deliveries(connection, webhook_id=webhook.id, now=NOW)


async def claim(
    database: Database, webhook: Webhook, *, now: datetime = NOW, owner: str = "wrk_1"
) -> list[ClaimedDelivery]:
    """What a worker may post to the webhook now, of 8 at most."""
    async with database.transaction() as connection:
        return await webhook_deliveries.claim(
            connection, webhook=webhook, owner=owner, limit=8, now=now, lease_until=now + MINUTE
        )


async def settle(
    database: Database, webhook: Webhook, delivery: ClaimedDelivery, status: int, now: datetime
) -> None:
    """Write what the receiver answered; where it failed, the event is due again in a day."""
    answer = WebhookResponse(status_code=status)
    result = DeliveryResult(
        delivery=delivery,
        response=answer,
        started_at=now,
        duration_ms=1.0,
        retry_at=None if answer.is_accepted else now + timedelta(days=1),
    )
    async with database.transaction() as connection:
        await webhook_deliveries.settle(
            connection, webhook=webhook, owner="wrk_1", result=result, now=now
        )


async def is_due(database: Database, now: datetime) -> bool:
    """Whether anything may be posted to any webhook."""
    async with database.reading() as connection:
        return bool(await webhook_deliveries.load_due(connection, now=now))


async def failing_webhook(database: Database, *, probes: int = 0) -> Webhook:
    """A webhook with many events, that has failed so many probes; the last one was just now."""
    webhook = await make_webhook(database)
    await waiting_events(database, webhook, 30)
    await spread_all(database, webhook)
    for delivery in await claim(database, webhook):
        await settle(database, webhook, delivery, 500, NOW)
    for _ in range(probes):
        async with database.transaction() as connection:
            await connection.execute(webhook_rows.update().values(next_probe_at=NOW))
        [probe] = await claim(database, webhook)
        await settle(database, webhook, probe, 500, NOW)
    return webhook


async def test_what_a_webhook_does_not_take_stays_in_the_log(database: Database) -> None:
    """Rows are written for what is posted next, not for all that happened meanwhile."""
    webhook = await make_webhook(database)
    await waiting_events(database, webhook, 3 * ENQUEUE_BATCH)
    pending = await spread_all(database, webhook)
    assert MAX_DUE <= pending <= MAX_DUE + ENQUEUE_BATCH


async def test_only_the_first_deferral_of_each_recipient_is_enqueued(database: Database) -> None:
    """Whichever worker decides, in however many steps, and again at a replay."""
    webhook = await make_webhook(database, first_deferral_only=True)
    deferred, sent = EventType.RECIPIENT_DEFERRED, EventType.RECIPIENT_SENT
    story = [("msg_1", 0, deferred), ("msg_1", 1, deferred), ("msg_2", 0, deferred)]
    story += [("msg_1", 0, deferred), ("msg_1", 0, sent), ("msg_1", 1, deferred)]
    for message_id, position, kind in [*story, ("msg_2", 0, deferred), ("msg_2", 1, deferred)]:
        event = NewEvent(kind, NOW, webhook.tenant_id, "prf_1", message_id, position)
        async with database.transaction() as connection:
            await events.append(connection, [event])
        if position == 1:  # the first of the others are enqueued long before
            await spread_all(database, webhook)
    assert await spread_all(database, webhook) == 5
    expected = [("msg_1", 0, deferred), ("msg_1", 1, deferred), ("msg_2", 0, deferred)]
    expected += [("msg_1", 0, sent), ("msg_2", 1, deferred)]
    query = (
        select(event_rows.c.message_id, event_rows.c.position, event_rows.c.type)
        .join(delivery_rows, delivery_rows.c.event_number == event_rows.c.number)
        .order_by(event_rows.c.number)
    )
    async with database.transaction() as connection:
        assert [tuple(row) for row in await connection.execute(query)] == expected
        replayed = await enqueueing.replay(
            connection,
            tenant_id=webhook.tenant_id,
            webhook=webhook,
            now=NOW,
            limit=100,
            created_after=NOW - MINUTE,
        )
        assert replayed == (5, None)
        assert [tuple(row) for row in await connection.execute(query)] == expected


async def test_an_earlier_deferral_is_found_by_its_message(database: Database) -> None:
    """However long the event log is."""
    webhook = await make_webhook(database, first_deferral_only=True)
    event = NewEvent(
        EventType.RECIPIENT_DEFERRED, NOW, webhook.tenant_id, "prf_1", "msg_1", position=0
    )
    async with database.transaction() as connection:
        await events.append(connection, [event, event])
    async with database.transaction() as connection:
        with record_statements() as statements:
            await enqueueing.enqueue_deliveries(connection, webhook_id=webhook.id, now=NOW)
        read = next(statement for statement in statements if "earlier" in statement[0])
        query_plan = await plan(connection, read)
    assert "ix_events_message" in query_plan, query_plan
    assert not re.search(r"(Seq Scan on|SCAN) (events|earlier)\b", query_plan), query_plan


async def test_one_event_is_the_probe_of_a_failing_webhook(database: Database) -> None:
    """No worker gets another until it is answered, or its lease ends."""
    webhook = await failing_webhook(database)
    [probe] = await claim(database, webhook)
    assert probe.is_probe
    assert await claim(database, webhook) == []
    assert await claim(database, webhook, owner="wrk_2") == []
    assert not await is_due(database, NOW)
    [probe] = await claim(database, webhook, now=NOW + MINUTE, owner="wrk_2")
    assert probe.is_probe


async def test_a_probe_that_is_taken_opens_the_webhook(database: Database) -> None:
    """What waits is posted with nothing held back."""
    webhook = await failing_webhook(database)
    [probe] = await claim(database, webhook)
    await settle(database, webhook, probe, 204, NOW)
    assert len(await claim(database, webhook)) == 8


@pytest.mark.parametrize(
    ("probes", "wait"),
    [
        (0, timedelta(0)),
        (1, timedelta(seconds=1)),
        (5, timedelta(seconds=16)),
        (10, MAX_PROBE_WAIT),
    ],
)
async def test_the_longer_it_fails_the_less_often_it_is_probed(
    database: Database, probes: int, wait: timedelta
) -> None:
    """What was posted before it was known to fail counts for nothing."""
    webhook = await failing_webhook(database, probes=probes)
    assert await is_due(database, NOW + wait)
    assert not wait or not await is_due(database, NOW + wait - timedelta(milliseconds=1))
    assert len(await claim(database, webhook, now=NOW + wait)) == 1


async def test_a_webhook_that_somebody_changes_is_probed_at_once(database: Database) -> None:
    """Whoever mends its URL need not wait."""
    webhook = await failing_webhook(database, probes=9)
    assert not await is_due(database, NOW)
    async with database.transaction() as connection:
        await webhooks.update(
            connection,
            tenant_id=webhook.tenant_id,
            webhook_id=webhook.id,
            changes=webhooks.build_columns(webhook),
            now=NOW,
        )
    assert await is_due(database, NOW)


async def dead_webhook(database: Database, backlog: int) -> Webhook:
    """A failing webhook with a backlog of deliveries, as a replay writes them."""
    webhook = await failing_webhook(database)
    numbers = select(func.max(event_rows.c.number))
    async with database.transaction() as connection:
        last = (await connection.execute(numbers)).scalar_one()
    await waiting_events(database, webhook, backlog)
    async with database.transaction() as connection:
        row = (await connection.execute(select(delivery_rows).limit(1))).mappings().one()
        query = select(event_rows.c.number, event_rows.c.id).where(event_rows.c.number > last)
        rows = [
            {**row, "id": new_id("whd"), "event_number": number, "event_id": event_id}
            for number, event_id in await connection.execute(query)
        ]
        await connection.execute(insert(delivery_rows), rows)
        if database.is_postgresql:
            await connection.execute(text("ANALYZE"))
    return webhook


async def test_what_is_posted_next_is_found_by_an_index(database: Database) -> None:
    """However much waits for a dead webhook, no more of it is read than is posted."""
    webhook = await dead_webhook(database, 2000)
    steps: list[Any] = [
        lambda connection: enqueueing.find_backlogs(connection, now=NOW),
        lambda connection: webhook_deliveries.load_due(connection, now=NOW),
        lambda connection: webhook_deliveries.claim(
            connection, webhook=webhook, owner="wrk_1", limit=8, now=NOW, lease_until=NOW + MINUTE
        ),
    ]
    for step in steps:
        async with database.transaction() as connection:
            with record_statements() as statements:
                await step(connection)
            reads = [
                statement for statement in statements if "FROM webhook_deliveries" in statement[0]
            ]
            query_plan = await plan(connection, reads[0])
        assert "ix_webhook_deliveries_due" in query_plan, query_plan
        assert not re.search(r"(Seq Scan on|SCAN) webhook_deliveries|Sort|B-TREE", query_plan), (
            query_plan
        )


async def test_waiting_since_is_found_by_an_index(database: Database) -> None:
    """However much waits: of each webhook, one delivery is read, that of the next event."""
    webhook = await dead_webhook(database, 2000)
    async with database.transaction() as connection:
        with record_statements() as statements:
            read = await webhooks.get(
                connection, tenant_id=webhook.tenant_id, webhook_id=webhook.id
            )
            [listed] = await webhooks.page(connection, tenant_id=webhook.tenant_id, limit=10)
        assert read.waiting_since == listed.waiting_since == NOW
        for statement in statements:
            query_plan = await plan(connection, statement)
            assert "ix_webhook_deliveries_due" in query_plan, query_plan
            assert "Aggregate" not in query_plan, query_plan
            assert "ORDER BY webhook_deliveries.due_at" in statement[0]
        locked = await webhooks.get(
            connection, tenant_id=webhook.tenant_id, webhook_id=webhook.id, for_update=True
        )
    assert locked.waiting_since is None


async def test_a_replayed_event_waits_since_its_replay(database: Database) -> None:
    """Not since it was first queued, perhaps days ago."""
    webhook = await make_webhook(database)
    await claim_delivery(database, webhook)
    later = NOW + timedelta(days=2)
    async with database.transaction() as connection:
        ids = (await connection.execute(select(event_rows.c.id))).scalars().all()
        await enqueueing.replay(
            connection,
            tenant_id=webhook.tenant_id,
            webhook=webhook,
            now=later,
            limit=10,
            event_ids=ids,
        )
        read = await webhooks.get(connection, tenant_id=webhook.tenant_id, webhook_id=webhook.id)
    assert read.waiting_since == later


async def failed_post(database: Database, error: str) -> Webhook:
    """A webhook whose post of a message's event failed with this error."""
    webhook = await make_webhook(database)
    async with database.transaction() as connection:
        event = NewEvent(
            EventType.MESSAGE_QUEUED, NOW, webhook.tenant_id, "prf_1", message_id="msg_1"
        )
        await events.append(connection, [event])
    await spread_all(database, webhook)
    [delivery] = await claim(database, webhook)
    result = DeliveryResult(
        delivery=delivery,
        response=WebhookResponse(error=error),
        started_at=NOW,
        duration_ms=1.0,
        retry_at=NOW + MINUTE,
    )
    async with database.transaction() as connection:
        await webhook_deliveries.settle(
            connection, webhook=webhook, owner="wrk_1", result=result, now=NOW
        )
    return webhook


async def read_last_error(database: Database, webhook: Webhook) -> tuple[str | None, bool]:
    """Its last error, and whether it has a time."""
    async with database.reading() as connection:
        read = await webhooks.get(connection, tenant_id=webhook.tenant_id, webhook_id=webhook.id)
    return read.last_error, read.last_error_at is not None


async def test_an_erased_message_takes_the_error_of_its_post_with_it(database: Database) -> None:
    """The webhook shows the same text as the delivery; another message's stays."""
    webhook = await failed_post(database, "refused: ann@example.org")
    cases = (("msg_2", ("refused: ann@example.org", True)), ("msg_1", (None, False)))
    for message_id, left in cases:
        async with database.transaction() as connection:
            await wiping.erase_replies(connection, message_ids=[message_id])
        assert await read_last_error(database, webhook) == left


async def test_an_error_is_kept_as_long_as_events(database: Database) -> None:
    """It is of an event, whose deliveries end with it."""
    webhook = await failed_post(database, "no response")
    cases = ((NOW, ("no response", True)), (NOW + MINUTE, (None, False)))
    for before, left in cases:
        async with database.transaction() as connection:
            await events.delete_old(
                connection, tenant_id=webhook.tenant_id, before=before, limit=10
            )
        assert await read_last_error(database, webhook) == left


async def test_one_is_taken_away_once(database: Database) -> None:
    """Then there is none of that id any more."""
    webhook = await make_webhook(database)
    async with database.transaction() as connection:
        answer = await webhooks.delete(
            connection, tenant_id=webhook.tenant_id, webhook_id=webhook.id
        )
        assert answer.id == webhook.id
        with pytest.raises(NotFound):
            await webhooks.delete(connection, tenant_id=webhook.tenant_id, webhook_id=webhook.id)


@pytest.mark.parametrize(("owner", "is_due"), [("wrk_1", True), ("wrk_2", False)])
async def test_a_worker_gives_back_its_events(
    database: Database, owner: str, *, is_due: bool
) -> None:
    """It is due at once; another worker cannot give it back (invariant 3)."""
    webhook = await make_webhook(database)
    delivery = await claim_delivery(database, webhook)
    async with database.transaction() as connection:
        await webhook_deliveries.release(connection, owner=owner, ids=[delivery], now=NOW)
        [due_at] = (await connection.execute(select(delivery_rows.c.due_at))).scalars()
    assert (due_at == NOW) is is_due


async def test_secrets_are_sealed_anew(database: Database) -> None:
    """Both the present and the former one, and once: then the new key alone opens them."""
    webhook = await make_webhook(database)
    vault = Vault([NEW, OLD])
    second = Vault([OLD]).seal("second", webhook_secret(webhook))
    async with database.transaction() as connection:
        await webhooks.rotate(
            connection,
            tenant_id=webhook.tenant_id,
            webhook_id=webhook.id,
            sealed_secret=second,
            former_until=NOW + MINUTE,
            now=NOW,
        )
        counts = [await RESEAL["webhooks"](connection, vault) for _ in range(2)]
        row = (await connection.execute(select(webhook_rows))).one()
    secrets = [
        Vault([NEW]).open(sealed, webhook_secret(webhook))
        for sealed in (row.sealed_secret, row.sealed_former_secret)
    ]
    assert (counts, secrets) == ([1, 0], ["second", SECRET])
