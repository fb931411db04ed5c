"""Slots for posts to webhooks: whoever holds many leaves as many free for others."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from app.store.webhooks.deliveries import DueWebhook
from app.webhooks.slots import MAX_PROBES_PER_TENANT, MAX_SLOTS, SLOTS_PER_WEBHOOK, Slot, allocate
from tests.support.rows import a_webhook

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)


def due(tenant: str, webhook: str, *, seconds: float = 0, is_failing: bool = False) -> DueWebhook:
    """A webhook of the tenant to which events were due so many seconds after NOW."""
    webhook_row = a_webhook(
        tenant,
        id=f"{tenant}.{webhook}",
        name=webhook,
        failing_since=NOW if is_failing else None,
    )
    return DueWebhook(webhook_row, NOW + timedelta(seconds=seconds), ())


def hang(waiting: Sequence[DueWebhook]) -> list[Slot]:
    """The slots that are held once nothing more may begin and nothing was answered."""
    held: list[Slot] = []
    while shares := allocate(waiting, held):
        for due, count in shares:
            slot = Slot(
                due.webhook.tenant_id, due.webhook.id, due.webhook.failing_since is not None
            )
            held += [slot] * count
    return held


@pytest.mark.parametrize("webhooks", [1, 2, 4, 8, 50])
def test_one_tenant_never_holds_more_than_half(webhooks: int) -> None:
    """However many webhooks it has, and whether it is known that they fail or not."""
    for is_failing in (False, True):
        held = hang([due("acme", str(n), is_failing=is_failing) for n in range(webhooks)])
        assert len(held) <= MAX_SLOTS // 2
        assert max(Counter(held).values()) <= (1 if is_failing else SLOTS_PER_WEBHOOK)


@pytest.mark.parametrize("tenants", [1, 2, 5, 20, MAX_SLOTS - 1])
def test_a_tenant_without_slots_gets_one(tenants: int) -> None:
    """However many others let theirs hang, each to the same extent."""
    held = hang([due(f"t{n}", str(hook)) for n in range(tenants) for hook in range(5)])
    shares = Counter(slot.tenant_id for slot in held)
    assert len(shares) == tenants
    assert max(shares.values()) - min(shares.values()) <= 1
    other = due("other", "log", seconds=60)
    assert [due for due, _ in allocate([other], held)] == [other]


def test_the_failing_webhooks_of_a_tenant_leave_room_for_those_that_work() -> None:
    """They share some probes, and the rest of the tenant's share is left."""
    dead = [due("acme", str(n), is_failing=True) for n in range(50)]
    held = hang(dead)
    assert len(held) == MAX_PROBES_PER_TENANT
    [(_, share)] = allocate([due("acme", "alive")], held)
    assert share == SLOTS_PER_WEBHOOK


def test_the_fewest_slots_come_first_then_the_longest_wait() -> None:
    """Over tenants, and over a tenant's webhooks."""
    held = [Slot("acme", "acme.a", is_probe=False)]
    waiting = [
        due("acme", "a"),
        due("acme", "b"),
        due("other", "late", seconds=1),
        due("other", "x"),
    ]
    order = [due.webhook.id for due, _ in allocate(waiting, held)]
    assert order == ["other.x", "acme.b", "other.late", "acme.a"]
