"""Check that a webhook post is by its provider. All functions raise Forbidden if it is not."""

import hmac
import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from app.domain.errors import Forbidden

if TYPE_CHECKING:
    from cryptography import x509

# Longer than any provider repeats a post (SendGrid: a day), and shorter than Heloise remembers
# events, so that nobody can replay them.
MAX_AGE: Final = timedelta(days=2)
MAX_CLOCK_SKEW: Final = timedelta(minutes=5)
TOPIC_ARN: Final = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov|aws-eusc):sns:([a-z0-9-]{1,40}):[0-9]{12}:[A-Za-z0-9_-]{1,256}"
)
AWS_DOMAINS: Final = {
    "aws": "amazonaws.com",
    "aws-us-gov": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
}
# The fields that SNS signs, in this order, and by type of message.
NOTIFICATION_FIELDS: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
CONFIRMATION_FIELDS: Final = (
    *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
)
SIGNED_FIELDS: Final = {
    "Notification": NOTIFICATION_FIELDS,
    "SubscriptionConfirmation": CONFIRMATION_FIELDS,
    "UnsubscribeConfirmation": CONFIRMATION_FIELDS,
}
FREE_TEXT: Final = frozenset({"Message", "Subject"})
SNS_HASHES: Final[Mapping[object, hashes.HashAlgorithm]] = {
    "1": hashes.SHA1(),  # noqa: S303 - SNS signs with it unless the topic has SignatureVersion 2
    "2": hashes.SHA256(),
}
CERTIFICATE_PATH: Final = re.compile(r"/SimpleNotificationService-[0-9a-f]{1,64}\.pem")


def _refuse(reason: str) -> Forbidden:
    return Forbidden("signature-invalid", f"{reason} Heloise changed nothing.")


def check_password(authorization: str, secret: str) -> None:
    """Check the password of basic authentication, or the bearer token."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            credentials = b64decode(credentials, validate=True).decode().partition(":")[2]
        except ValueError:
            credentials = ""
    elif scheme.lower() != "bearer":
        credentials = ""
    if not hmac.compare_digest(credentials.encode(), secret.encode()):
        raise _refuse(
            "The post does not present the secret of this provider webhook: send it as the password"
            " of basic authentication or as a bearer token."
        )


def check_mailgun(signature: Mapping[str, Any], secret: str, now: datetime) -> str:
    """Check a signature of Mailgun; return its token, which is good once.

    It signs no body (https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks).
    """
    token, timestamp = str(signature.get("token", "")), str(signature.get("timestamp", ""))
    digest = hmac.new(secret.encode(), (timestamp + token).encode(errors="replace"), "sha256")
    signatures = (signature.get("signature"), signature.get("parent-signature"))
    is_signed = [
        hmac.compare_digest(digest.hexdigest().encode(), text.encode(errors="replace"))
        for text in signatures
        if isinstance(text, str)
    ]
    if not any(is_signed):
        raise _refuse(
            "The signature does not match the secret of this provider webhook: set `secret` to"
            " Mailgun's HTTP webhook signing key."
        )
    _check_seconds(timestamp, now)
    return token


def check_sendgrid(
    headers: Mapping[str, str], content: bytes, public_key: str, now: datetime
) -> None:
    """Check a signature of SendGrid: ECDSA over the timestamp and the body."""
    signature = headers.get("X-Twilio-Email-Event-Webhook-Signature", "")
    timestamp = headers.get("X-Twilio-Email-Event-Webhook-Timestamp", "")
    try:
        load_public_key(public_key).verify(
            b64decode(signature, validate=True),
            timestamp.encode() + content,
            ec.ECDSA(hashes.SHA256()),
        )
    except (InvalidSignature, ValueError):
        raise _refuse(
            "The signature does not match `public_key` of this provider webhook: enable the Signed"
            " Event Webhook in SendGrid, and copy its verification key."
        ) from None
    _check_seconds(timestamp, now)


def load_public_key(text: str) -> ec.EllipticCurvePublicKey:
    """Load a verification key of SendGrid, in Base64 or PEM; raise ValueError."""
    lines = [line.strip() for line in text.split("\n") if not line.startswith("-----")]
    try:
        key = serialization.load_der_public_key(b64decode("".join(lines), validate=True))
    except UnsupportedAlgorithm:
        raise ValueError("not a key of a known algorithm") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key of an elliptic curve")  # noqa: TRY004 - a wrong value
    return key


def get_sns_host(topic_arn: str) -> str:
    """Return the host of SNS in a topic's region; raise ValueError."""
    match = TOPIC_ARN.fullmatch(topic_arn)
    if match is None:
        raise ValueError("not the ARN of a topic")
    return f"sns.{match[2]}.{AWS_DOMAINS[match[1]]}"


