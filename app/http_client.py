"""Send HTTP requests to tenants' servers: checked addresses, limited responses."""

import asyncio
import ssl
from http import HTTPStatus
from typing import Final, Self

import httpx2

from app.domain.errors import FetchError
from app.smtp.faults import StageFailedError
from app.smtp.resolve import Network

MAX_ANSWER_BYTES: Final = 65_536
LOOKUP_SECONDS: Final = 10.0
FETCH_SECONDS: Final = 15.0
KEPT: Final = ("Retry-After",)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects to an address that the guard has seen; a proxy of the environment's is not used.

    Raises httpx2.ConnectError, with the guard's or the resolver's words, where there is none. An
    answer of more than `max_bytes` is an error, or with `cuts_answers` is read no further.
    """

    def __init__(
        self,
        network: Network,
        context: ssl.SSLContext,
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
        cuts_answers: bool = False,
    ) -> None:
        self._network = network
        self._max_bytes = max_bytes
        self._cuts_answers = cuts_answers
        # The pool knows connections by address, so another name of that address would get one whose
        # certificate was checked for the first name.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._inner = httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)

    @classmethod
    async def made(
        cls, network: Network, *, max_bytes: int = MAX_ANSWER_BYTES, cuts_answers: bool = False
    ) -> Self:
        """One that trusts whom the machine trusts. Reading those takes a while."""
        context = await asyncio.to_thread(ssl.create_default_context)
        return cls(network, context, max_bytes=max_bytes, cuts_answers=cuts_answers)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        addresses = await self._look_up_addresses(request.url)
        for address in addresses:
            # The certificate is still to be of the name, which stands in the Host field as well.
            address_request = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                content=request.content,
                extensions=request.extensions | {"sni_hostname": host},
            )
            try:
                return await self._read_bounded(
                    await self._inner.handle_async_request(address_request)
                )
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise httpx2.ConnectError(f"{host} has no address")

    async def _look_up_addresses(self, url: httpx2.URL) -> list[str]:
        guard = self._network.guard
        if not guard.allow_private and (url.scheme, url.port) != ("https", None):
            raise httpx2.ConnectError("write an https:// URL without a port")
        try:
            addresses = await self._network.allowed_addresses(url.host, LOOKUP_SECONDS)
        except StageFailedError as error:
            raise httpx2.ConnectError(error.failure.detail) from None
        return [str(address) for address in addresses]

    async def _read_bounded(self, response: httpx2.Response) -> httpx2.Response:
        """The response with as much of its content as may be; its stream is used up.

        What is compressed stays so, and is then no answer: nobody asked for that.
        """
        content = bytearray()
        try:
            async for piece in response.aiter_raw():
                content += piece
                if len(content) <= self._max_bytes:
                    continue
                if self._cuts_answers:
                    break
                raise httpx2.ReadError(f"the response is longer than {self._max_bytes} bytes")
        finally:
            await response.aclose()
        headers = {name: response.headers[name] for name in KEPT if name in response.headers}
        return httpx2.Response(
            response.status_code, headers=headers, content=bytes(content[: self._max_bytes])
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


async def fetch_file(network: Network, url: str, *, max_bytes: int) -> bytes:
    """Download a file from an allowed address, without redirects; raises FetchError."""
    transport = await GuardedTransport.made(network, max_bytes=max_bytes)
    headers = {"Accept-Encoding": "identity"}
    async with httpx2.AsyncClient(transport=transport, headers=headers, trust_env=False) as client:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                response = await client.get(url, follow_redirects=False, timeout=FETCH_SECONDS)
        except TimeoutError:
            raise FetchError(f"no response within {FETCH_SECONDS:.0f} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise FetchError(str(error) or type(error).__name__) from None
    if response.status_code != HTTPStatus.OK:
        raise FetchError(f"the server answered {response.status_code}")
    return response.content
