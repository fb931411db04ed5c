"""Return paths of each recipient's own, and what a real server reports to them."""

import pytest

from tests.support.harness import Heloise, until
from tests.support.servers.postfix import CAPTURE, RETURNED, Postfix
from tests.support.servers.smtp_server import Received, SmtpServer

REFUSED = "550 5.1.1 No such user here"
ALL = ["ann@example.org", "bob@example.org", "eve@example.org"]


def token(message: str, position: int) -> str:
    """The return path of a recipient."""
    return f"bounces+{message.partition('_')[2]}-{position}@example.com"


async def test_each_recipient_has_a_transaction_with_a_return_path_of_its_own(
    heloise: Heloise, server: SmtpServer
) -> None:
    """The message is the same in all of them."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    message = await acme.send(ALL, return_path="bounces@example.com", verp=True)
    await acme.message(message, status="sent")
    sent = {(mail.mail_from, *mail.recipients) for mail in server.messages}
    assert sent == {(token(message, position), ALL[position]) for position in range(3)}
    assert len({mail.data for mail in server.messages}) == 1
    attempts = await acme.attempts(message)
    assert [len(attempt["recipients"]) for attempt in attempts] == [1, 1, 1]


async def test_without_a_return_path_it_is_made_from_the_sender(
    heloise: Heloise, server: SmtpServer
) -> None:
    """Another try at the message has return paths of its own."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port, default_from="bounces@example.com")
    message = await acme.send(verp=True)
    await acme.message(message, status="sent")
    assert server.messages[-1].mail_from == token(message, 0)


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"return_path": ""}, "needs a return_path"),
        ({"return_path": "a" * 28 + "@example.com"}, "at most 27 bytes"),
    ],
)
async def test_one_that_has_no_room_is_refused(
    heloise: Heloise, server: SmtpServer, fields: dict[str, str], expected: str
) -> None:
    """And it is said how much there is."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    body = {"to": ["ann@example.org"], "text": "Hi.", "verp": True} | fields
    answer = await acme("POST", "/messages", body)
    assert answer.status_code == 422
    assert expected in answer.text


@pytest.mark.one_database
@pytest.mark.postfix
@pytest.mark.parametrize("has_verp", [True, False])
async def test_what_postfix_reports_finds_its_recipient(
    heloise: Heloise,
    postfix: Postfix,
    has_verp: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Two are refused further on: Postfix has taken them, and tells by mail what came of them."""
    acme = await heloise.tenant(suppresses_hard_bounces=True)
    script = {"rcpt": lambda to: REFUSED if to.partition("@")[0][-3:] in {"bob", "eve"} else None}
    async with SmtpServer(script, port=postfix.port(CAPTURE)) as behind:
        await acme.profile("main", postfix.port("forwarding"))
        message = await acme.send(ALL, return_path=f"bounces@{RETURNED}", verp=has_verp)
        await acme.message(message, status="sent")

        async def bounces() -> list[Received] | None:
            mails = [mail for mail in behind.messages if mail.mail_from == ""]
            report_count = sum(mail.data.count(b"Action: failed") for mail in mails)
            return mails if report_count == 2 else None

        for bounce in await until(bounces):
            answer = await acme(
                "POST",
                "/inbound/bounces",
                content=bounce.data,
                headers={"Content-Type": "message/rfc822"},
            )
            assert answer.json()["new"], answer.text
    read = await acme.read(f"/messages/{message}")
    reports = [recipient["report"] for recipient in read["recipients"]]
    assert reports[0] is None
    assert [report["code"] for report in reports[1:]] == ["5.1.1", "5.1.1"]
    assert "No such user here" in reports[1]["text"]
    suppressed = (await acme.read("/suppressions"))["items"]
    assert {suppression["address"] for suppression in suppressed} == set(ALL[1:])
    types = [item["type"] for item in (await acme.read("/events"))["items"]]
    assert types.count("recipient.bounced_later") == 2
    assert types.count("recipient.sent") == 3
