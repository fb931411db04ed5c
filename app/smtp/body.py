"""A message on its way out: dot-stuffed, in blocks, no faster than the server reads."""

import asyncio
import re
from typing import Any, Final

from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

BLOCK_BYTES: Final = 256 * 1024

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


def dot_stuffed(mime: bytes) -> bytes:
    """The message as it goes on the wire, with its end (RFC 5321 section 4.5.2).

    A lone CR or LF becomes CRLF: there are servers that take LF . LF for the end and what follows
    for a message of its own (RFC 5321 section 2.3.8 forbids both).
    """
    if not mime.count(b"\r\n") == mime.count(b"\n") == mime.count(b"\r"):
        mime = _LINE_END.sub(b"\r\n", mime)
    body = mime.replace(b"\r\n.", b"\r\n..")
    if body.startswith(b"."):
        body = b"." + body
    end = b".\r\n" if body.endswith(b"\r\n") or not body else b"\r\n.\r\n"
    return body + end


def blocks(wire: bytes) -> list[bytes]:
    """The bytes in order, in blocks of at most `BLOCK_BYTES`, the last a full one if it can be.

    So what ends the message is whole in it, and nothing like an end goes out before.
    """
    before, last = wire[:-BLOCK_BYTES], wire[-BLOCK_BYTES:]
    starts = range(0, len(before), BLOCK_BYTES)
    return [*(before[start : start + BLOCK_BYTES] for start in starts), last]


async def drain(
    protocol: SMTPProtocol, reading: asyncio.Future[SMTPResponse], *, seconds: float
) -> None:
    """Return once the connection can take more, or `reading` is done.

    Raises TimeoutError, and ConnectionError where the connection was lost.
    """
    drained = asyncio.ensure_future(protocol._drain_helper())  # noqa: SLF001 - as StreamWriter.drain
    either: set[asyncio.Future[Any]] = {reading, drained}
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            return
        if not drained.done():
            raise TimeoutError
        drained.result()
    finally:
        drained.cancel()
