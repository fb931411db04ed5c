"""Whose turn it is: tenants share fairly, whatever each has queued."""

from datetime import timedelta

from app.delivery.assignment import order_lanes
from app.store.delivery.lanes import WaitingLane
from tests.delivery.builders import NOW


def lane(tenant: str, profile: str, waits_seconds: float) -> WaitingLane:
    """A lane whose first message has waited so long."""
    return WaitingLane(
        profile_id=profile,
        tenant_id=tenant,
        revision=1,
        is_open=True,
        is_failing=False,
        due_at=NOW - timedelta(seconds=waits_seconds),
    )


def test_tenants_take_turns() -> None:
    """One with many profiles gets one turn before each of the others has had one."""
    waiting = [lane("big", f"big{n}", 100 - n) for n in range(3)] + [lane("small", "small", 1)]
    assert [due.profile_id for due in order_lanes(waiting)] == ["big0", "small", "big1", "big2"]
