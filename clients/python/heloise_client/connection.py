"""Send calls over HTTP, and repeat them when that may help."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self, TypeVar

import httpx2

from heloise_client.calls import Call
from heloise_client.retries import Outcome, Retries
from heloise_client.version import __version__

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 30.0
TOTAL_SECONDS: Final = 60.0
ADMIN_PATH: Final = "/tenants"


class _Service:
    """Where the service is, and who calls it."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tenant: str | None,
        admin_prefix: str,
        timeout_seconds: float,
        total_seconds: float,
    ) -> None:
        self._url = url.rstrip("/")
        self._admin_prefix = admin_prefix.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._total_seconds = total_seconds
        self._headers = {
            "Authorization": f"Bearer {key}",
            "User-Agent": f"heloise-client/{__version__}",
        }
        if tenant is not None:
            self._headers["Heloise-Tenant"] = tenant

    def start(self, call: Call[Any]) -> Retries:
        return Retries(call, total_seconds=self._total_seconds, now=time.monotonic())

    def build_request(
        self,
        http: httpx2.Client | httpx2.AsyncClient,
        call: Call[Any],
        retries: Retries,
        *,
        stream: bool,
    ) -> httpx2.Request:
        timeout = self._timeout_seconds
        if not stream:  # whose parts arrive long after the call
            timeout = retries.limit_timeout(timeout, now=time.monotonic())
        prefix = self._admin_prefix if call.path.startswith(ADMIN_PATH) else ""
        return http.build_request(
            call.method,
            f"{self._url}{prefix}{call.path}",
            params=call.encode_query(),
            content=call.encode_body(),
            headers=self._headers | call.encode_headers(),
            timeout=timeout,
        )


class Connection:
    """Connections to a service. Use it in a `with` block, or call `close`.

    An admin key acts for the `tenant` that you name. Each attempt waits `timeout_seconds` for the
    service; all attempts of a call together take `total_seconds`. `http` is a client of your own,
    for example with a proxy or a client certificate; it stays open.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tenant: str | None = None,
        admin_prefix: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
        http: httpx2.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._service = _Service(
            url,
            key,
            tenant=tenant,
            admin_prefix=admin_prefix,
            timeout_seconds=timeout_seconds,
            total_seconds=total_seconds,
        )
        self._owns_http = http is None
        self._http = httpx2.Client() if http is None else http
        self.sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        if self._owns_http:
            self._http.close()

    def call(self, call: Call[T]) -> T:
        """Send a call and return its answer."""
        return call.parse(self.send(call))

    def send(self, call: Call[Any], *, stream: bool = False) -> httpx2.Response:
        """Send a call and return the successful response."""
        retries = self._service.start(call)
        while True:
            outcome: Outcome
            try:
                request = self._service.build_request(self._http, call, retries, stream=stream)
                outcome = self._http.send(request, stream=stream)
                if stream and not outcome.is_success:
                    outcome.read()
            except httpx2.TransportError as error:
                outcome = error
            wait_seconds = retries.wait_after(outcome, now=time.monotonic())
            if wait_seconds is None:
                return retries.finish(outcome)
            self.sleep(wait_seconds)


class AsyncConnection:
    """Connections to a service, for asyncio. Use it in an `async with` block, or await `close`.

    An admin key acts for the `tenant` that you name. Each attempt waits `timeout_seconds` for the
    service; all attempts of a call together take `total_seconds`. `http` is a client of your own,
    for example with a proxy or a client certificate; it stays open.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tenant: str | None = None,
        admin_prefix: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
        http: httpx2.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._service = _Service(
            url,
            key,
            tenant=tenant,
            admin_prefix=admin_prefix,
            timeout_seconds=timeout_seconds,
            total_seconds=total_seconds,
        )
        self._owns_http = http is None
        self._http = httpx2.AsyncClient() if http is None else http
        self.sleep = sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._owns_http:
            await self._http.aclose()

    async def call(self, call: Call[T]) -> T:
        """Send a call and return its answer."""
        return call.parse(await self.send(call))

    async def send(self, call: Call[Any], *, stream: bool = False) -> httpx2.Response:
        """Send a call and return the successful response."""
        retries = self._service.start(call)
        while True:
            outcome: Outcome
            try:
                request = self._service.build_request(self._http, call, retries, stream=stream)
                outcome = await self._http.send(request, stream=stream)
                if stream and not outcome.is_success:
                    await outcome.aread()
            except httpx2.TransportError as error:
                outcome = error
            wait_seconds = retries.wait_after(outcome, now=time.monotonic())
            if wait_seconds is None:
                return retries.finish(outcome)
            await self.sleep(wait_seconds)
