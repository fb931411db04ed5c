"""Tune the Python interpreter for long-running processes, listen, and find the host name."""

import gc
import socket
import sys
from contextlib import suppress
from typing import Final

from app.domain.errors import SettingsError

GC_THRESHOLD: Final = 20_000  # more objects than there were
M_MMAP_THRESHOLD: Final = -3  # mallopt(3)
LARGE_BLOCK_BYTES: Final = 1024 * 1024
TURN_SECONDS: Final = 0.001


def find_hostname() -> str:
    """Find the machine's full name, as far as it knows one; may take seconds."""
    return socket.getfqdn()


def listen(host: str, port: int, option: str) -> socket.socket:
    """Listen for TCP, before anything else begins; raises SettingsError if it cannot.

    `option` names the setting of the port, for the error.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; set {option} to"
            " another port"
        ) from None
    # asyncio leaves it off for a socket that was handed in, and answers would wait for 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def tune_gc() -> None:
    """Exempt the objects that live as long as the process from garbage collection.

    Requests and messages make few cycles; looking for them every 700 objects took a tenth of the
    time of `POST /messages`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])


def tune_malloc() -> None:
    """Return the memory of large messages to the system when it is freed.

    glibc's malloc would by itself keep such blocks from the second one on, and in pieces; other
    allocators are left as they are.
    """
    import ctypes

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def tune_switch_interval() -> None:
    """Shorten the turns of threads, so that the event loop answers in time.

    By itself it would after 5 ms, and answering a request beside it needs several turns.
    """
    sys.setswitchinterval(TURN_SECONDS)
