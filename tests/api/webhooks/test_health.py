"""The health of a webhook: its last error, and since when it waits."""

from sqlalchemy import insert, select, update

from app.domain.ids import new_id
from app.store.tables.events import events, webhook_deliveries, webhooks
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller
from tests.support.rows import MINUTE, NOW

WEBHOOK = {"name": "w", "url": "https://log.example.com/"}
MOVED = {"url": "https://new.example.com/", "secret": "whsec_" + "A" * 32}
HEALTH = {"failing_since", "last_error", "last_error_at", "waiting_since"}


async def failing_webhook(api: Api, acme: Caller) -> str:
    """A webhook that fails while an event waits; answers its id."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/messages", MESSAGE)
    webhook_id: str = (await acme.made("/webhooks", WEBHOOK))["id"]
    async with api.services.database.transaction() as connection:
        event = (await connection.execute(select(events).limit(1))).mappings().one()
        delivery = {
            "id": new_id("whd"),
            "tenant_id": event["tenant_id"],
            "webhook_id": webhook_id,
            "event_number": event["number"],
            "event_id": event["id"],
            "event_type": event["type"],
            "ordering_key": event["id"],
            "status": "pending",
            "attempts": 1,
            "due_at": NOW + MINUTE,
            "created_at": NOW,
        }
        await connection.execute(insert(webhook_deliveries).values(delivery))
        failure = {"failing_since": NOW, "last_error": "no response", "last_error_at": NOW}
        await connection.execute(update(webhooks).values(failure))
    return webhook_id


async def test_a_new_url_clears_the_last_error(api: Api, acme: Caller) -> None:
    """Any other change keeps it; the answer shows what the next read shows."""
    path = f"/webhooks/{await failing_webhook(api, acme)}"
    for changes, error in (({"name": "v"}, "no response"), (MOVED, None)):
        webhook = (await acme("PATCH", path, changes)).json()
        assert (webhook["last_error"], webhook["last_error_at"] is None) == (error, error is None)
        assert webhook["waiting_since"] is not None
        assert await acme.read(path) == webhook
    rotated = (await acme("POST", f"{path}/rotate")).json()
    del rotated["secret"]
    assert await acme.read(path) == rotated


async def test_the_audit_log_keeps_no_health_of_a_webhook(api: Api, acme: Caller) -> None:
    """Nobody changes it, and an error may repeat what the receiver wrote about a person."""
    webhook_id = await failing_webhook(api, acme)
    path = f"/webhooks/{webhook_id}"
    await acme("PATCH", path, MOVED)
    await acme("PATCH", path, {"enabled": False})
    await acme("PATCH", path, {"enabled": True})
    async with api.services.database.transaction() as connection:
        await connection.execute(update(webhooks).values(last_error="x", last_error_at=NOW))
    assert (await acme("DELETE", path)).status_code == 204
    entries = (await acme.read(f"/audit-log?object_id={webhook_id}"))["items"]
    assert len(entries) == 5
    for entry in entries:
        assert not HEALTH & entry["changes"].keys()