def check_sns_urls(message: Mapping[str, Any], topic_arn: str, *, allow_port: bool) -> None:
    """Check the topic of a message, and that its URLs lead to SNS in the topic's region."""
    if message.get("TopicArn") != topic_arn:
        raise _refuse(f"This provider webhook takes posts of the topic {topic_arn} only.")
    certificate_url = message.get("SigningCertURL")
    _check_sns_url("SigningCertURL", certificate_url, topic_arn, allow_port=allow_port)
    if CERTIFICATE_PATH.fullmatch(urlsplit(str(certificate_url)).path) is None:
        raise _refuse("SigningCertURL is not the URL of a certificate of SNS.")
    if message.get("Type") == "SubscriptionConfirmation":
        _check_sns_url(
            "SubscribeURL", message.get("SubscribeURL"), topic_arn, allow_port=allow_port
        )


def _check_sns_url(name: str, url: object, topic_arn: str, *, allow_port: bool) -> None:
    host = get_sns_host(topic_arn)
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_port_allowed = parts.port is None or allow_port
    except ValueError:
        raise _refuse(f"{name} is not a URL.") from None
    if (parts.scheme, parts.hostname, parts.username) != ("https", host, None):
        raise _refuse(f"{name} does not lead to https://{host}.")
    if not is_port_allowed:
        raise _refuse(f"{name} has a port.")


def check_sns(message: Mapping[str, Any], certificate: bytes, now: datetime) -> None:
    """Check the signature of a message of SNS, version 1 or 2, with its certificate (PEM)."""
    try:
        _load_sns_key(certificate, now).verify(
            b64decode(str(message.get("Signature")), validate=True),
            _build_signed_text(message),
            padding.PKCS1v15(),
            SNS_HASHES[message.get("SignatureVersion")],
        )
        sent_at = datetime.fromisoformat(str(message.get("Timestamp")))
    except (InvalidSignature, ValueError, KeyError, TypeError):
        raise _refuse("The signature of SNS is not valid.") from None
    _check_age(sent_at.replace(tzinfo=sent_at.tzinfo or UTC), now)


def _build_signed_text(message: Mapping[str, Any]) -> bytes:
    """Build the text that SNS signs: names and values, a line each.

    https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
    """
    fields = SIGNED_FIELDS[str(message.get("Type"))]
    # A line break could move the border between two fields.
    if any("\n" in str(message.get(name)) for name in fields if name not in FREE_TEXT):
        raise ValueError("a line break")
    lines = [line for name in fields if name in message for line in (name, str(message[name]))]
    return "".join(f"{line}\n" for line in lines).encode()


def _load_sns_key(certificate: bytes, now: datetime) -> rsa.RSAPublicKey:
    """Load the key of a certificate that is valid now, and for SNS; raise ValueError."""
    from cryptography import x509  # few services use SNS

    leaf = x509.load_pem_x509_certificates(certificate)[0]
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise ValueError("expired")
    if not any(map(_is_name_of_sns, _find_names(leaf))):
        raise ValueError("of another name")
    key = leaf.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA key")  # noqa: TRY004 - a wrong value
    return key


def _find_names(leaf: "x509.Certificate") -> list[str]:
    from cryptography import x509  # as in `_load_sns_key`

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.DNSName)


def _is_name_of_sns(name: str) -> bool:
    """Whether a name is `sns.amazonaws.com`, or one of SNS in a region."""
    label, _, domain = name.partition(".")
    region_domain = domain.partition(".")[2]
    is_sns = label == "sns" or label.startswith("sns-")
    return is_sns and not {domain, region_domain}.isdisjoint(AWS_DOMAINS.values())


def _check_seconds(timestamp: str, now: datetime) -> None:
    try:
        sent_at = datetime.fromtimestamp(int(timestamp), UTC)
    except (ValueError, OverflowError, OSError):
        raise _refuse("The timestamp of the signature is not a number of seconds.") from None
    _check_age(sent_at, now)


def _check_age(sent_at: datetime, now: datetime) -> None:
    if not now - MAX_AGE <= sent_at <= now + MAX_CLOCK_SKEW:
        raise _refuse(
            f"The post was signed at {sent_at:%Y-%m-%dT%H:%M:%SZ}, which is more than"
            f" {MAX_AGE.days} days ago, or in the future."
        )
