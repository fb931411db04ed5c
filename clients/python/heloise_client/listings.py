"""Iterate over the pages of a list, the lines of a file, and the events of a stream."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar, cast

import httpx2

from heloise_client.calls import Call, Page
from heloise_client.connection import AsyncConnection, Connection
from heloise_client.errors import NoAnswerError
from heloise_client.retries import LOST
from heloise_client.types import EventRead

Item = TypeVar("Item")

MAX_PAGE_SIZE: Final = 200
RECONNECT_SECONDS: Final = 1.0


class Listing(Generic[Item]):
    """A list. Iterate over all its items, or get a single page with `page`."""

    def __init__(self, connection: Connection, call: Call[Page[Item]]) -> None:
        self._connection = connection
        self._call = call

    def page(self) -> Page[Item]:
        """Get the page at `cursor`, by default the first."""
        return self._connection.call(self._call)

    def __iter__(self) -> Iterator[Item]:
        call: Call[Page[Item]] | None = _with_large_pages(self._call)
        while call is not None:
            page = self._connection.call(call)
            yield from page["items"]
            call = _next_call(call, page)


class AsyncListing(Generic[Item]):
    """A list. Iterate over all its items, or await a single page with `page`."""

    def __init__(self, connection: AsyncConnection, call: Call[Page[Item]]) -> None:
        self._connection = connection
        self._call = call

    async def page(self) -> Page[Item]:
        """Get the page at `cursor`, by default the first."""
        return await self._connection.call(self._call)

    async def __aiter__(self) -> AsyncIterator[Item]:
        call: Call[Page[Item]] | None = _with_large_pages(self._call)
        while call is not None:
            page = await self._connection.call(call)
            for item in page["items"]:
                yield item
            call = _next_call(call, page)


class Lines:
    """A text that arrives line by line, however long it is."""

    def __init__(self, connection: Connection, call: Call[str]) -> None:
        self._connection = connection
        self._call = call

    def __iter__(self) -> Iterator[str]:
        response = self._connection.send(self._call, stream=True)
        try:
            yield from response.iter_lines()
        except httpx2.TransportError as error:
            raise _as_lost(error) from error
        finally:
            response.close()


class AsyncLines:
    """A text that arrives line by line, however long it is."""

    def __init__(self, connection: AsyncConnection, call: Call[str]) -> None:
        self._connection = connection
        self._call = call

    async def __aiter__(self) -> AsyncIterator[str]:
        response = await self._connection.send(self._call, stream=True)
        try:
            async for line in response.aiter_lines():
                yield line
        except httpx2.TransportError as error:
            raise _as_lost(error) from error
        finally:
            await response.aclose()


class EventStream:
    """Events as they happen, without an end. It reconnects and misses none.

    If the service cannot be reached, it raises UnreachableError or NoAnswerError. To continue
    later, pass its `cursor`.
    """

    def __init__(self, connection: Connection, call: Call[str]) -> None:
        self._connection = connection
        self._call = call
        self.cursor: str | None = None

    def __iter__(self) -> Iterator[EventRead]:
        while True:
            response = self._connection.send(_resume(self._call, self.cursor), stream=True)
            try:
                for message in httpx2.EventSource(response):
                    self.cursor = message.id or self.cursor
                    if message.data:
                        yield _parse_event(message)
            except LOST:
                pass
            except httpx2.TransportError as error:
                raise _as_lost(error) from error
            finally:
                response.close()
            self._connection.sleep(RECONNECT_SECONDS)


class AsyncEventStream:
    """Events as they happen, without an end. It reconnects and misses none.

    If the service cannot be reached, it raises UnreachableError or NoAnswerError. To continue
    later, pass its `cursor`.
    """

    def __init__(self, connection: AsyncConnection, call: Call[str]) -> None:
        self._connection = connection
        self._call = call
        self.cursor: str | None = None

    async def __aiter__(self) -> AsyncIterator[EventRead]:
        while True:
            response = await self._connection.send(_resume(self._call, self.cursor), stream=True)
            try:
                async for message in httpx2.EventSource(response):
                    self.cursor = message.id or self.cursor
                    if message.data:
                        yield _parse_event(message)
            except LOST:
                pass
            except httpx2.TransportError as error:
                raise _as_lost(error) from error
            finally:
                await response.aclose()
            await self._connection.sleep(RECONNECT_SECONDS)


def _with_large_pages(call: Call[Page[Item]]) -> Call[Page[Item]]:
    """Ask for as many items at once as the service gives, unless the caller says otherwise."""
    return replace(call, query={"limit": MAX_PAGE_SIZE} | dict(call.query or {}))


def _next_call(call: Call[Page[Item]], page: Page[Item]) -> Call[Page[Item]] | None:
    """Return the call for the next page; None after the last, or the last event."""
    query = dict(call.query or {})
    if page["next_cursor"] in {None, query.get("cursor")} or not page["items"]:
        return None
    return replace(call, query=query | {"cursor": page["next_cursor"]})


def _resume(call: Call[Any], cursor: str | None) -> Call[Any]:
    return call if cursor is None else replace(call, headers={"Last-Event-ID": cursor})


def _as_lost(error: httpx2.TransportError) -> NoAnswerError:
    return NoAnswerError(str(error) or type(error).__name__)


def _parse_event(message: httpx2.ServerSentEvent) -> EventRead:
    return cast("EventRead", json.loads(message.data))
