"""Share a fixed number of slots fairly among tenants and webhooks.

A receiver holds a slot until it answers, for at most 20 seconds, so no tenant may fill them all. A
tenant may hold as many slots as it leaves free, as in Choudhury and Hahne, "Dynamic queue length
thresholds for shared-memory packet switches" (1998). One tenant alone gets half of the slots, two
get a third each, and a tenant without slots always finds one.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.webhooks import Webhook
from app.store.webhooks.deliveries import DueWebhook

MAX_SLOTS: Final = 64
SLOTS_PER_WEBHOOK: Final = 8
# Failing webhooks leave the rest of the tenant's share to the others.
MAX_PROBES_PER_TENANT: Final = 8


@dataclass(frozen=True, slots=True)
class Slot:
    """A post in progress; `is_probe` means that its webhook was failing at the start."""

    tenant_id: str
    webhook_id: str
    is_probe: bool


def allocate(
    waiting: Sequence[DueWebhook], used_slots: Iterable[Slot]
) -> list[tuple[DueWebhook, int]]:
    """Return how many posts each webhook may start.

    The webhook with the fewest slots comes first, then the one that has waited longest. Omits
    webhooks without a slot.
    """
    load, shares = _Load(used_slots), Counter[int]()
    heap = [(load.rank(due.webhook, due.due_at), number) for number, due in enumerate(waiting)]
    heapq.heapify(heap)
    while heap:
        rank, number = heapq.heappop(heap)
        due = waiting[number]
        if not load.has_room(due.webhook):
            continue
        if rank == load.rank(due.webhook, due.due_at):
            load.add(_make_slot(due.webhook))
            shares[number] += 1
        heapq.heappush(heap, (load.rank(due.webhook, due.due_at), number))
    return [(waiting[number], share) for number, share in shares.items()]


class _Load:
    """The number of slots in use: in all, per tenant and per webhook."""

    def __init__(self, used_slots: Iterable[Slot]) -> None:
        self._total = 0
        self._slots_by_tenant, self._slots_by_webhook = Counter[str](), Counter[str]()
        self._probes = Counter[str]()
        for slot in used_slots:
            self.add(slot)

    def add(self, slot: Slot) -> None:
        self._total += 1
        self._slots_by_tenant[slot.tenant_id] += 1
        self._slots_by_webhook[slot.webhook_id] += 1
        self._probes[slot.tenant_id] += slot.is_probe

    def rank(self, webhook: Webhook, due_at: datetime) -> tuple[int, int, datetime]:
        return self._slots_by_tenant[webhook.tenant_id], self._slots_by_webhook[webhook.id], due_at

    def has_room(self, webhook: Webhook) -> bool:
        tenant_slots, webhook_slots = (
            self._slots_by_tenant[webhook.tenant_id],
            self._slots_by_webhook[webhook.id],
        )
        if webhook.failing_since is not None:
            return (
                webhook_slots == 0
                and self._probes[webhook.tenant_id] < MAX_PROBES_PER_TENANT
                and self._total + tenant_slots < MAX_SLOTS
            )
        return (
            webhook_slots < SLOTS_PER_WEBHOOK
            and self._total + tenant_slots + webhook_slots < MAX_SLOTS
        )


def _make_slot(webhook: Webhook) -> Slot:
    return Slot(webhook.tenant_id, webhook.id, webhook.failing_since is not None)
