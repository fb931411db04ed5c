"""Messages sent by several clients while something fails, and what became of each."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Final

import httpx

from tests.support.harness import Tenant
from tests.support.servers.smtp_server import SmtpServer
from tests.support.waiting import until

CLIENTS: Final = 4
NOT_WRITTEN: Final = "/problems/database-unavailable"


class Load:
    """Messages sent one after the other by several clients, and what was answered to each."""

    def __init__(self, tenant: Tenant) -> None:
        self.accepted: dict[str, str] = {}
        self.accepted_at_seconds: list[float] = []
        self.refused: list[str] = []
        self._tenant = tenant
        self._number = 0

    async def send(self, **fields: Any) -> httpx.Response:
        """Send one message; it is accepted, or refused for now."""
        self._number += 1
        subject = f"n{self._number}"
        body = {"to": ["ann@example.org"], "subject": subject, "text": "It works."} | fields
        answer: httpx.Response = await self._tenant("POST", "/messages", json=body)
        if answer.status_code == 202:
            self.accepted[subject] = answer.json()["id"]
            self.accepted_at_seconds.append(time.monotonic())
        else:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
            if answer.json()["type"] == NOT_WRITTEN:
                self.refused.append(subject)
        return answer

    @property
    def longest_gap_seconds(self) -> float:
        """The longest time between two accepted messages."""
        return max(after - before for before, after in pairwise(self.accepted_at_seconds))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while the block runs."""
        is_over = asyncio.Event()

        async def client() -> None:
            while not is_over.is_set():
                await self.send()

        clients = asyncio.gather(*(client() for _ in range(CLIENTS)))
        yield
        is_over.set()
        await clients

    async def wait_accepted(self, more: int) -> None:
        """Return once so many more were accepted."""
        wanted = len(self.accepted) + more

        async def fact() -> bool | None:
            return len(self.accepted) >= wanted or None

        await until(fact, progress=lambda: len(self.accepted))

    async def assert_delivered(self, server: SmtpServer) -> None:
        """Each once, but where an attempt says that nobody knows; what was refused: never."""
        for message_id in self.accepted.values():
            await self._tenant.message(message_id, status="sent")
        seen = Counter(_subject(received.data) for received in server.messages)
        assert not seen.keys() & set(self.refused)
        for subject, message_id in self.accepted.items():
            attempts = await self._tenant.attempts(message_id)
            unknown = sum(attempt["outcome_unknown"] for attempt in attempts)
            assert 1 <= seen[subject] <= 1 + unknown, (subject, attempts)


def _subject(data: bytes) -> str:
    line = next(line for line in data.splitlines() if line.lower().startswith(b"subject:"))
    return line.split(b":", 1)[1].strip().decode()
