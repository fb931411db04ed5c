"""Limit request headers in uvicorn's HTTP protocol, and send each response in one system call."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.http.asgi_scope import IS_WHOLE

MAX_HEADER_BYTES: Final = 65_536
# Each field costs a call: a read of 256 KB holds up to 30,000 fields and would block others.
MAX_FIELDS: Final = 100
# Pipelined requests in wait. Each costs a hundred times what sending it costs.
MAX_PIPELINED: Final = 32
TOO_LARGE: Final = f"The request's header has more than {MAX_HEADER_BYTES} bytes."
TOO_MANY: Final = f"The request's header has more than {MAX_FIELDS} fields."


class _Writer:
    """A transport that sends a first piece together with the next one of the same turn.

    uvicorn writes the header of a response, then its body: two system calls cost more than all that
    uvicorn does for the response. Does not wait for a third piece, so that a large body meets the
    transport's flow control.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._unsent: bytes | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._unsent is None:
            self._unsent = data
            self._loop.call_soon(self._flush)
        else:
            unsent, self._unsent = self._unsent, None
            self._transport.writelines((unsent, data))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, None
        if unsent is not None and not self._transport.is_closing():
            self._transport.write(unsent)


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose request header does not end (slow-loris) or never starts.

    A new connection must also send its first header in time. Between requests, uvicorn's keep-alive
    timeout applies.
    """

    header_seconds = 10.0
    _is_in_header = True
    _is_in_request = False
    _is_flooded = False
    _has_too_many_fields = False
    _header_due: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_Writer(transport, self.loop))  # type: ignore[arg-type]
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_header()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_header = self._is_in_header
        super().data_received(data)
        if not self._is_in_header:
            return
        self._expect_header()  # most headers arrive whole and need no timer
        if was_in_header:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._forget_header()
                self.send_400_response(TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        if self._is_flooded:  # a client would read it as the response to an earlier request
            self.transport.abort()
        else:
            super().send_400_response(TOO_MANY if self._has_too_many_fields else msg)

    def shutdown(self) -> None:
        # Streams end on this event; see the lifespan in main.
        if (stopping := self.app_state.get("stopping")) is not None:
            stopping.set()
        super().shutdown()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._is_flooded = True
            raise ValueError(f"more than {MAX_PIPELINED} requests wait on one connection")
        super().on_message_begin()
        self._is_in_header = self._is_in_request = True

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_FIELDS:
            self._has_too_many_fields = True
            raise ValueError(TOO_MANY)

    def on_headers_complete(self) -> None:
        self._is_in_header = False
        self._forget_header()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_request = False
        self.scope[IS_WHOLE] = True  # type: ignore[typeddict-unknown-key]

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The client may not send the rest of an unread body forever.
        if self._is_in_request and self.cycle.response_complete:
            self.transport.close()

    def _expect_header(self) -> None:
        if self._header_due is None:
            self._header_due = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _forget_header(self) -> None:
        if self._header_due is not None:
            self._header_due.cancel()
        self._header_due, self._header_bytes = None, 0
