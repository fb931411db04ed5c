"""Send requests, and retry when that may help."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import httpx2

from app import __version__
from app.client import calls
from app.client.calls import Call
from app.client.errors import ApiError, NoAnswerError
from app.client.shapes import Item, Page
from app.retry_after import parse_retry_after

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT_SECONDS: Final = 30.0
RETRIES: Final = 5
FIRST_WAIT_SECONDS: Final = 0.5
MAX_WAIT_SECONDS: Final = 30.0
# The service did not process the request, or still does.
RETRIED_STATUSES: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
IN_FLIGHT: Final = "idempotency-key-in-flight"


class _Attempt:
    """One call and its remaining retries."""

    def __init__(self, call: Call[Any], retries: int) -> None:
        self._call = call
        self._retries_left = retries if call.is_repeatable else 0
        self._waits = 0

    def request(self, http: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        """Build the HTTP request."""
        call = self._call
        query = {name: value for name, value in (call.query or {}).items() if value is not None}
        headers = {} if call.idempotency_key is None else {"Idempotency-Key": call.idempotency_key}
        return http.build_request(
            call.method, call.path, params=query, json=call.json, headers=headers
        )

    def wait_after(self, result: httpx2.Response | httpx2.TransportError) -> float | None:
        """Return the seconds before the next retry, or None if the result is final.

        Raises NoAnswerError without a response, and ApiError for an error response.
        """
        is_last = self._retries_left == 0
        self._retries_left -= 1
        self._waits += 1
        longest = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**self._waits)
        wait = longest * (0.5 + random.random() / 2)  # noqa: S311 - no secret
        if isinstance(result, httpx2.TransportError):
            if is_last:
                raise NoAnswerError(
                    str(result) or type(result).__name__, self._call.idempotency_key
                )
            return wait
        if not is_last and _may_repeat(result):
            return max(wait, _read_retry_after(result))
        if result.is_error:
            raise ApiError(result.status_code, _read_problem(result))
        return None


def _may_repeat(response: Any) -> bool:  # noqa: ANN401 - an answer
    if response.status_code in RETRIED_STATUSES:
        return True
    is_conflict = response.status_code == HTTPStatus.CONFLICT
    return is_conflict and str(_read_problem(response).get("type", "")).endswith(IN_FLIGHT)


def _read_retry_after(response: Any) -> float:  # noqa: ANN401 - an answer
    wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
    return 0.0 if wait is None else min(wait.total_seconds(), MAX_WAIT_SECONDS)


def _read_problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _settings(url: str, key: str, tenant: str | None, timeout_seconds: float) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}", "User-Agent": f"heloise-client/{__version__}"}
    if tenant is not None:
        headers["Heloise-Tenant"] = tenant
    return {"base_url": url, "headers": headers, "timeout": timeout_seconds}


def _read_content(response: Any) -> Any:  # noqa: ANN401 - JSON
    return None if response.status_code == HTTPStatus.NO_CONTENT else response.json()


def _sync(make: Callable[P, Call[T]]) -> Callable[Concatenate[Any, P], T]:
    """Make a method that sends a call and returns its result."""

    @wraps(make)
    def method(self: "Heloise", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.call(make(*args, **kwargs))

    return method


def _async(make: Callable[P, Call[T]]) -> Callable[Concatenate[Any, P], Awaitable[T]]:
    """Make a coroutine method that sends a call and returns its result."""

    @wraps(make)
    async def method(self: "AsyncHeloise", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.call(make(*args, **kwargs))

    return method


class Heloise:
    """A client for one tenant. With an admin key, `tenant` names it.

    Use it in a `with` block, or call `close`. Methods raise ApiError and NoAnswerError.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tenant: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        wait: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        settings = _settings(url, key, tenant, timeout_seconds)
        self._http = httpx2.Client(transport=transport, **settings)
        self._retries = retries
        self._wait = wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def call(self, call: Call[T]) -> T:
        """Send a call, with retries, and return its result."""
        attempt = _Attempt(call, self._retries)
        while True:
            result: httpx2.Response | httpx2.TransportError
            try:
                result = self._http.send(attempt.request(self._http))
            except httpx2.TransportError as error:
                result = error
            wait_seconds = attempt.wait_after(result)
            if wait_seconds is None:
                return call.parse(_read_content(result))
            self._wait(wait_seconds)

    send = _sync(calls.send)
    send_batch = _sync(calls.send_batch)
    message = _sync(calls.message)
    messages = _sync(calls.messages)
    attempts = _sync(calls.attempts)
    cancel = _sync(calls.cancel)
    reschedule = _sync(calls.reschedule)
    retry = _sync(calls.retry)
    resolve = _sync(calls.resolve)
    suppress = _sync(calls.suppress)
    unsuppress = _sync(calls.unsuppress)
    suppressions = _sync(calls.suppressions)
    events = _sync(calls.events)

    def iterate(self, listing: Callable[..., Page[Item]], **filters: Any) -> Iterator[Item]:  # noqa: ANN401 - of the API
        """Yield all items of a list: `heloise.iterate(heloise.messages, tag="receipt")`."""
        cursor = None
        while True:
            page = listing(cursor=cursor, **filters)
            yield from page["items"]
            if page["next_cursor"] in {None, cursor} or not page["items"]:
                return
            cursor = page["next_cursor"]


class AsyncHeloise:
    """The client for asyncio. Await each method."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tenant: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        settings = _settings(url, key, tenant, timeout_seconds)
        self._http = httpx2.AsyncClient(transport=transport, **settings)
        self._retries = retries
        self._wait = wait

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call(self, call: Call[T]) -> T:
        """Send a call, with retries, and return its result."""
        attempt = _Attempt(call, self._retries)
        while True:
            result: httpx2.Response | httpx2.TransportError
            try:
                result = await self._http.send(attempt.request(self._http))
            except httpx2.TransportError as error:
                result = error
            wait_seconds = attempt.wait_after(result)
            if wait_seconds is None:
                return call.parse(_read_content(result))
            await self._wait(wait_seconds)

    send = _async(calls.send)
    send_batch = _async(calls.send_batch)
    message = _async(calls.message)
    messages = _async(calls.messages)
    attempts = _async(calls.attempts)
    cancel = _async(calls.cancel)
    reschedule = _async(calls.reschedule)
    retry = _async(calls.retry)
    resolve = _async(calls.resolve)
    suppress = _async(calls.suppress)
    unsuppress = _async(calls.unsuppress)
    suppressions = _async(calls.suppressions)
    events = _async(calls.events)

    async def iterate(
        self,
        listing: Callable[..., Awaitable[Page[Item]]],
        **filters: Any,  # noqa: ANN401 - of the API
    ) -> AsyncIterator[Item]:
        """Yield all items of a list, page by page."""
        cursor = None
        while True:
            page = await listing(cursor=cursor, **filters)
            for item in page["items"]:
                yield item
            if page["next_cursor"] in {None, cursor} or not page["items"]:
                return
            cursor = page["next_cursor"]
