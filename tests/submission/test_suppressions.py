"""What an SMTP client submits is held to the tenant's suppressions."""

from tests.support.api_client import Caller
from tests.support.submission import SubmissionServer


async def test_a_pattern_holds_for_submitted_messages(
    submission: SubmissionServer, sender: Caller
) -> None:
    """The client's RCPT is accepted, and the recipient is `suppressed`; by tag, too."""
    await sender.made("/suppressions", {"address": "*.example.org"})
    await sender.made("/suppressions", {"address": "*@example.org", "tag": "news"})
    deep, apex = "ann@mail.example.org", "ann@example.org"
    header = b"From: billing@example.com\r\n"
    async with submission.login(sender) as client:
        plain = await client.submit(header + b"\r\nHi\r\n", to=(deep, apex))
        tagged = await client.submit(
            header + b"X-Heloise-Tags: news\r\n\r\nHi\r\n", to=(deep, apex)
        )

    async def list_statuses(reply: str) -> list[str]:
        message = await submission.stored(sender, reply)
        return [recipient["status"] for recipient in message["recipients"]]

    assert await list_statuses(plain) == ["suppressed", "queued"]
    assert await list_statuses(tagged) == ["suppressed", "suppressed"]
