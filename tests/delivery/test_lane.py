"""A lane does what its state allows."""

import asyncio
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.delivery.engine_parts import EngineParts
from app.delivery.handover import Handover
from app.delivery.lane import Lane
from app.delivery.lane_config import LaneConfig, LaneConfigFactory
from app.delivery.lane_state import MAY_CLAIM, LaneEvent, LaneState
from app.delivery.leases import Leases
from app.delivery.mail_exchangers import MailExchangers
from app.delivery.record import Recorder
from app.delivery.registry import LaneRegistry
from app.delivery.settler import Settler
from app.domain.networks import AddressGuard
from app.domain.types import Transport
from app.metrics.collection import Metrics
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from app.store.db.database import Database
from app.store.delivery.lanes import WaitingLane
from app.store.outbox.claims import ClaimedMessage
from app.store.secrets.encryption import Vault
from tests.delivery.builders import claimed_message
from tests.support.hand_clock import HandClock
from tests.support.rows import NOW, a_message, a_profile, a_tenant

pytestmark = pytest.mark.one_database

E, S = LaneEvent, LaneState
TENANT = a_tenant()
PROFILE = a_profile(TENANT, transport=Transport.SANDBOX)
PATHS: dict[LaneState, list[LaneEvent]] = {
    S.CLAIMING: [],
    S.DIRECT: [E.POLLED_EMPTY],
    S.HALTED: [E.FAULT],
    S.FAILED: [E.FAULT, E.FAULT_RECORDED],
    S.PROBING: [E.PROBE_CLAIMED],
}


class Worker:
    """The parts of an engine around one lane; nothing claims, and nothing is settled."""

    def __init__(self, database: Database) -> None:
        clock = HandClock(NOW)
        metrics = Metrics(database, clock)
        self.leases = Leases(database, owner="wrk_1", length=timedelta(minutes=1), now=clock.now)
        self.settler = Settler(
            database,
            leases=self.leases,
            wake=asyncio.Event(),
            now=clock.now,
            random=lambda: 1.0,
            metrics=metrics,
        )
        guard = AddressGuard(allow_private=False, is_port_allowed=lambda _: False)
        parts = EngineParts(
            database=database,
            clock=clock,
            metrics=metrics,
            network=Network(guard, Resolver()),
            recorder=Recorder(worker="wrk_1", now=clock.now),
            leases=self.leases,
            settler=self.settler,
            wake=asyncio.Event(),
            mail_exchangers=MailExchangers(Resolver(), lambda: 0.0),
            open_content=lambda: b"",
        )
        configs = LaneConfigFactory(vault=Vault([bytes(32)]))
        self.registry = LaneRegistry(parts, configs)
        self.lane = Lane(LaneConfig(PROFILE, None), parts, granted=1)
        self.registry.lanes[PROFILE.id] = self.lane
        self.handover = Handover(parts, self.registry)

    def move(self, *events: LaneEvent) -> None:
        """Let things happen to the lane."""
        for event in events:
            self.lane.machine.apply(event)

    def lease(self) -> ClaimedMessage:
        """A message of the lane's profile, leased."""
        message = replace(claimed_message(), profile_id=PROFILE.id)
        self.leases.add([message.id], NOW + timedelta(minutes=1))
        return message


@pytest.fixture
def worker(database: Database) -> Worker:
    """A worker with a lane that was never polled."""
    return Worker(database)


@pytest.mark.parametrize("state", LaneState)
async def test_a_lane_has_room_where_its_state_lets_it_claim(
    worker: Worker, state: LaneState
) -> None:
    """Neither before a fault is recorded nor while a probe is out."""
    worker.move(*PATHS[state])
    assert worker.lane.machine.state is state
    assert worker.lane.has_room is worker.lane.may_ask is (state in MAY_CLAIM)


@pytest.mark.parametrize(
    ("state", "is_begun"),
    [
        (S.CLAIMING, True),
        (S.DIRECT, True),
        (S.HALTED, False),
        (S.FAILED, False),
        (S.PROBING, False),
    ],
)
async def test_what_was_reserved_is_given_back_by_a_lane_that_has_failed(
    worker: Worker, state: LaneState, *, is_begun: bool
) -> None:
    """Also by one that probes: the probe goes alone, whichever worker met the fault."""
    worker.move(E.POLLED_EMPTY)
    message = a_message(PROFILE)
    lease = worker.handover.reserve([message])
    assert lease.message_ids == {message.id}
    worker.move(E.POLLED_DUE, *PATHS[state])
    worker.handover.hand_over([message], lease)
    await worker.handover.wait_returned()
    await worker.lane.wait_idle()
    assert worker.settler.waiting == int(is_begun)
    assert (message.id in worker.leases) is is_begun
    assert worker.lane.reserved == 0


