"""Hold what the parts of one engine share."""

import asyncio
from dataclasses import dataclass, field

from app.delivery.leases import Leases
from app.delivery.mail_exchangers import MailExchangers
from app.delivery.record import Recorder
from app.delivery.settler import Settler
from app.domain.clock import Clock
from app.domain.delivery.due_ranges import DueRanges
from app.domain.delivery.metrics import DeliveryMetrics
from app.smtp.extensions import Distrust
from app.smtp.resolve import Network
from app.store.db.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What the lanes and the scheduler share; `wake` starts the next poll."""

    database: Database
    network: Network
    clock: Clock
    metrics: DeliveryMetrics
    leases: Leases
    recorder: Recorder
    settler: Settler
    wake: asyncio.Event
    mail_exchangers: MailExchangers
    due_ranges: DueRanges = field(default_factory=DueRanges)
    distrust: Distrust = field(default_factory=Distrust)
