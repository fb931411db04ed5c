"""How many queued messages a second one worker delivers and settles."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from benchmarks.floors import deliver_by_aiosmtplib
from benchmarks.service import POLL_SECONDS, Heloise, Tenant
from benchmarks.sink import Counts

CONNECTIONS: Final = 10  # a profile's `max_connections`, by default
WITHIN_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A queue that was delivered."""

    messages: int
    duration_seconds: float

    @property
    def per_second(self) -> float:
        """From the first connection to the last outcome in the database."""
        return self.messages / self.duration_seconds


def deliver(heloise: Heloise, tenant: Tenant, counts: Counts, messages: int) -> Delivery:
    """Deliver what is queued; raises TimeoutError, and RuntimeError if a message is not sent.

    The queue is looked at only once the server has everything, so that looking costs nothing.
    """
    counts.reset()
    deadline = time.monotonic() + WITHIN_SECONDS
    with heloise.working():
        while counts.messages < messages:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{counts.messages} of {messages} arrived")
            time.sleep(POLL_SECONDS)
        settled_at = tenant.wait_settled(within_seconds=WITHIN_SECONDS)
    if counts.messages != messages:
        raise RuntimeError(f"{counts.messages} messages arrived, and {messages} were accepted")
    return Delivery(messages, settled_at - counts.first_at_seconds)


def deliver_floor(port: int, content: bytes, messages: int) -> Delivery:
    """The same message as often through aiosmtplib, from memory."""
    run = deliver_by_aiosmtplib(port, content, messages=messages, connections=CONNECTIONS)
    return Delivery(messages, asyncio.run(run))