@pytest.mark.parametrize("state", LaneState)
async def test_only_a_direct_lane_reserves(worker: Worker, state: LaneState) -> None:
    """Elsewhere something waits in the database, or is in the way."""
    worker.move(*PATHS[state])
    lease = worker.handover.reserve([a_message(PROFILE)])
    assert bool(lease.message_ids) is (state is S.DIRECT)


async def test_a_probe_is_sent_alone_and_ends(worker: Worker) -> None:
    """The lane is failed after it, until a poll says otherwise."""
    worker.move(E.FAULT, E.FAULT_RECORDED)
    worker.lane.take_probe(worker.lease())
    assert worker.lane.machine.state is S.PROBING
    assert not worker.lane.has_room
    await worker.lane.wait_idle()
    assert worker.lane.machine.state is S.FAILED
    assert worker.settler.waiting == 1


async def test_a_probe_that_is_dropped_has_ended(worker: Worker) -> None:
    """Else its lane would wait for it for ever."""
    worker.lane.take_probe(worker.lease())
    assert worker.lane.drop_queue()
    await worker.lane.wait_idle()
    await asyncio.sleep(0)
    assert worker.lane.machine.state is S.FAILED


@pytest.mark.parametrize(
    "since",
    [
        [E.FAULT],
        [E.FAULT, E.FAULT_RECORDED],
        [E.PROBE_CLAIMED, E.PROBE_ENDED],
    ],
)
async def test_a_poll_does_not_overrule_what_has_happened_since(
    worker: Worker, since: list[LaneEvent]
) -> None:
    """Also where the lane is in the same state as when the poll began: it has failed once more."""
    worker.move(E.FAULT, E.FAULT_RECORDED)
    versions = worker.registry.read_versions()
    worker.move(*since)
    state = worker.lane.machine.state
    worker.registry.apply_poll([], NOW, versions)
    assert worker.lane.machine.state is state
    assert state is not S.DIRECT


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, S.CLAIMING),
        ({"due_at": NOW + timedelta(seconds=1)}, S.DIRECT),
        ({"is_failing": True}, S.FAILED),
        ({"is_open": False}, S.FAILED),
    ],
)
async def test_a_poll_moves_a_lane_on(
    worker: Worker, fields: dict[str, Any], state: LaneState
) -> None:
    """Where nothing has happened since it began."""
    worker.move(E.FAULT, E.FAULT_RECORDED)
    due: dict[str, Any] = {
        "profile_id": PROFILE.id,
        "tenant_id": TENANT.id,
        "revision": 1,
        "is_open": True,
        "is_failing": False,
        "due_at": NOW,
    }
    worker.registry.apply_poll(
        [WaitingLane(**(due | fields))], NOW, worker.registry.read_versions()
    )
    assert worker.lane.machine.state is state


async def test_a_lane_begins_nothing_while_its_leases_are_uncertain(worker: Worker) -> None:
    """Another worker may have ended them (invariant 3); once they are certain, it goes on."""
    worker.move(E.POLLED_EMPTY)
    worker.leases.trust_until(0.0)
    assert not worker.handover.reserve([a_message(PROFILE)]).message_ids
    worker.lane.take([worker.lease()])
    await asyncio.sleep(0)
    assert worker.settler.waiting == 0
    worker.leases.trust_until(math.inf)
    await worker.lane.wait_idle()
    assert worker.settler.waiting == 1


async def test_a_lane_whose_connections_are_revoked_returns_its_queue(worker: Worker) -> None:
    """It may claim again, with new connections."""
    worker.leases.trust_until(0.0)
    worker.lane.take([worker.lease()])
    await worker.registry.revoke_connections()
    assert not len(worker.leases)
    assert not worker.lane.has_room
    assert worker.lane.may_ask
    worker.leases.trust_until(math.inf)
    await worker.lane.wait_idle()
    assert worker.settler.waiting == 0
