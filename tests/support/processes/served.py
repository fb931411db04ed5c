"""Apps behind a real uvicorn, which stops at once."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from app.api.http.server_protocol import BoundedProtocol
from tests.support.waiting import until

TICK_SECONDS: Final = 0.1


class PromptServer(uvicorn.Server):
    """uvicorn, which would look every tenth of a second whether to stop, and then wait for two.

    Hundreds of tests start a service of their own.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Stop it, from any thread."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        tick = 0
        while not await self.on_tick(tick):
            tick += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await until(self._is_idle)
        for server in self.servers:
            await server.wait_closed()
        await self.lifespan.shutdown()

    async def _is_idle(self) -> bool | None:
        return not (self.server_state.connections or self.server_state.tasks) or None


def listen(**options: Any) -> socket.socket:
    """Listen on a free port of loopback; uvicorn may take it over."""
    listening = socket.create_server(("127.0.0.1", 0), **options)
    # asyncio leaves it off for a socket that was handed in, and each answer waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve it in a thread of this process until the block ends; answers its URL."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        lifespan="on",
        ws="none",
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
    server = PromptServer(config)
    with listen(backlog=200) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.stop()
            thread.join()
