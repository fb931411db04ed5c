"""Hold what the parts of one engine share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from app.delivery.lane_config import LaneConfigFactory
from app.delivery.leases import Leases
from app.delivery.mail_exchangers import MailExchangers
from app.delivery.record import Recorder
from app.delivery.settler import Settler
from app.domain.clock import Clock
from app.domain.delivery.due_ranges import DueRanges
from app.domain.delivery.metrics import DeliveryMetrics
from app.domain.tenants.retention import Retention
from app.smtp.extensions import Distrust
from app.smtp.resolve import Network
from app.store.db.database import Database
from app.store.outbox.claims import OpenContent

# Sets the clock by the database's. Raises Unavailable without a database.
SyncClock = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """The settings of an engine: its network, identities, machine and times."""

    network: Network
    configs: LaneConfigFactory
    machine: str
    keeps_delivered_transcripts: bool
    transcript_retention: timedelta
    audit_retention: timedelta
    submission_retention: timedelta
    retention: Retention
    lease: timedelta
    poll_interval: timedelta
    shutdown_grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What the lanes, the scheduler and the duties share; `wake` starts the next poll.

    `sync_clock` sets `clock` by the database's clock, which then decides what is due. Without it,
    `clock` is right.
    """

    database: Database
    network: Network
    clock: Clock
    metrics: DeliveryMetrics
    leases: Leases
    recorder: Recorder
    settler: Settler
    wake: asyncio.Event
    mail_exchangers: MailExchangers
    open_content: OpenContent
    sync_clock: SyncClock | None = None
    due_ranges: DueRanges = field(default_factory=DueRanges)
    distrust: Distrust = field(default_factory=Distrust)

    @property
    def is_clock_checked(self) -> bool:
        """Whether only the database's clock decides what is due."""
        return self.sync_clock is not None
