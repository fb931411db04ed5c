"""An app behind a real uvicorn in a thread of this process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from app.api.http.server_protocol import BoundedProtocol


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve it until the block ends; answers its URL."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        lifespan="on",
        ws="none",
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listening:
        # asyncio leaves it off for a socket that was handed in, and each answer waits 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
