"""Webhooks as rows: taken away, given back untold, and their secrets sealed anew."""

import pytest
from sqlalchemy import select

from app.domain.errors import NotFound
from app.domain.events import EventFilter, EventType, Position
from app.domain.ids import new_id
from app.domain.secret_keys import new_key, parse_key
from app.domain.webhooks import Webhook
from app.store import events, resealing, webhook_deliveries, webhooks
from app.store.database import Database
from app.store.event_tables import webhook_deliveries as delivery_rows
from app.store.event_tables import webhooks as webhook_rows
from app.store.events import NewEvent
from app.store.seal_contexts import webhook_secret
from app.store.vault import Vault
from tests.store.made import MINUTE, NOW, made_tenant

OLD, NEW = parse_key(new_key()), parse_key(new_key())
SECRET = "whsec_a-secret-of-somebody"


async def made_webhook(database: Database) -> Webhook:
    """A webhook for every event, its secret sealed under the old key."""
    tenant = await made_tenant(database)
    webhook = Webhook(
        id=new_id("whk"),
        tenant_id=tenant.id,
        name="log",
        url="https://example.com/events",
        wanted=EventFilter(),
        is_ordered=False,
        former_secret_until=None,
        disabled_at=None,
        disabled_reason=None,
        failing_since=None,
        created_at=NOW,
        updated_at=NOW,
    )
    sealed = Vault([OLD]).seal(SECRET, webhook_secret(webhook))
    async with database.transaction() as connection:
        await webhooks.insert(
            connection, webhook=webhook, sealed_secret=sealed, start=Position(0, 0)
        )
    return webhook


async def claimed_delivery(database: Database, webhook: Webhook) -> str:
    """An event for the webhook that the worker `wrk_1` has leased for a minute; answers its id."""
    async with database.transaction() as connection:
        event = NewEvent(EventType.PROFILE_PAUSED, NOW, webhook.tenant_id, "prf_1")
        await events.append(connection, [event])
    async with database.transaction() as connection:
        await webhook_deliveries.spread(connection, webhook_id=webhook.id, now=NOW)
        [claimed] = await webhook_deliveries.claim(
            connection,
            webhook=webhook,
            owner="wrk_1",
            limit=10,
            now=NOW,
            lease_until=NOW + MINUTE,
        )
    return claimed.id


async def test_one_is_taken_away_once(database: Database) -> None:
    """Then there is none of that id any more."""
    webhook = await made_webhook(database)
    async with database.transaction() as connection:
        gone = await webhooks.delete(connection, tenant_id=webhook.tenant_id, webhook_id=webhook.id)
        assert gone.id == webhook.id
        with pytest.raises(NotFound):
            await webhooks.delete(connection, tenant_id=webhook.tenant_id, webhook_id=webhook.id)


@pytest.mark.parametrize(("owner", "is_due"), [("wrk_1", True), ("wrk_2", False)])
async def test_who_has_an_event_gives_it_back(
    database: Database, owner: str, *, is_due: bool
) -> None:
    """It is due at once; another worker cannot give it back (invariant 3)."""
    webhook = await made_webhook(database)
    delivery = await claimed_delivery(database, webhook)
    async with database.transaction() as connection:
        await webhook_deliveries.release(connection, owner=owner, ids=[delivery], now=NOW)
        [due_at] = (await connection.execute(select(delivery_rows.c.due_at))).scalars()
    assert (due_at == NOW) is is_due


async def test_secrets_are_sealed_anew(database: Database) -> None:
    """Both the present and the former one, and once: then the new key alone opens them."""
    webhook = await made_webhook(database)
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
        counts = [await resealing.reseal_webhooks(connection, vault) for _ in range(2)]
        row = (await connection.execute(select(webhook_rows))).one()
    opened = [
        Vault([NEW]).open(sealed, webhook_secret(webhook))
        for sealed in (row.sealed_secret, row.sealed_former_secret)
    ]
    assert (counts, opened) == ([1, 0], ["second", SECRET])
