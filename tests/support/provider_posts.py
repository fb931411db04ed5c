"""Email providers that post to Heloise: their signatures, by keys of their own, and an SNS."""

import asyncio
import hmac
import json
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Self

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

SNS_HOST: Final = "sns.eu-west-1.amazonaws.com"
TOPIC: Final = "arn:aws:sns:eu-west-1:123456789012:bounces"
CONFIRM: Final = "/?Action=ConfirmSubscription&TopicArn=arn&Token=t0k3n"
MAILGUN_KEY: Final = "key-canary-8d1f"
NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
CONFIRMATION: Final = (
    *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
)


@cache
def sendgrid_key() -> ec.EllipticCurvePrivateKey:
    """The key that SendGrid signs with."""
    return ec.generate_private_key(ec.SECP256R1())


def sendgrid_public_key() -> str:
    """Its verification key, as SendGrid's console shows it."""
    key = sendgrid_key().public_key()
    return b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def sendgrid_headers(content: bytes, at: datetime | None = None) -> dict[str, str]:
    """The header fields of a signed post."""
    timestamp = str(int((at or datetime.now(UTC)).timestamp()))
    signed = sendgrid_key().sign(timestamp.encode() + content, ec.ECDSA(hashes.SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": b64encode(signed).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }


def sign_mailgun(
    payload: dict[str, Any], key: str = MAILGUN_KEY, at: datetime | None = None
) -> dict[str, Any]:
    """The payload with a signature of this time; the token stays."""
    token = payload["signature"]["token"]
    timestamp = str(int((at or datetime.now(UTC)).timestamp()))
    signed = hmac.new(key.encode(), f"{timestamp}{token}".encode(), "sha256").hexdigest()
    return payload | {"signature": {"timestamp": timestamp, "token": token, "signature": signed}}


@cache
def authority() -> trustme.CA:
    """Who vouches for SNS."""
    return trustme.CA()


@dataclass
class Sns:
    """An SNS on loopback: it serves its certificate, and takes confirmations.

    `name` and `lifetime` are of the certificate that it signs with, `host` of the one that it
    serves with.
    """

    name: str = "sns.amazonaws.com"
    host: str = SNS_HOST
    until: datetime | None = None
    requests: list[str] = field(default_factory=list)
    status: str = "200 OK"

    async def __aenter__(self) -> Self:
        self._leaf = authority().issue_cert(
            self.name, key_type=trustme.KeyType.RSA, not_after=self.until
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority().issue_cert(self.host).configure_cert(context)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"https://{SNS_HOST}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head.split()[1])
        body = self._leaf.cert_chain_pems[0].bytes() if ".pem " in head else b"<ok/>"
        answer = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(answer.encode() + body)
        await writer.drain()
        writer.close()

    def notification(self, event: Any, **fields: Any) -> dict[str, Any]:
        """A signed notification of an event, or of a text."""
        text = event if isinstance(event, str) else json.dumps(event)
        subject = {"Subject": "Amazon SES Email Event Notification"}
        return self.sign({"Type": "Notification", "Message": text, **subject, **fields})

    def confirmation(self, **fields: Any) -> dict[str, Any]:
        """A signed request to confirm a subscription."""
        message = {"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe"}
        message |= {"Token": "t0k3n", "SubscribeURL": f"{self.url}{CONFIRM}"}
        return self.sign(message | fields)

    def sign(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message with what every message has, and its signature."""
        now = datetime.now(UTC)
        message = {
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "TopicArn": TOPIC,
            "Timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.000Z",
            "SignatureVersion": "2",
            "SigningCertURL": f"{self.url}/SimpleNotificationService-0123456789abcdef.pem",
            **message,
        }
        fields = NOTIFICATION if message["Type"] == "Notification" else CONFIRMATION
        text = "".join(f"{name}\n{message[name]}\n" for name in fields if name in message)
        key = load_pem_private_key(self._leaf.private_key_pem.bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        algorithm = {"1": hashes.SHA1(), "2": hashes.SHA256()}[message["SignatureVersion"]]  # noqa: S303 - SNS has it so
        signed = key.sign(text.encode(), padding.PKCS1v15(), algorithm)
        return message | {"Signature": b64encode(signed).decode()}


def days_ago(days: float) -> datetime:
    """A time in the past."""
    return datetime.now(UTC) - timedelta(days=days)
