"""Signatures that providers made, and URLs that are or are not of SNS."""

from datetime import UTC, datetime

import pytest

from app.domain.errors import Forbidden
from app.domain.inbound.provider_signatures import (
    check_sendgrid,
    check_sns_urls,
    get_sns_host,
)

# As the libraries of SendGrid test theirs.
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcwHBcepxo7yAQG"
    "hHPTnlvFYPAZFceEu/1FwCM/QmGUhA=="
)
SENDGRID_HEADERS = {
    "X-Twilio-Email-Event-Webhook-Signature": "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIg"
    "JTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH2j/0=",
    "X-Twilio-Email-Event-Webhook-Timestamp": "1588788367",
}
SENDGRID_POST = b'{"category":"example_payload","event":"test_event","message_id":"message_id"}'
TOPIC = "arn:aws:sns:eu-west-1:123456789012:bounces"


def test_a_signature_that_sendgrid_publishes_is_valid() -> None:
    """With the timestamp before the body; one byte more, and it is not."""
    now = datetime.fromtimestamp(1588788400, UTC)
    check_sendgrid(SENDGRID_HEADERS, SENDGRID_POST, SENDGRID_KEY, now)
    with pytest.raises(Forbidden):
        check_sendgrid(SENDGRID_HEADERS, SENDGRID_POST + b"\n", SENDGRID_KEY, now)


@pytest.mark.parametrize(
    ("topic", "host"),
    [
        (TOPIC, "sns.eu-west-1.amazonaws.com"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:b", "sns.us-gov-west-1.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:b", "sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws-eusc:sns:eusc-de-east-1:123456789012:b", "sns.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_the_host_of_sns_is_that_of_the_topics_region(topic: str, host: str) -> None:
    """In each partition of AWS."""
    assert get_sns_host(topic) == host


@pytest.mark.parametrize("port", [":8443", ":443", ":0"])
def test_a_url_of_sns_has_no_port(port: str) -> None:
    """But on an installation that may connect to private hosts."""
    url = f"https://sns.eu-west-1.amazonaws.com{port}/SimpleNotificationService-0.pem"
    message = {"TopicArn": TOPIC, "SigningCertURL": url, "Type": "Notification"}
    check_sns_urls(message, TOPIC, allow_port=True)
    with pytest.raises(Forbidden, match="has a port"):
        check_sns_urls(message, TOPIC, allow_port=False)
