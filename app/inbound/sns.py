"""Fetch the certificates of Amazon SNS, and confirm subscriptions."""

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from app.domain.errors import Unavailable
from app.smtp.resolve import Network

if TYPE_CHECKING:
    from httpx2 import Response

# SNS waits 15 seconds for an answer (a certificate, then a confirmation).
RESPONSE_SECONDS: Final = 6.0
MAX_CERTIFICATES: Final = 20


class SnsClient:
    """Talks to SNS through the address guard. Callers have checked the URLs.

    A certificate is trusted because it comes from the host of SNS over HTTPS: its file contains no
    intermediate certificates, so its own chain cannot be verified.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._certificates = dict[str, bytes]()

    @property
    def allows_ports(self) -> bool:
        """Whether URLs may have a port, as of an SNS on loopback."""
        return self._network.guard.allow_private

    async def load_certificate(self, url: str) -> bytes:
        """Return a certificate (PEM), fetched once; raise Unavailable."""
        certificate = self._certificates.get(url)
        if certificate is None:
            from cryptography.x509 import load_pem_x509_certificates  # few services use SNS

            certificate = (await self._get(url)).content
            try:
                load_pem_x509_certificates(certificate)
            except ValueError:  # an answer that was cut short must not be kept
                raise _unavailable("its certificate cannot be read") from None
            while len(self._certificates) >= MAX_CERTIFICATES:
                del self._certificates[next(iter(self._certificates))]
            self._certificates[url] = certificate
        return certificate

    async def confirm_subscription(self, url: str) -> None:
        """Confirm a subscription by its SubscribeURL; raise Unavailable."""
        await self._get(url)

    async def _get(self, url: str) -> "Response":
        import httpx2  # few services receive posts of SNS

        from app.http_client import GuardedTransport

        try:
            async with (
                asyncio.timeout(RESPONSE_SECONDS),
                httpx2.AsyncClient(
                    transport=await GuardedTransport.made(self._network),
                    follow_redirects=False,
                    trust_env=False,
                    timeout=RESPONSE_SECONDS,
                ) as client,
            ):
                response = await client.get(url)
        except TimeoutError:
            raise _unavailable(f"no response within {RESPONSE_SECONDS:.0f} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _unavailable(str(error) or type(error).__name__) from None
        if response.status_code != HTTPStatus.OK:
            raise _unavailable(f"it answered {response.status_code}")
        return response


def _unavailable(reason: str) -> Unavailable:
    return Unavailable(
        "provider-unreachable", f"Heloise cannot reach SNS: {reason}. SNS posts the message again."
    )
